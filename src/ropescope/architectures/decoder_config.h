// What config.json (or GGUF metadata) says about a decoder: sizes, and what may differ from layer to layer.
// architecture.h has the families that read and write it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/rope/frequencies.h"
#include "ropescope/rope/rotation.h"

namespace ropescope {

/// A sound config of a model that no family here reads: another architecture, another runtime's quantisation, ...
class UnsupportedModel : public InputError {
 public:
  using InputError::InputError;
};

/// How a layer mixes tokens.
enum class Mixer {
  kSoftmax,    ///< attention over keys and values of heads
  kLatent,     ///< the same over keys and values that a low-rank latent gives (DeepSeek's MLA)
  kDeltaRule,  ///< a recurrent state and no positions (gated delta rule, Qwen3.5)
};

enum class NormKind {
  kRms,        ///< x / rms(x) * w
  kRmsAddOne,  ///< x / rms(x) * (1 + w) (Gemma 1 to 3, Qwen3.5)
  kLayer,      ///< the mean removed too, no bias (Cohere)
};

enum class GateActivation { kSilu, kGeluTanh };

/// transformers' name: "silu", "gelu_pytorch_tanh".
std::string activation_name(GateActivation activation);

/// Where q and k are normalised.
enum class QkNorm {
  kNone,
  kPerHead,        ///< each head by itself, one weight [head_dim], before the rotation
  kAllHeads,       ///< all heads together, a weight [heads * head_dim], before the rotation (OLMo 2)
  kAfterRotation,  ///< each head by itself, without a weight (Llama 4)
};

/// Scale of a query by its position p: 1 + slope * ln(1 + floor((p + shift) / period)).
struct QueryTemperature {
  double slope = 0, period = 1;
  int64_t shift = 0;
  bool operator==(const QueryTemperature&) const = default;
};

/// Keys and values from a latent: per head [nope | rope] channels of q and k, of which the last rotate.
struct LatentShape {
  int64_t q_rank = 0;  ///< 0: q comes from the input directly
  int64_t kv_rank = 0, nope_dim = 0, rope_dim = 0;
  bool operator==(const LatentShape&) const = default;
};

struct DeltaShape {
  int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, kernel = 0;
  bool operator==(const DeltaShape&) const = default;
};

/// How a router's logits become the chosen experts and their weights.
enum class Router {
  kSoftmax,          ///< softmax over all, then the largest (Qwen3-MoE)
  kSoftmaxOfChosen,  ///< the largest, then softmax over those (gpt-oss)
  kSigmoidGroups,    ///< sigmoid; chosen by groups with a correction bias (DeepSeek-V3)
  kSigmoidOnInput,   ///< sigmoid of the chosen logit scales the expert's input (Llama 4)
  kScaledSoftmax,    ///< softmax of a normed, scaled input; weights times a scale an expert (Gemma 4)
};

/// How the experts' matrices lie in a file.
enum class ExpertForm {
  kEach,                     ///< three matrices an expert
  kStackedOutIn,             ///< gate_up [E, 2 I, C] and down [E, C, I] (Gemma 4)
  kStackedInOut,             ///< gate_up [E, C, 2 I], halves, and down [E, I, C] (Llama 4)
  kStackedInOutAlternating,  ///< the same, gate in even and up in odd columns, with biases (gpt-oss)
};

struct ExpertShape {
  int64_t count = 0, chosen = 0, inner = 0;
  int64_t shared_inner = 0;  ///< width of the shared expert; 0: none
  Router router = Router::kSoftmax;
  ExpertForm form = ExpertForm::kEach;
  bool renormalise = false;  ///< the chosen weights sum to one
  double weight_scale = 1;
  int64_t groups = 1, chosen_groups = 1;
  double clamp = 0;  ///< > 0: gpt-oss's activation, clamped here
  bool operator==(const ExpertShape&) const = default;
};

/// Index of no rotary settings.
constexpr int kNoRope = -1;

/// Everything that may differ from layer to layer.
struct LayerShape {
  std::string kind = "full_attention";  ///< as transformers' layer_types name it
  Mixer mixer = Mixer::kSoftmax;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t value_dim = 0;
  int rope = 0;              ///< index into DecoderConfig::ropes, or kNoRope
  int64_t window = 0;        ///< a query sees its last so many keys, itself included; 0: all
  int64_t chunk = 0;         ///< a query sees the keys of its own chunk of so many tokens only; 0: all
  double score_scale = 0;    ///< what q k is multiplied by
  double score_softcap = 0;  ///< c > 0: c tanh(score / c) before the mask
  QkNorm qk_norm = QkNorm::kNone;
  std::optional<QueryTemperature> temperature;
  bool output_gate = false;  ///< q_proj gives [q | gate] per head; the output is multiplied by sigmoid(gate)
  bool sinks = false;        ///< one learned logit a head in the softmax, without a value
  bool value_norm = false;   ///< v is RMS-normalised without a weight
  bool value_from_key = false;  ///< no v_proj: v is what k_proj gives
  int64_t keys_of = -1;         ///< >= 0: rotated keys and values are those of this earlier layer
  int64_t inner = 0;            ///< width of the dense feed-forward; 0: none
  std::optional<ExpertShape> experts;
  std::optional<LatentShape> latent;
  std::optional<DeltaShape> delta;

  bool rotates() const { return rope != kNoRope && mixer != Mixer::kDeltaRule; }
  /// Whether a query and keys meet in a softmax.
  bool has_qk() const { return mixer != Mixer::kDeltaRule; }
  /// Channels that could rotate: the head's, or a latent's rope part.
  int64_t rotary_head_dim() const { return latent ? latent->rope_dim : head_dim; }
  bool operator==(const LayerShape&) const = default;
};

/// Which row of three-row position ids (frames, rows, columns) turns which channel pairs (M-RoPE): so many pairs each, one
/// axis after the other, or interleaved (pair i follows rows where i mod 3 = 1 and i < 3 h, columns where i mod 3 = 2 and
/// i < 3 w, else frames).
struct RopeAxes {
  int64_t t = 0, h = 0, w = 0;
  bool interleaved = false;
  double frame_step = 1;  ///< ids between two frames of a clip that does not say it itself
  bool operator==(const RopeAxes&) const = default;
};

struct DecoderConfig {
  std::string model_type;  ///< the family's name in the registry: "llama", "qwen2", "gemma3_text", ...
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  ///< of the first layer that is dense
  int64_t num_hidden_layers = 0;
  // Of the first layer with softmax attention, and of all layers but for families that say otherwise a layer.
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;  ///< given, or hidden_size / num_attention_heads
  double rms_norm_eps = 1e-6;
  int64_t max_position_embeddings = 0;
  bool tie_word_embeddings = false;
  bool attention_bias = false;      ///< q, k, v biases (always for qwen2)
  bool attention_out_bias = false;  ///< o bias (Llama with attention_bias)
  bool mlp_bias = false;
  GateActivation activation = GateActivation::kSilu;
  NormKind norm = NormKind::kRms;
  bool parallel = false;  ///< attention and feed-forward read the one norm and are added together (Cohere)
  PairLayout pairing = PairLayout::kHalfSplit;
  double embedding_scale = 1;  ///< of the embedding, before layer 0
  double residual_scale = 1;   ///< of both branches of a layer
  double logit_scale = 1;      ///< the logits are multiplied by it
  double logit_softcap = 0;    ///< c > 0: c tanh(logit / c)
  int64_t layer_input_dim =
      0;                      ///< Gemma 4: channels of the embedding that each layer has of its own; 0: none
  bool output_scale = false;  ///< Gemma 4: a layer's output is multiplied by a number of its own
  std::vector<RopeConfig> ropes = {RopeConfig()};  ///< the first: of layers that see everything
  std::optional<RopeAxes> rope_axes;               ///< none: position ids have one row
  std::vector<LayerShape> layers;
  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> bos_token_id;

  const RopeConfig& rope() const { return ropes.front(); }
  RopeConfig& rope() { return ropes.front(); }
  const LayerShape& layer(int64_t index) const { return layers.at(static_cast<size_t>(index)); }
  /// Null where the layer does not rotate.
  const RopeConfig* rope_of(int64_t index) const {
    return layer(index).rotates() ? &ropes.at(static_cast<size_t>(layer(index).rope)) : nullptr;
  }
  /// The scheme (rope/scheme.h) that the checkpoint's own position ids follow: "vanilla", "mrope:sections=16/24/24",
  /// "mrope-interleave:sections=24/20/20". Its sections stay what they are under other rotary settings.
  std::string native_scheme() const;
  bool operator==(const DecoderConfig&) const = default;
};

/// Every layer alike, from the sizes above it: full softmax attention with the first rotary settings, scores over
/// sqrt(head_dim), a dense feed-forward.
void fill_equal_layers(DecoderConfig& config);

/// From a parsed config.json of any family of architecture.h, or of a vision-language model whose text part (its
/// `text_config` or `llm_config`; of older Qwen-VL files, the keys beside `vision_config`) is one's. Reads `rope_theta` + `rope_scaling` (transformers 4, with `type` or `rope_type`) and
/// `rope_parameters` (transformers 5), which give the same; as there, dynamic NTK goes by max_position_embeddings and
/// an original_max_position_embeddings beside it is ignored with a warning. A Mistral config without sliding window
/// counts as Llama. `what` names the file in errors. Throws UnsupportedModel for other architectures, InputError for
/// impossible sizes.
DecoderConfig parse_decoder_config(const Json& config, const std::string& what);

/// From `rope_scaling`-like JSON ({"rope_type":"yarn","factor":4,...}), on top of `base`. Keys that the type
/// does not use are ignored, as transformers does, with one warning. Types that are made of others hold their settings
/// inside, at most four deep ({"rope_type":"cope","inner":{"rope_type":"yarn",...}}).
RopeConfig parse_rope_scaling(const Json& scaling, RopeConfig base, const std::string& what);

/// What parse_rope_scaling reads: rope_type, rope_theta, partial_rotary_factor and every setting that the type
/// uses and that is given, under transformers' names. Reading it back gives the same frequencies.
Json to_json(const RopeConfig& rope);

/// Architecture and sizes under transformers' names, what every decoder's config.json has; rotation, biases
/// and tokens are not among them.
Json decoder_sizes_json(const DecoderConfig& config);

/// A whole config.json in transformers' form (llama, qwen2 and mistral in the spelling of 4.x, which 5.x reads too, the
/// others in that of 5.x). parse_decoder_config of it gives an equal config.
Json to_json(const DecoderConfig& config);

/// What the config class of `model_type` assumes of keys that a nested text part leaves out and a config of its own may not;
/// empty where the family's own defaults say it.
Json nested_text_defaults(const std::string& model_type);

/// Throws InputError naming the first setting that no decoder can have, as a whole or in a layer: sizes out of range,
/// heads that do not divide, a norm's epsilon that is not a small positive number.
void check_decoder_config(const DecoderConfig& config, const std::string& what);

/// Adds the end tokens of the folder's generation_config.json, if there is one.
void add_generation_end_tokens(const std::filesystem::path& folder, DecoderConfig& decoder);

/// A folder with config.json (generation_config.json adds end tokens), or a .gguf file. Of a LLaVA folder:
/// its language model.
DecoderConfig read_decoder_config(const std::filesystem::path& model);

}  // namespace ropescope
