#include "measure/bases.h"

#include <cmath>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/strings.h"

namespace ropescope::app {

namespace {

std::vector<double> parse_theta_grid(const std::string& text) {
  std::vector<double> parts;
  size_t begin = 0;
  for (int part = 0; part < 3; ++part) {
    const size_t end = part < 2 ? text.find(':', begin) : text.size();
    if (end == std::string::npos) throw UsageError("--theta-grid: expected LO:HI:N, found \"{}\"", text);
    const auto value = parse_number_list(text.substr(begin, end - begin), "theta-grid");
    if (value.size() != 1) throw UsageError("--theta-grid: expected LO:HI:N, found \"{}\"", text);
    parts.push_back(value.front());
    begin = end + 1;
  }
  if (parts[2] != std::floor(parts[2]) || parts[2] < 1 || parts[2] > 10'000) {
    throw UsageError("--theta-grid: expected N from 1 to 10000, found \"{}\"", text);
  }
  return log_grid(parts[0], parts[1], static_cast<int64_t>(parts[2]));
}

}  // namespace

void BaseFlags::bind(Flags& flags) {
  flags
      .add("theta", theta,
           "bases of every layer that rotates, for example 1e4,1e5,1e6; each layer's own unless given")
      .above(0);
  flags.add("theta-grid", theta_grid, "LO:HI:N, N bases equally spaced in logarithm");
  flags.add("theta-scale", theta_scale, "each layer's own base times this, for example 1,4,16").above(0);
}

BaseColumns BaseFlags::columns(const ModelFacts& model) const {
  if (!theta.empty() && theta_grid) throw UsageError("--theta and --theta-grid: expected one of the two");
  if (theta_grid && !theta_scale.empty()) {
    throw UsageError("--theta-scale and --theta-grid: expected one of the two");
  }
  const BaseColumns columns{theta_grid ? parse_theta_grid(*theta_grid) : theta, theta_scale};
  check_bases(columns, model);
  return columns;
}

std::string base_text(const at::Tensor& theta, const at::Tensor& scale, int64_t t) {
  if (scale.defined()) return fmt::format("theta x {:g}", scale[t].item<double>());
  const double base = theta[t].item<double>();
  return std::isnan(base) ? "own theta" : fmt::format("theta {:g}", base);
}

void print_kinds(const std::vector<DecayKind>& kinds, const at::Tensor& theta) {
  for (size_t i = 0; i < kinds.size(); ++i) {
    const DecayKind& kind = kinds[i];
    std::string text = fmt::format("{}: layers {}", kind.name, kind.layers);
    if (kind.rotates && theta.size(0) == 1) {
      text += fmt::format(", theta {:g}", theta[0][static_cast<int64_t>(i)].item<double>());
    }
    if (kind.window > 0) text += fmt::format(", window of {} tokens", kind.window);
    if (kind.chunk > 0) text += fmt::format(", chunks of {} tokens", kind.chunk);
    fmt::print("{}, {}\n", text, counted(kind.clusters, "text"));
  }
}

Json kinds_json(const std::vector<DecayKind>& kinds, const at::Tensor& theta) {
  Json list = Json::array();
  for (size_t i = 0; i < kinds.size(); ++i) {
    const DecayKind& kind = kinds[i];
    list.push_back({{"name", kind.name},
                    {"layers", kind.layers},
                    {"rotates", kind.rotates},
                    {"theta", list_of(theta.select(1, static_cast<int64_t>(i)).contiguous())},
                    {"window", kind.window},
                    {"chunk", kind.chunk},
                    {"count", kind.count},
                    {"clusters", kind.clusters}});
  }
  return list;
}

std::vector<double> list_of(const at::Tensor& values) {
  const double* first = values.const_data_ptr<double>();
  return {first, first + values.numel()};
}

}  // namespace ropescope::app
