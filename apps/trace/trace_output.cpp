#include "trace/trace_output.h"

#include <algorithm>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/ops/isfinite.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/nearest_name.h"

namespace ropescope::app::trace {

const std::vector<std::string>& trace_dump_names() {
  static const std::vector<std::string> names = {
      "logits",           "hidden",         "q",         "k",
      "q_rotated",        "k_rotated",      "attention", "inputs_embeds",
      "image_features",   "video_features", "deepstack", "vision_hidden",
      "vision_attention", "vision_feature"};
  return names;
}

std::set<std::string> parse_dump(const std::string& text) {
  std::set<std::string> wanted;
  std::stringstream stream(text);
  for (std::string name; std::getline(stream, name, ',');) {
    const auto& known = trace_dump_names();
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      const std::string near = nearest_name(name, known);
      throw UsageError("--dump: expected some of {}, found \"{}\"{}", fmt::join(known, ","), name,
                       near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
    }
    wanted.insert(name);
  }
  if (wanted.empty()) throw UsageError("--dump: expected some of {}", fmt::join(trace_dump_names(), ","));
  return wanted;
}

TraceOutput::TraceOutput(const std::string& path, const Provenance& provenance, bool force)
    : path_(path), writer_(path, provenance, force) {}

void TraceOutput::write(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor local = tensor.detach().cpu();
  if (!at::isfinite(local).all().item<bool>()) {
    throw NumericsError("/trace/{}: expected finite numbers, found infinity or NaN; try --dtype float32",
                        name);
  }
  writer_.write("/trace/" + name, local);
  datasets_.emplace_back(name, local.sizes().vec());
}

void TraceOutput::attribute(const std::string& name, const Attribute& value) {
  writer_.attribute("/trace", name, value);
}

void TraceOutput::finish(bool json, bool csv, const at::Tensor& generated,
                         const std::vector<std::string>& generated_text) {
  const uint64_t bytes = writer_.commit();
  std::vector<std::vector<int64_t>> ids;
  for (int64_t row = 0; generated.defined() && row < generated.size(0); ++row) {
    const at::Tensor one = generated[row].contiguous();
    const auto* data = one.const_data_ptr<int64_t>();
    ids.emplace_back(data, data + one.numel());
  }
  if (json) {
    Json report = {{"output", path_}, {"bytes", bytes}, {"datasets", Json::object()}};
    for (const auto& [name, shape] : datasets_) report["datasets"]["/trace/" + name] = shape;
    if (generated.defined()) report["generated"] = ids;
    if (!generated_text.empty()) report["generated_text"] = generated_text;
    fmt::print("{}\n", report.dump(-1, ' ', false, Json::error_handler_t::replace));
    return;
  }
  if (csv) fmt::print("dataset,shape\n");
  for (const auto& [name, shape] : datasets_) {
    if (csv) {
      fmt::print("/trace/{},{}\n", name, fmt::join(shape, "x"));
    } else {
      fmt::print("{:<24}[{}]\n", "/trace/" + name, fmt::join(shape, ", "));
    }
  }
  if (csv) return;
  for (size_t row = 0; row < ids.size(); ++row) {
    fmt::print("generated {}: {}\n", row, fmt::join(ids[row], " "));
    if (row < generated_text.size()) fmt::print("  {}\n", generated_text[row]);
  }
  fmt::print("wrote {} ({} bytes)\n", path_, bytes);
}

}  // namespace ropescope::app::trace
