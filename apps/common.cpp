#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "command.h"

namespace ropescope::app {

CommonSettings common_settings(const Arguments& arguments) {
  set_quiet(arguments.flag("quiet"));
  set_threads(arguments.get<int>("threads"));
  CommonSettings settings;
  settings.device = parse_device(arguments.get<std::string>("device"));
  // Measurements on a CPU are float32 unless asked otherwise: bfloat16 logits are good to two digits only.
  const std::string unless_given = settings.device.is_cpu() ? "float32" : "auto";
  settings.dtype = parse_dtype(arguments.has("dtype") ? arguments.get<std::string>("dtype") : unless_given,
                               settings.device);
  settings.seed = arguments.get<uint64_t>("seed");
  settings.force = arguments.flag("force");
  settings.json = arguments.flag("json");
  settings.csv = arguments.flag("csv");
  if (settings.json && settings.csv) throw UsageError("--json and --csv: expected at most one of the two");
  return settings;
}

Provenance make_provenance(const Arguments& arguments, const CommonSettings& settings) {
  Provenance provenance;
  provenance.command = arguments.command_line;
  provenance.device = settings.device.str();
  provenance.dtype = dtype_name(settings.dtype);
  provenance.seed = settings.seed;
  return provenance;
}

std::string required_text(const Arguments& arguments, const std::string& flag) {
  if (arguments.values.count(flag) == 0 || arguments.get<std::string>(flag).empty()) {
    throw UsageError("--{} is required; see --help", flag);
  }
  return arguments.get<std::string>(flag);
}

namespace {

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

int64_t parse_integer(const std::string& text, const std::string& flag) {
  int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || text.empty()) {
    throw UsageError("--{}: expected integers like 0-3,31, found \"{}\"", flag, text);
  }
  return value;
}

}  // namespace

std::vector<int64_t> parse_integer_list(const std::string& text, const std::string& flag) {
  constexpr int64_t kLongestRange = 10'000'000;
  std::vector<int64_t> values;
  for (const std::string& part : split_list(text)) {
    const size_t dash = part.find('-', 1);
    if (dash == std::string::npos) {
      values.push_back(parse_integer(part, flag));
      continue;
    }
    const int64_t first = parse_integer(part.substr(0, dash), flag);
    const int64_t last = parse_integer(part.substr(dash + 1), flag);
    if (last < first || last - first > kLongestRange) {
      throw UsageError("--{}: expected a range first-last with first <= last, found \"{}\"", flag, part);
    }
    for (int64_t value = first; value <= last; ++value) values.push_back(value);
  }
  if (values.empty()) throw UsageError("--{}: expected at least one integer, found none", flag);
  return values;
}

std::vector<double> parse_number_list(const std::string& text, const std::string& flag) {
  std::vector<double> values;
  for (const std::string& part : split_list(text)) {
    double value = 0;
    const auto [end, code] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (code != std::errc() || end != part.data() + part.size() || part.empty() || !std::isfinite(value)) {
      throw UsageError("--{}: expected numbers like 1e4,1e6, found \"{}\"", flag, part);
    }
    values.push_back(value);
  }
  if (values.empty()) throw UsageError("--{}: expected at least one number, found none", flag);
  return values;
}

}  // namespace ropescope::app
