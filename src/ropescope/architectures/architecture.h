// What a decoder family is, as data: one file with an Architecture, and one line in registry.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/json.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

/// What a tensor is for; memory, sharding and optimizers ask this, never its name.
enum class TensorKind {
  kEmbedding,
  kOutput,
  kFinalNorm,
  kAttentionNorm,
  kAttentionOutNorm,
  kMlpNorm,
  kMlpOutNorm,
  kQuery,
  kKey,
  kValue,
  kAttentionOut,
  kQueryBias,
  kKeyBias,
  kValueBias,
  kAttentionOutBias,
  kQueryNorm,
  kKeyNorm,
  kSinks,
  kGate,
  kUp,
  kDown,
  kGateBias,
  kUpBias,
  kDownBias,
  kQueryDown,
  kQueryDownNorm,
  kLatentDown,
  kLatentNorm,
  kLatentUp,
  kDeltaInput,
  kDeltaGate,
  kDeltaStep,
  kDeltaBeta,
  kDeltaKernel,
  kDeltaDecay,
  kDeltaBias,
  kDeltaNorm,
  kRouter,
  kRouterBias,
  kRouterScale,
  kRouterCorrection,
  kExpertScale,
  kSharedGate,
  kSharedUp,
  kSharedDown,
  kMlpBranchNorm,
  kExpertNorm,
  kExpertOutNorm,
  kOutputScale,
  kLayerInputGate,
  kLayerInputProjection,
  kLayerInputNorm,
  kLayerEmbedding,
  kLayerEmbeddingProjection,
  kLayerEmbeddingNorm,
  kOther,  ///< none of a decoder's
};

/// A tensor that a family has, under its Hugging Face name.
struct TensorRule {
  TensorKind kind;
  std::string name;            ///< "model.layers.3.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  ///< outermost dimension first
  /// Rows of the stored tensor before this one's, where several lie in one (a fused qkv_proj); -1: it is the whole.
  int64_t first_row = -1;
  int64_t stored_rows = 0;  ///< of the stored tensor, where it is a part
};

/// The family's names in GGUF files.
struct GgufNames {
  std::string architecture;  ///< general.architecture
  DecoderConfig (*parse)(const GgufContents& contents, std::span<const std::byte> bytes,
                         const std::string& what);
  GgufRole (*role)(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what);
};

/// What the class of a checkpoint's config assumes where a key that all families have is absent.
struct ConfigDefaults {
  int64_t max_position_embeddings = 0;
  std::optional<int64_t> num_key_value_heads = {};  ///< none: as many as query heads
  /// none: hidden_size / num_attention_heads; 0: the family's reader sets it.
  std::optional<int64_t> head_dim = {};
  double norm_eps = 1e-6;
  const char* norm_eps_key = "rms_norm_eps";
  bool tie_word_embeddings = false;
  double rope_theta = 10000;
  double partial_rotary_factor = 1;
  GateActivation activation = GateActivation::kSilu;  ///< the only one that the family has
  const char* activation_key = "hidden_act";
  std::optional<int64_t> bos_token_id = {};
  std::vector<int64_t> eos_token_ids = {};
  // Where none is given, the key has to be there; only a nested text_config leaves them out.
  std::optional<int64_t> vocab_size = {}, hidden_size = {}, intermediate_size = {};
  std::optional<int64_t> num_hidden_layers = {}, num_attention_heads = {};
  const char* intermediate_size_key = "intermediate_size";
};

struct Architecture {
  std::string name;                      ///< "gemma3_text"
  std::string summary;                   ///< what its position encoding is, one line
  std::string source;                    ///< the paper or the model's page
  std::vector<std::string> model_types;  ///< of config.json; the first is written
  std::vector<std::string> classes;      ///< `architectures` of config.json; the first is written
  /// model_type of vision-language models whose text_config is this family's where it does not say otherwise.
  std::vector<std::string> wrappers = {};
  bool trains = false;  ///< by `train` and `export`: softmax attention without experts
  ConfigDefaults defaults = {};
  std::string quantization =
      {};  ///< the quant_method of `quantization_config` that can be read ("mxfp4"); empty: none
  /// Of a layer: what stands before the experts' matrices ("mlp.experts" in "model.layers.3.mlp.experts.0.up_proj.weight").
  std::string experts = "mlp.experts";

  /// From a parsed config.json (the text part of a nested one); absent keys mean what the class assumes. Common keys
  /// (sizes, tokens) are read already; fills what is the family's own, and `layers`.
  void (*parse)(const Json& config, DecoderConfig& decoder, const std::string& what) = nullptr;
  /// The family's own keys, in the spelling of transformers 5; sizes and tokens are there already.
  void (*write)(const DecoderConfig& decoder, Json& config) = nullptr;
  /// Tensors of a layer; layer -1: those outside of layers. The experts' own are not among them (`experts`).
  std::vector<TensorRule> (*tensors)(const DecoderConfig& decoder, int64_t layer) = nullptr;
  std::vector<GgufNames> gguf = {};
};

/// All families, in the order of docs/architectures.md.
const std::vector<const Architecture*>& architectures();
/// By its name; throws InternalError for another.
const Architecture& architecture_of(const DecoderConfig& decoder);
/// Whether `train` and `export` take a decoder: its family is trained, and this one has softmax attention in all layers and
/// no experts.
bool is_trainable(const DecoderConfig& decoder);
/// By model_type, or by `architectures` where that is absent; null: unknown.
const Architecture* find_architecture(const std::string& model_type, const std::string& class_name);
/// Whose text part a vision-language model's is, by its model_type; null: unknown.
const Architecture* find_wrapped_architecture(const std::string& model_type);
/// With the GGUF names it is meant by; null: unknown.
const GgufNames* find_gguf_names(const std::string& general_architecture);

/// All tensors but the experts' own, those outside of layers first; a tied output matrix is none.
std::vector<TensorRule> tensor_rules(const DecoderConfig& decoder);
/// The name that a part of a fused tensor has elsewhere: self_attn.q_proj for rows of self_attn.qkv_proj.
std::string unfused_name(const TensorRule& rule);
/// Puts parts that lie apart in `tensors` together under the family's own names.
void fuse_tensors(const DecoderConfig& decoder, std::map<std::string, at::Tensor>& tensors);
/// What stands before the names of a layer's experts: "model.layers.3.mlp.experts".
std::string experts_prefix(const DecoderConfig& decoder, int64_t layer);

}  // namespace ropescope
