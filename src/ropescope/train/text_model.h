// Losses of a decoder over batches of text, under any position encoding.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"
#include "ropescope/rope/scheme.h"
#include "ropescope/train/optimizer.h"
#include "ropescope/train/trainer.h"

namespace ropescope {

/// Rows that go through the model together, padded on the right.
struct TextBatch {
  at::Tensor input_ids;            ///< int64 [B, T]
  at::Tensor attention_mask;       ///< int64 [B, T], or undefined: every token is real
  at::Tensor labels;               ///< int64 [B, T]; kIgnoredLabel = no target
  std::vector<std::string> names;  ///< of the rows
};

/// Rows of different lengths as one batch. `pad_id` fills up input_ids.
TextBatch pad_rows(const std::vector<std::vector<int64_t>>& ids,
                   const std::vector<std::vector<int64_t>>& labels, std::vector<std::string> names,
                   int64_t pad_id);

class Adapters;

struct ModelLossOptions {
  std::optional<Scheme> scheme;    ///< absent: the checkpoint's own rotation
  bool checkpoint_layers = false;  ///< recompute each layer in the backward pass
  /// Rows of different lengths go one after the other, without padding, and do not see each other.
  bool packing = false;
  /// What passes run in; weights, gradients and updates stay float32.
  at::ScalarType compute = at::kFloat;
  std::shared_ptr<Adapters> adapters;  ///< null: the decoder's matrices as they are (lora.h)
};

/// Tensors of a model, and the adapters'.
std::vector<TensorSlot> with_adapter_slots(std::vector<TensorSlot> slots, const ModelLossOptions& options);
/// What of them a checkpoint holds: all, or with adapters what is trained.
std::vector<TensorSlot> slots_to_save(std::vector<TensorSlot> slots, const ModelLossOptions& options);

/// The encoding of `tokens` tokens of text: the scheme's, or the checkpoint's own rotation.
PassEncoding text_encoding(const Decoder& decoder, const std::optional<Scheme>& scheme, int64_t tokens);

/// What a pass works with: the adapters' matrices in place of the decoder's.
Decoder with_adapters(const Decoder& decoder, const ModelLossOptions& options);

/// The encoding of rows that lie one after the other in one sequence, each counted from its own beginning, from that of the
/// rows padded on the right (tables [1 or B, ...]). For encodings that only rotate.
PassEncoding packed_encoding(const PassEncoding& rows, const std::vector<int64_t>& lengths);

/// The parameters of a decoder, by Hugging Face names, made trainable; a tied output matrix stays tied.
std::vector<Parameter> make_trainable(Decoder& decoder, const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy = true);

/// The sum over the targets of labels [B, T] of the negative log-likelihood after `input`, times `scale`.
at::Tensor decoder_loss(const Decoder& decoder, const ForwardInput& input, const at::Tensor& labels,
                        double scale, const ModelLossOptions& options);

/// The sum over the batch's targets of the negative log-likelihood, times `scale`. Under schemes that change
/// the attention itself (DIPE, CCA, PyPE, ALiBi), which take no padding, rows go through one by one.
at::Tensor text_loss(const Decoder& decoder, const TextBatch& batch, double scale,
                     const ModelLossOptions& options = {});

/// For Trainer::step; `decoder` and `batch` must live as long.
Trainer::Micro text_micro(const Decoder& decoder, const TextBatch& batch,
                          const ModelLossOptions& options = {});

}  // namespace ropescope
