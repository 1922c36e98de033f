// Llama and Qwen2/2.5 decoders as plain functions over a struct of weights.
//   x_0 = E[ids]
//   h   = x + O(softmax(mask(R q (R k)^T / sqrt(head_dim))) v),   q, k, v from n(x)
//   x'  = h + down(silu(gate(n(h))) * up(n(h))),                  n = RMS normalisation
// Shapes  B batch, T tokens, C hidden_size, H query heads, K key/value heads, D head_dim, V vocabulary,
//         S keys in view
// The decoder takes rotary tables, never a scheme; masks follow token order, unless the encoding of the pass
// says otherwise (rings of CCA and PyPE). Differentiable.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/attention.h"
#include "ropescope/models/weight_access.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/rope/rotation.h"
#include "ropescope/weights/checkpoint.h"
#include "ropescope/weights/decoder_config.h"

namespace ropescope {

/// Undefined tensors are absent (biases).
struct DecoderLayerWeights {
  at::Tensor input_norm;  ///< [C]
  at::Tensor q, k, v, o;  ///< [H*D, C], [K*D, C], [K*D, C], [C, H*D]
  at::Tensor q_bias, k_bias, v_bias, o_bias;
  at::Tensor post_attention_norm;  ///< [C]
  at::Tensor gate, up, down;       ///< [I, C], [I, C], [C, I]
  at::Tensor gate_bias, up_bias, down_bias;
};

struct DecoderWeights {
  at::Tensor embed_tokens;  ///< [V, C]
  std::vector<DecoderLayerWeights> layers;
  at::Tensor norm;     ///< [C]
  at::Tensor lm_head;  ///< [V, C]; the same tensor as embed_tokens when tied
};

struct Decoder {
  DecoderConfig config;
  DecoderWeights weights;
  WeightAccessPointer access = nullptr;
};

struct LoadOptions {
  at::Device device = at::Device(at::kCPU);
  at::ScalarType dtype = at::kFloat;
  bool with_lm_head = true;  ///< false leaves an untied lm_head out
};

/// Loads by Hugging Face names (`model.layers.0.self_attn.q_proj.weight`, ...). `rotary_emb.inv_freq` buffers
/// are ignored. Throws InputError listing missing tensors by name and wrong shapes (expected, found);
/// unexpected names are warned of once, in one line.
Decoder load_decoder(const Checkpoint& checkpoint, const DecoderConfig& config, const LoadOptions& options);

/// Keys (rotated) and values of the tokens seen so far, per layer [B, K, S, D]. The tensors are views of
/// larger buffers, so that a generated token costs no copy of its past; copies share them, so append to one
/// only.
struct KvCache {
  std::vector<at::Tensor> keys, values;
  int64_t length() const { return keys.empty() || !keys[0].defined() ? 0 : keys[0].size(2); }

  /// Appends k, v [B, K, T, D] to a layer; keys[layer], values[layer] then hold past and new tokens. Without
  /// autograd the buffers grow by doubling; with it everything is concatenated.
  void append(int64_t layer, const at::Tensor& k_BKTD, const at::Tensor& v_BKTD);

  /// Only the rows `index` (int64, on any device) of every layer are kept.
  void keep_rows(const at::Tensor& index);

 private:
  std::vector<at::Tensor> key_buffers_, value_buffers_;
};

/// Attention rows of chosen queries, computed beside the fused kernel; never a whole map unless all are asked
/// for.
struct AttentionRows {
  std::vector<int64_t> query_index;  ///< token indices of this forward pass
  std::function<void(int64_t layer, const at::Tensor& rows_BHQS)> sink;  ///< float32 softmax rows
};

/// What a forward pass is asked to show. An empty function costs nothing. Tensors are valid during the call
/// only.
struct Taps {
  std::function<bool(int64_t layer)> wants_layer;  ///< for qk, qk_rotated, attention; absent = all layers
  std::function<void(int64_t depth, const at::Tensor& hidden_BTC)>
      hidden;  ///< 0 embeddings, l = output of layer l-1
  std::function<void(int64_t layer, const at::Tensor& q_BHTD, const at::Tensor& k_BKTD)>
      qk;  ///< before rotation
  std::function<void(int64_t layer, const at::Tensor& q_BHTD, const at::Tensor& k_BKTD)> qk_rotated;
  /// DIPE: queries rotated by anchored ids, for keys of the other modality.
  std::function<void(int64_t layer, const at::Tensor& q_BHTD)> q_anchored;
  std::optional<AttentionRows> attention;
};

struct ForwardInput {
  at::Tensor input_ids;      ///< int64 [B, T], on any device
  at::Tensor inputs_embeds;  ///< [B, T, C]; taken instead of input_ids when defined
  /// Optional, [B, past + T], non-zero = a real token; padding keys are hidden. Needs memory for one
  /// [B, T, past + T] mask unless every token is real.
  at::Tensor attention_mask;
  BlindQuery blind_query = BlindQuery::kZero;
  /// Packed texts: B = 1 and these lengths sum to T; attention is causal inside each and nothing crosses.
  /// Empty: one.
  std::vector<int64_t> segment_lengths;
  const RotaryTable* rotary = nullptr;  ///< for the T tokens of this pass
  /// In place of `rotary`: tables and rules of a scheme for this pass, the same for every row. With rules
  /// that go beyond rotation (DIPE, CCA, PyPE, ALiBi) neither padding nor packing is possible.
  const PassEncoding* encoding = nullptr;
  KvCache* cache = nullptr;  ///< read and extended when given
};

struct ForwardOptions {
  enum class Logits { kNone, kLast, kAll };
  Logits logits = Logits::kAll;
  bool final_hidden = true;  ///< false skips the last norm (and `final_hidden` stays undefined)
  /// When >= 0: stop as soon as q and k of this layer were shown (its attention and MLP are not computed; no
  /// logits, no final_hidden; not with a cache).
  int64_t stop_after_qk_of_layer = -1;
  /// The same, as soon as this layer's attention rows were shown (Taps::attention): a pass that is asked for
  /// rows of early layers costs no later ones.
  int64_t stop_after_rows_of_layer = -1;
  /// Activation checkpointing: keep only each layer's input and compute the layer again in the backward
  /// pass. The same numbers with less memory and a third more time. Without taps and cache.
  bool checkpoint_layers = false;
};

struct ForwardOutput {
  at::Tensor logits;        ///< float32 [B, T or 1, V]
  at::Tensor final_hidden;  ///< after the final norm, [B, T, C]
};

/// One pass. Without autograd (NoGradGuard) fused kernels are used; with it every step is differentiable in
/// the weights and in inputs_embeds. Throws InputError for ids outside the vocabulary.
ForwardOutput forward(const Decoder& decoder, const ForwardInput& input, const ForwardOptions& options = {},
                      const Taps& taps = {});

/// Mean negative log-likelihood of labels[:, 1:] under logits[:, :-1], over targets that are not -100. A
/// scalar. logits [B, T, V], labels int64 [B, T]. Throws InputError if no target is left.
at::Tensor causal_lm_loss(const at::Tensor& logits, const at::Tensor& labels);

/// Table of plain positions first, first+1, ... for `tokens` tokens under the checkpoint's own RopeConfig.
RotaryTable plain_rotary_table(const DecoderConfig& config, int64_t tokens, int64_t first = 0);
/// Table of given ids [axes, batch or 1, tokens]; dynamic NTK takes the largest id + 1 as length.
RotaryTable rotary_table_for(const DecoderConfig& config, const at::Tensor& position_ids);
/// The sizes of this decoder that a scheme's encoding depends on.
EncodedModel encoded_model(const DecoderConfig& config);
/// Table of packed texts, each counted from 0; dynamic NTK takes the longest as length.
RotaryTable packed_rotary_table(const DecoderConfig& config, const std::vector<int64_t>& segment_lengths);

}  // namespace ropescope
