// Low-rank adapters: a matrix of the decoder stays as it is, and a product of two thin ones beside it is trained.
//   W' = W + s B A,   s = alpha / r;   A [r, in] uniform in +-1/sqrt(in), B [out, r] zero
// A pass works with W' itself, the matrix that export writes: what is trained is what is exported, under every scheme and in
// every kind of layer. Beside the thin matrices that costs W' for as long as a pass lasts, and the gradient of one W' at a time.
// Source: Hu et al. 2021 (arXiv 2106.09685); names, initial values and files as PEFT has them (adapter_file.h).
// Shapes  r rank, in and out of the adapted matrix W [out, in]
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/train/optimizer.h"

namespace ropescope {

struct LoraSettings {
  int64_t rank = 16;
  double alpha = 32;
  std::vector<std::string> targets = {"q_proj", "k_proj"};  ///< last parts of names of matrices

  double scale() const { return alpha / static_cast<double>(rank); }
  bool operator==(const LoraSettings&) const = default;
};

/// "rank=16,alpha=32,targets=q_proj,k_proj", in any order; alpha is twice the rank unless given. Throws UsageError.
LoraSettings parse_lora(const std::string& text);
/// The text that parse_lora reads back.
std::string lora_text(const LoraSettings& settings);

class Adapters {
 public:
  /// Of the matrices in `decoder`'s layers that `settings` names, which must not be trained themselves. `prefix`: what stands
  /// before "layers.0." in the names of transformers ("model.", "model.language_model."). Throws UsageError for targets that
  /// are not there, or that lie in one stored matrix with others.
  Adapters(const Decoder& decoder, LoraSettings settings, const std::string& prefix, uint64_t seed);

  const LoraSettings& settings() const { return settings_; }
  /// "model.layers.3.self_attn.q_proj.lora_A.weight", and lora_B; all are trained.
  std::vector<TensorSlot> slots();
  std::vector<Parameter> parameters() const;
  /// Numbers of the matrices W'.
  int64_t adapted_numbers() const { return adapted_numbers_; }
  /// The decoder with W' in place of W, differentiable in A and B; shares all else.
  Decoder applied(const Decoder& decoder) const;

 private:
  struct Entry {
    size_t slot = 0;  // among decoder_slots
    std::string module;
    at::Tensor a, b;
  };

  LoraSettings settings_;
  std::vector<Entry> entries_;
  int64_t adapted_numbers_ = 0;
};

}  // namespace ropescope
