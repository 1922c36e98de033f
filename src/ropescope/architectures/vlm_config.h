// What a vision-language checkpoint's config.json says about everything but its decoder: the tower, the connector, and
// how pictures stand among the tokens. Both spellings: nested `text_config`, `vision_config` (transformers 5), and the
// flat or sparse files of public repositories, whose absent keys mean what the class of the model type assumes.
//   picture -> tower (models/vision_tower.h) -> connector (models/connector.h) -> tokens of the decoder's width
// A family: one file in vlm_families/, its name in vlm_families/vlm_families.h, one line in vlm_config.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/architectures/vision_config.h"
#include "ropescope/core/json.h"

namespace ropescope {

enum class ConnectorKind {
  kMlp,            ///< linear, activation, linear (LLaVA)
  kShuffleMlp,     ///< pixel shuffle, layer norm, linear, activation, linear (InternVL)
  kShuffleLinear,  ///< pixel shuffle, one matrix (Idefics3)
  kPooled,         ///< mean over blocks, RMSNorm with 1 + w, one matrix [in, out] (Gemma 3)
  kMerger,         ///< norm, k x k patches side by side, linear, activation, linear (Qwen)
  kStridedMerger,  ///< k x k convolution, linear, layer norm, activation, gated MLP (GLM)
};

struct ConnectorConfig {
  ConnectorKind kind = ConnectorKind::kMlp;
  int64_t in = 0;          ///< channels of a feature of the tower
  int64_t inner = 0;       ///< width between the last two matrices; kShuffleLinear, kPooled: unused
  int64_t out = 0;         ///< the decoder's width
  int64_t merge_size = 1;  ///< k: patches a side that become one token
  bool transposed =
      false;  ///< kShuffleMlp: InternVL's first version, which exchanges rows and columns of tokens
  bool rms_norm = false;  ///< kMerger: in place of layer normalisation
  bool bias = true;
  double norm_eps = 1e-5;
  Activation activation = Activation::kGelu;
  int64_t deepstack =
      0;  ///< further mergers, for the tower's DeepStack layers; their norm comes after the concatenation
  // Names of the tensors without ".weight"; those of a DeepStack merger follow its prefix and number.
  std::string norm_name, first_name, second_name, deepstack_prefix;

  bool operator==(const ConnectorConfig&) const = default;
};

/// How the tokens of a picture come from its tiles or patches.
enum class PictureTokens {
  kPatches,  ///< a grid of any size, merged
  kTiles,    ///< tile after tile
  kAnyres,   ///< the thumbnail, then the mosaic of all tiles without its padding, a newline after each row
};

/// Ids of special tokens; none where the configuration has none.
struct VisionTokenIds {
  std::optional<int64_t> image, video;              ///< what stands for a token of a picture, of a video
  std::optional<int64_t> vision_start, vision_end;  ///< around an image (and Qwen's videos)
  std::optional<int64_t> video_start, video_end;    ///< around a video, where it has its own
  bool operator==(const VisionTokenIds&) const = default;
};

struct VlmFamily;

struct VlmConfig {
  const VlmFamily* family = nullptr;
  VisionConfig vision;
  ConnectorConfig connector;
  int64_t text_hidden_size = 0;
  VisionTokenIds tokens;
  PictureTokens pictures = PictureTokens::kTiles;
  /// Hidden states that the connector gets, side by side: 0 is what enters the first layer, l the output of layer l - 1.
  /// Counted from the front. Towers over patches: the last.
  std::vector<int64_t> feature_layers;
  bool post_norm = false;        ///< the tower's last norm is applied to them
  bool has_newline = false;      ///< an `image_newline` vector
  int64_t most_tiles = 0;        ///< kAnyres: a mosaic of many more tiles shrinks to about so many; 0: never
  double tokens_per_second = 0;  ///< time ids of a video advance by seconds times this; 0: by steps
  bool tie_word_embeddings = false;

  bool operator==(const VlmConfig&) const = default;
};

struct VlmFamily {
  std::string name;                      ///< "qwen2_5_vl"
  std::string summary;                   ///< tower and connector, one line
  std::string source;                    ///< the paper or the model's page
  std::vector<std::string> model_types;  ///< of config.json
  std::vector<std::string> classes;      ///< `architectures` of config.json, where it has no model_type
  /// What stands before the names of the tower's and the connector's tensors in files that transformers writes.
  std::string tower_prefix, connector_prefix;
  /// Whether a config of one of these types is this family's; null: it is.
  bool (*claims)(const Json& config) = nullptr;
  /// Fills everything but `family`.
  void (*parse)(const Json& config, VlmConfig& vlm, const std::string& what) = nullptr;
};

/// All families, in the order of docs/architectures.md.
const std::vector<const VlmFamily*>& vlm_families();
/// By model_type, or by `architectures` where that is absent; null: none that is known.
const VlmFamily* find_vlm_family(const Json& config);
/// By its name; throws InternalError for another.
const VlmFamily& vlm_family_of(const std::string& name);

/// `what` names the file in errors. Throws UnsupportedModel for other families and settings that are not implemented,
/// InputError for impossible sizes.
VlmConfig parse_vlm_config(const Json& config, const std::string& what);

struct LlavaConfig;
/// The same of a LLaVA-NeXT checkpoint in either of its forms (architectures/llava_config.h).
VlmConfig vlm_config_of(const LlavaConfig& llava);

}  // namespace ropescope
