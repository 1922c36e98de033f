// What decoder families share: readers of keys, layers that differ by their kind, lists of tensors.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/rope_settings.h"

namespace ropescope::families {

inline constexpr const char* kFull = "full_attention";
inline constexpr const char* kSliding = "sliding_attention";
inline constexpr const char* kChunked = "chunked_attention";
inline constexpr const char* kLinear = "linear_attention";

// Readers of config.json.

using KindOf = std::function<std::string(int64_t layer)>;

/// Every `period`-th layer is full, the others are of the kind `rest`.
KindOf full_every(int64_t period, const char* rest = kSliding);
/// `period` from the config, at least 1.
int64_t period_or(const Json& config, const char* key, int64_t fallback, const std::string& what);
/// `layer_types`, one of `known` a layer; where the key is absent, what `kind_of` says.
std::vector<std::string> layer_kinds(const Json& config, const DecoderConfig& decoder,
                                     std::initializer_list<std::string_view> known, const KindOf& kind_of,
                                     const std::string& what);
/// A list of integers; empty where the key is absent or null.
std::vector<int64_t> integers(const Json& config, const char* key, const std::string& what);
/// One 0 or 1 a layer; where the key is absent, null or empty: 0 for every `no_rope_layer_interval`-th. 1: it rotates.
std::vector<bool> rotating_layers(const Json& config, const DecoderConfig& decoder, const std::string& what);
/// `sliding_window`; 0: null, or absent without a fallback.
int64_t window_or(const Json& config, std::optional<int64_t> fallback, const std::string& what);
/// A finite number above 0.
double positive_or(const Json& config, const char* key, double fallback, const std::string& what);
/// A softcap; 0: null, or absent without a fallback.
double softcap_or(const Json& config, const char* key, double fallback, const std::string& what);
/// Throws UnsupportedModel where a key is there and neither null nor `expected`.
void expect_key(const Json& config, const char* key, const Json& expected, const std::string& what);

/// The family's one set of rotary settings.
RopeConfig shared_rope(const Json& config, const DecoderConfig& decoder, const ConfigDefaults& defaults,
                       const std::string& what);
/// How a family's code divides channel pairs among frames, rows and columns.
struct AxesRule {
  bool interleaved = false;
  double frame_step = 1;
  /// What absent `mrope_section` means; all 0: it has to be there. Interleaved ones end where the pairs end.
  std::array<int64_t, 3> sections = {0, 0, 0};
};
/// The family's one set of rotary settings, and its axes from `mrope_section` beside them. A type "mrope" is no scaling.
/// Throws InputError for sections that are not as many as the pairs that turn, UnsupportedModel where `mrope_interleaved`
/// contradicts the family's code.
void read_rope_with_axes(const Json& config, DecoderConfig& decoder, const ConfigDefaults& defaults,
                         const AxesRule& rule, const std::string& what);
/// Of full layers, where the old spelling's `rope_scaling` is for them only: `rope_parameters`, and that on top.
Json full_rope_parameters(const Json& config, const std::string& what);
/// The settings of full and of sliding layers; one where they are equal. Sets the layers' `rope`.
void set_ropes(DecoderConfig& decoder, RopeConfig full, RopeConfig sliding);

/// q, k and v biases, and o's too, by `attention_bias`.
void read_attention_bias(const Json& config, DecoderConfig& decoder, bool fallback, const std::string& what);

// Layers.

/// Full softmax attention over the sizes of `decoder`, scores over sqrt(head_dim), a dense feed-forward.
LayerShape plain_layer(const DecoderConfig& decoder);
/// Plain layers of these kinds; the sliding ones see `window` tokens. Throws InputError where they need one and there is
/// none.
void fill_layers(DecoderConfig& decoder, const std::vector<std::string>& kinds, int64_t window,
                 const std::string& what);
/// What latent attention multiplies scores by: 1 / sqrt(head_dim), times the square of yarn's factor for mscale_all_dim.
double latent_score_scale(int64_t head_dim, const RopeConfig& rope);
/// Qwen's rule: `use_sliding_window` gives layers from max_window_layers on a window, unless `layer_types` says which.
void fill_qwen_layers(const Json& config, DecoderConfig& decoder, int64_t first_window_layer,
                      bool kinds_are_told, const std::string& what);
/// Of Qwen2-VL and Qwen2.5-VL, whose decoders differ in how the ids of frames advance only: ids between two frames of a clip
/// that does not say it itself.
void read_qwen_vl(const Json& config, DecoderConfig& decoder, double frame_step, const std::string& what);
/// What their config classes assume.
inline const ConfigDefaults kQwenVlDefaults = {.max_position_embeddings = 32768,
                                               .num_key_value_heads = 8,
                                               .norm_eps = 1e-5,
                                               .rope_theta = 1e6,
                                               .vocab_size = 152064,
                                               .hidden_size = 8192,
                                               .intermediate_size = 29568,
                                               .num_hidden_layers = 80,
                                               .num_attention_heads = 64};

// Writers.

/// `layer_types`.
Json kinds_json(const DecoderConfig& decoder);
/// The window of the first layer that has one; null: none has.
Json window_json(const DecoderConfig& decoder);
/// A softcap; null: none.
Json softcap_json(double softcap);
/// 1 / scale^2, as an integer where it is one: what `query_pre_attn_scalar` was.
Json inverse_square(double scale);
/// `rope_parameters` and `dtype` as transformers 5 writes them.
void write_rope(const DecoderConfig& decoder, Json& config);
/// The same with `mrope_section` and `mrope_interleaved` among them.
void write_rope_with_axes(const DecoderConfig& decoder, Json& config);
/// The same with one object a kind of layers.
void write_ropes_by_kind(const DecoderConfig& decoder, Json& config);
/// The spelling of transformers 4, which every version reads: rope_theta, rope_scaling, torch_dtype.
void write_old_rope(const DecoderConfig& decoder, Json& config);
/// use_sliding_window, sliding_window, max_window_layers and layer_types.
void write_qwen_windows(const DecoderConfig& decoder, Json& config);
/// What read_qwen_vl reads.
void write_qwen_vl(const DecoderConfig& decoder, Json& config);

// Tensors.

/// A list of rules under one prefix ("model.layers.3.").
class RuleList {
 public:
  RuleList(const DecoderConfig& decoder, int64_t layer);

  /// The tensor `name` behind the prefix.
  void add(TensorKind kind, const std::string& name, std::vector<int64_t> shape);
  /// Rows from `first_row` on of the tensor `name`, which has `stored_rows`.
  void add_part(TensorKind kind, const std::string& name, std::vector<int64_t> shape, int64_t first_row,
                int64_t stored_rows);
  /// A norm over the hidden size.
  void norm(TensorKind kind, const std::string& name);
  /// q, k, v, o under self_attn., with what the layer has of biases, norms and sinks.
  void attention();
  /// gate, up and down [inner] under `module`.
  void feed_forward(const std::string& module, int64_t inner);
  /// A shared expert's.
  void shared_expert(const std::string& module, int64_t inner);
  /// `gate_up_proj`, gate first, and `down_proj` under mlp.
  void fused_feed_forward();

  const LayerShape& shape() const { return *shape_; }
  std::vector<TensorRule> take() { return std::move(rules_); }

 private:
  const DecoderConfig& decoder_;
  const LayerShape* shape_ = nullptr;
  std::string prefix_;
  std::vector<TensorRule> rules_;
};

/// Embedding, last norm, output matrix.
std::vector<TensorRule> outside_rules(const DecoderConfig& decoder);
/// Norms before attention and before the feed-forward, under Llama's names.
std::vector<TensorRule> llama_rules(const DecoderConfig& decoder, int64_t layer);
/// Norms before and after both, under Gemma's names.
std::vector<TensorRule> gemma_rules(const DecoderConfig& decoder, int64_t layer);
/// Names and norms of GGUF tensors in Gemma 2 and 3: the file has the norms' weights with one added.
GgufRole gemma_gguf_role(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what);
/// Norms before and after both under GLM-4's names, gate and up in one matrix.
std::vector<TensorRule> glm4_rules(const DecoderConfig& decoder, int64_t layer);
/// Norms after both only (OLMo 2 and 3).
std::vector<TensorRule> olmo_rules(const DecoderConfig& decoder, int64_t layer);

}  // namespace ropescope::families
