#include "inputs/nested_numbers.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"

namespace ropescope::app {

NestedNumbers::NestedNumbers(const Json& json, std::string what) : what_(std::move(what)) {
  const Json* level = &json;
  while (level->is_array()) {
    if (level->empty()) throw InputError("{}: expected numbers, found an empty list", what_);
    sizes_.push_back(static_cast<int64_t>(level->size()));
    level = &level->front();
  }
  collect(json, 0);
}

at::Tensor NestedNumbers::doubles() const {
  at::Tensor tensor = at::empty(sizes_, at::kDouble);
  std::copy(values_.begin(), values_.end(), tensor.mutable_data_ptr<double>());
  return tensor;
}

at::Tensor NestedNumbers::integers() const { return whole_numbers(doubles(), what_); }

void NestedNumbers::collect(const Json& json, size_t depth) {
  if (depth == sizes_.size()) {
    if (json.is_array()) uneven(depth, static_cast<int64_t>(json.size()));
    if (!json.is_number() && !json.is_boolean()) {
      throw InputError("{}: expected numbers, found {}", what_, json.dump().substr(0, 40));
    }
    values_.push_back(json.is_boolean() ? static_cast<double>(json.get<bool>()) : json.get<double>());
    return;
  }
  if (!json.is_array() || static_cast<int64_t>(json.size()) != sizes_[depth]) {
    uneven(depth, json.is_array() ? static_cast<int64_t>(json.size()) : 0);
  }
  for (const Json& part : json) collect(part, depth + 1);
}

void NestedNumbers::uneven(size_t depth, int64_t found) const {
  throw InputError(
      "{}: expected rows of one length ({}), found {}; pad short rows and say so in attention_mask", what_,
      depth < sizes_.size() ? sizes_[depth] : 0, found);
}

at::Tensor whole_numbers(const at::Tensor& numbers, const std::string& what) {
  const at::Tensor given = numbers.to(at::kDouble).contiguous();
  at::Tensor tensor = at::empty(given.sizes(), at::kLong);
  const auto* in = given.const_data_ptr<double>();
  auto* out = tensor.mutable_data_ptr<int64_t>();
  constexpr double kExact = 9007199254740992.0;  // 2^53
  for (int64_t i = 0; i < given.numel(); ++i) {
    if (in[i] != std::floor(in[i]) || std::abs(in[i]) > kExact) {
      throw InputError("{}: expected integers, found {}", what, in[i]);
    }
    out[i] = static_cast<int64_t>(in[i]);
  }
  return tensor;
}

}  // namespace ropescope::app
