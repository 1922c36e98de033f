// The two golden checkpoints and passes over them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/models/decoder.h"

namespace ropescope::testing {

struct TinyModel {
  std::string name;  ///< folder under golden/language
  std::string form;  ///< checkpoint folder or file inside it
};

inline const std::vector<TinyModel>& tiny_models() {
  static const std::vector<TinyModel> all = {{"llama-tiny", "safetensors-fp32"},
                                             {"qwen2-tiny", "safetensors-bf16-tied"}};
  return all;
}

Decoder load_tiny(const std::string& name, const std::string& form, at::ScalarType dtype = at::kFloat);
std::map<std::string, at::Tensor> tiny_tensors(const std::string& name);
Json tiny_json(const std::string& name);

/// Everything that a pass can show.
struct Shown {
  ForwardOutput output;
  std::map<int64_t, at::Tensor> hidden, q, k, q_rotated, k_rotated, attention;
};
/// Positions 0..T-1 unless `position_ids` [B or 1, T] are given. All layers, all queries.
Shown run_and_show(const Decoder& decoder, const at::Tensor& ids, const at::Tensor& mask = {},
                   const at::Tensor& position_ids = {}, BlindQuery blind_query = BlindQuery::kZero);

}  // namespace ropescope::testing
