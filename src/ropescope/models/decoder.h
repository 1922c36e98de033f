// A decoder of any family as plain functions over a struct of weights: what differs lies in its DecoderConfig.
//   x_0 = s E[ids]
//   h   = x + r m(O(softmax(mask(R q (R k)^T c)) v)),   q, k, v from n(x)
//   x'  = h + r m(feed_forward(n(h)))
// n, m norms (either may be absent), s, r, c scales, R the layer's rotation (or none). architectures/decoder_config.h
// has all that a layer may do; models/layer.h runs one.
// Shapes  B batch, T tokens, C hidden_size, H query heads, K key/value heads, D head_dim, V vocabulary,
//         S keys in view
// The decoder takes rotary tables, never a scheme; masks follow token order, unless the encoding of the pass
// says otherwise (rings of CCA and PyPE). Differentiable.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/models/attention.h"
#include "ropescope/models/decoder_weights.h"
#include "ropescope/models/kv_cache.h"
#include "ropescope/models/weight_access.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/rope/rotation.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

struct Decoder {
  DecoderConfig config;
  DecoderWeights weights;
  WeightAccessPointer access = nullptr;

  /// Whether taps see q and k of a layer: not of a delta rule.
  bool shows_qk(int64_t layer) const { return config.layer(layer).has_qk(); }
};

/// Where a model's weights are while it is used.
enum class WeightMode {
  kResident,  ///< in memory, all of them
  kStreamed,  ///< in their files: one layer at a time (models/streamed_weights.h)
  kAuto,      ///< streamed where main memory has no room for them, which is said on stderr
};

struct LoadOptions {
  at::Device device = at::Device(at::kCPU);
  at::ScalarType dtype = at::kFloat;
  bool with_lm_head = true;                    ///< false leaves an untied lm_head out
  WeightMode weights = WeightMode::kResident;  ///< other ways need a shared checkpoint
};

/// Loads by Hugging Face names (`model.layers.0.self_attn.q_proj.weight`, ...). `rotary_emb.inv_freq` buffers
/// are ignored. Throws InputError listing missing tensors by name and wrong shapes (expected, found);
/// unexpected names are warned of once, in one line. Experts stay in the file, which the decoder then keeps open; a
/// plain reference is enough for resident weights of families without experts (InternalError otherwise).
Decoder load_decoder(const Checkpoint& checkpoint, const DecoderConfig& config, const LoadOptions& options);
Decoder load_decoder(std::shared_ptr<const Checkpoint> checkpoint, const DecoderConfig& config,
                     const LoadOptions& options);

/// Embeddings of ids (int64, any shape, on the table's device) as they enter layer 0: [..., C], scaled where the family
/// does. Ids are not checked.
at::Tensor embed_tokens(const Decoder& decoder, const at::Tensor& ids);

/// Attention rows of chosen queries, computed beside the fused kernel; never a whole map unless all are asked
/// for.
struct AttentionRows {
  std::vector<int64_t> query_index;  ///< token indices of this forward pass
  std::function<void(int64_t layer, const at::Tensor& rows_BHQS)> sink;  ///< float32 softmax rows
  /// Optional, after `sink`: the layer's keys as they meet its queries, and the rows [B, H, n, S] that these queries (token
  /// indices) would have over other keys of the same shape, by the layer's own rules.
  using RowsOver =
      std::function<at::Tensor(const std::vector<int64_t>& query_index, const at::Tensor& k_BKSD)>;
  std::function<void(int64_t layer, const at::Tensor& k_BKSD, const RowsOver& rows_over)> other_keys = {};
};

/// What a forward pass is asked to show. An empty function costs nothing. Tensors are valid during the call
/// only.
struct Taps {
  std::function<bool(int64_t layer)> wants_layer;  ///< for qk, qk_rotated, attention; absent = all layers
  std::function<void(int64_t depth, const at::Tensor& hidden_BTC)>
      hidden;  ///< 0 embeddings, l = output of layer l-1
  std::function<void(int64_t layer, const at::Tensor& q_BHTD, const at::Tensor& k_BKTD)>
      qk;  ///< before rotation, after norms that come before it; a layer that reads another's keys shows no k
  /// As they meet in the softmax, before its scale.
  std::function<void(int64_t layer, const at::Tensor& q_BHTD, const at::Tensor& k_BKTD)> qk_rotated;
  /// DIPE: queries rotated by anchored ids, for keys of the other modality.
  std::function<void(int64_t layer, const at::Tensor& q_BHTD)> q_anchored;
  std::optional<AttentionRows> attention;
};

/// Features that join the hidden states of some tokens on their way (DeepStack).
struct AddedFeatures {
  int64_t layer = 0;       ///< they are added to this layer's output
  at::Tensor token_index;  ///< int64 [n], into the B * T tokens of the pass, row by row
  at::Tensor features;     ///< [n, C], in any type
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
  /// Optional, integers [B, T]: the number of the picture that a token belongs to, -1 for text. Tokens of one picture see
  /// later ones of it too, at any distance; a layer's window bounds earlier ones only (Gemma 3). All of a picture has to be
  /// in one pass (InputError where the next one goes on with it). Not under schemes that change the attention, nor with
  /// recurrent layers.
  at::Tensor groups;
  /// In any order; what names one token twice is added twice. Hidden states that taps see have it already.
  std::vector<AddedFeatures> added;
  /// For the T tokens of this pass, of models whose layers all rotate alike.
  const RotaryTable* rotary = nullptr;
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

/// Encoding of given ids [1 or 3, batch or 1, tokens] under the checkpoint's own settings, a table for each kind of layer;
/// what depends on a run's length (dynamic NTK, longrope) takes the largest id + 1, or `length` where that is longer.
/// Three rows (frames, rows, columns) turn the channels that DecoderConfig::rope_axes says; one row is all three of them.
/// Throws InputError for three rows of a decoder without axes.
PassEncoding encoding_for(const DecoderConfig& config, const at::Tensor& position_ids, double length = 0);
/// The same of the positions first, first + 1, ...
PassEncoding plain_encoding(const DecoderConfig& config, int64_t tokens, int64_t first = 0);
/// Whether all layers rotate by one table.
bool rotates_alike(const DecoderConfig& config);
/// Whether the frequencies of any layer depend on how long a run is (dynamic NTK, longrope).
bool depends_on_length(const DecoderConfig& config);

/// Layers in which queries meet keys, in order: all but those of a delta rule.
std::vector<int64_t> layers_with_qk(const DecoderConfig& config);
/// Throws UsageError where --layers names a layer without q and k.
void require_qk(const DecoderConfig& config, const std::vector<int64_t>& layers);

/// One table, of models whose layers rotate alike (InternalError for others): plain positions first, first+1, ... for
/// `tokens` tokens; given ids; packed texts, each counted from 0.
RotaryTable plain_rotary_table(const DecoderConfig& config, int64_t tokens, int64_t first = 0);
RotaryTable rotary_table_for(const DecoderConfig& config, const at::Tensor& position_ids);
RotaryTable packed_rotary_table(const DecoderConfig& config, const std::vector<int64_t>& segment_lengths);
/// The sizes of this decoder that a scheme's encoding depends on.
EncodedModel encoded_model(const DecoderConfig& config);

}  // namespace ropescope
