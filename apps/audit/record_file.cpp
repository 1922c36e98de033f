#include "audit/record_file.h"

#include <string_view>
#include <vector>

#include <fmt/ranges.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/npy.h"
#include "ropescope/weights/safetensors.h"

#include "inputs/nested_numbers.h"

namespace ropescope::app::audit {

namespace {

constexpr std::string_view kHdf5Mark = "\x89HDF\r\n\x1a\n";

}  // namespace

RecordFile::RecordFile(std::string path) : path_(std::move(path)) {
  const FileBytes file = map_file(path_);
  if (looks_like_npy(file.bytes)) {
    only_ = parse_npy(file).values.to(at::kDouble);
  } else if (looks_like_safetensors(file.bytes)) {
    tensors_ = open_checkpoint(path_);
  } else if (first_bytes(file.bytes, kHdf5Mark.size()) == kHdf5Mark) {
    trace_ = std::make_shared<const ResultReader>(path_);
  } else {
    const std::string_view begin = first_bytes(file.bytes, 64);
    const size_t first = begin.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos || (begin[first] != '{' && begin[first] != '[')) {
      throw InputError(
          "{}: expected NumPy's .npy, safetensors, JSON or a file of ropescope trace, found another form",
          path_);
    }
    const Json json = read_json_file(path_);
    if (json.is_array()) {
      only_ = NestedNumbers(json, path_).doubles();
    } else {
      object_ = json;
    }
  }
}

at::Tensor RecordFile::find(const std::string& name) const {
  if (tensors_ && tensors_->find(name) != nullptr) return tensors_->take(name, at::kDouble).contiguous();
  if (trace_ && trace_->has("/trace/" + name))
    return trace_->read("/trace/" + name).to(at::kDouble).contiguous();
  if (json_has(object_, name.c_str())) return NestedNumbers(object_.at(name), path_ + ": " + name).doubles();
  return {};
}

at::Tensor RecordFile::take(const std::string& name) const {
  if (only_.defined()) return only_;
  if (const at::Tensor found = find(name); found.defined()) return found;
  std::vector<std::string> names;
  if (tensors_) {
    for (const TensorInfo& tensor : tensors_->tensors()) names.push_back(tensor.name);
  } else if (!trace_) {
    for (const auto& entry : object_.items()) names.push_back(entry.key());
  }
  if (names.size() == 1) return find(names.front());
  if (names.size() > 12) names.resize(12);
  throw InputError("{}: expected \"{}\", found {}", path_, name,
                   names.empty() ? "nothing" : fmt::format("{}", fmt::join(names, ", ")));
}

at::Tensor RecordFile::find_whole(const std::string& name) const {
  const at::Tensor found = find(name);
  return found.defined() ? whole_numbers(found, path_ + ": " + name) : found;
}

at::Tensor RecordFile::take_whole(const std::string& name) const {
  return whole_numbers(take(name), path_ + ": " + name);
}

bool RecordFile::half_type(const std::string& name) const {
  const TensorInfo* info = tensors_ ? tensors_->find(name) : nullptr;
  return info != nullptr && (info->dtype == "F16" || info->dtype == "BF16");
}

}  // namespace ropescope::app::audit
