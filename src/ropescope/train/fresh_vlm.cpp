#include "ropescope/train/fresh_vlm.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <boost/random/normal_distribution.hpp>
#include <boost/random/uniform_real_distribution.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "ropescope/architectures/decoder_names.h"
#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/random.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/text/tokenizer.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

// Separates these numbers from other uses of the run's seed.
constexpr uint64_t kWeightStream = 0xF4E5;
// Folder of the tower's files inside a checkpoint, and so its name.
const std::string kTowerName = "vision_tower";

template <typename Distribution>
at::Tensor random_tensor(std::vector<int64_t> shape, Distribution distribution, Rng& rng,
                         const LoadOptions& options) {
  const at::Tensor values = at::empty(shape, at::kFloat);
  float* data = values.mutable_data_ptr<float>();
  std::generate(data, data + values.numel(), [&] { return static_cast<float>(distribution(rng)); });
  return values.to(options.device, options.dtype);
}

Affine random_affine(int64_t out, int64_t in, Rng& rng, const LoadOptions& options) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  const boost::random::uniform_real_distribution<double> uniform(-bound, bound);
  Affine map;
  map.weight = random_tensor({out, in}, uniform, rng, options);
  map.bias = random_tensor({out}, uniform, rng, options);
  return map;
}

Json read_object(const fs::path& file) {
  Json object = read_json_file(file);
  if (!object.is_object()) throw InputError("{}: expected a JSON object", file.string());
  return object;
}

/// The original form, which names its tower.
Json llava_config(Json decoder, const std::string& family, const VisionConfig& tower) {
  const bool qwen = family == "qwen2";
  decoder["model_type"] = qwen ? "llava_qwen" : "llava_llama";
  decoder["architectures"] = {qwen ? "LlavaQwenForCausalLM" : "LlavaLlamaForCausalLM"};
  decoder["mm_vision_tower"] = kTowerName;
  decoder["mm_hidden_size"] = tower.hidden_size;
  decoder["mm_projector_type"] = "mlp2x_gelu";
  decoder["mm_patch_merge_type"] = "spatial_unpad";
  decoder["mm_vision_select_layer"] = -2;
  decoder["mm_vision_select_feature"] = "patch";
  decoder["mm_use_im_start_end"] = false;
  decoder["image_aspect_ratio"] = "anyres";
  decoder["image_grid_pinpoints"] = default_pinpoints(tower.image_size);
  return decoder;
}

/// Two matrices, and a norm that changes nothing.
void fill_connector(Vlm& vlm, Rng& rng, const LoadOptions& options) {
  Connector& connector = vlm.eyes.connector;
  connector.config = vlm.config.connector;
  for (const TensorSlot& slot : connector_slots(connector)) {
    const bool norm =
        slot.name.rfind(connector.config.norm_name, 0) == 0 && !connector.config.norm_name.empty();
    if (!norm) continue;
    const bool bias = slot.name.size() > 5 && slot.name.compare(slot.name.size() - 5, 5, ".bias") == 0;
    *slot.target = at::full(slot.shape, bias ? 0.0 : 1.0, at::kFloat).to(options.device, options.dtype);
  }
  const ConnectorConfig& config = connector.config;
  connector.weights.first =
      random_affine(config.inner, config.in * config.merge_size * config.merge_size, rng, options);
  connector.weights.second = random_affine(config.out, config.inner, rng, options);
}

FreshVlm fresh_llava(const fs::path& decoder, const fs::path& tower, const Json& tower_json, uint64_t seed,
                     const LoadOptions& options) {
  FreshVlm fresh;
  const VisionConfig vision = parse_vision_config(tower_json, (tower / "config.json").string());
  const Json config = llava_config(with_true_tie(read_object(decoder / "config.json"), decoder),
                                   read_decoder_config(decoder).model_type, vision);
  fresh.files = read_model_files(decoder);
  for (ModelFile& file : fresh.files) {
    if (file.name == "config.json") file.content = config.dump(2) + "\n";
  }
  Json processor;
  std::error_code ignored;
  fresh.files.push_back({kTowerName + "/config.json", read_file(tower / "config.json")});
  if (const fs::path file = tower / "preprocessor_config.json"; fs::is_regular_file(file, ignored)) {
    fresh.files.push_back({kTowerName + "/preprocessor_config.json", read_file(file)});
    processor = read_object(file);
  }
  const std::string what = decoder.string() + " with " + tower.string();
  const bool pair = tower_json.contains("vision_config");
  const Json inner = pair ? tower_json.at("vision_config") : tower_json;
  fresh.anyres = parse_preprocess_settings(config, processor, inner, {}, what);

  Vlm& vlm = fresh.vlm;
  LlavaConfig llava = parse_llava_config(config, tower_json, what);
  llava.decoder = read_decoder_config(decoder);
  vlm.config = vlm_config_of(llava);
  vlm.decoder = load_decoder(*open_checkpoint(decoder), llava.decoder, options);
  VisionLoadOptions tower_options;
  tower_options.device = options.device;
  tower_options.dtype = options.dtype;
  tower_options.layers = *std::max_element(llava.feature_layers.begin(), llava.feature_layers.end());
  const auto tower_file = open_checkpoint(tower);
  vlm.eyes.config = vlm.config;
  vlm.eyes.tower = load_vision_tower(*tower_file, vlm.config.vision, tower_options);
  vlm.tower_files = tower_file->files();
  Rng rng = make_rng(seed, {kWeightStream});
  fill_connector(vlm, rng, options);
  const int64_t out = llava.decoder.hidden_size;
  const double spread = 1.0 / std::sqrt(static_cast<double>(out));
  vlm.eyes.image_newline =
      random_tensor({out}, boost::random::normal_distribution<double>(0.0, spread), rng, options);
  return fresh;
}

/// What DIPE's experiments look at: whole pictures of at most 1280 tokens.
constexpr int64_t kLeastTokens = 4, kMostTokens = 1280, kMerge = 2, kFrames = 2;

/// Chunks of a head's frequencies for frames, rows and columns.
Json chunks_of(int64_t head_dim) {
  const int64_t frequencies = head_dim / 2, side = frequencies * 3 / 8;
  return Json::array({frequencies - 2 * side, side, side});
}

/// The id of a token that the language model's tokenizer must know.
int64_t known_token(const Tokenizer& tokenizer, const std::string& text, const fs::path& decoder) {
  const std::vector<int64_t> ids = tokenizer.encode(text, {/*add_special=*/false, false});
  if (ids.size() != 1) {
    throw InputError("{}: expected a tokenizer that knows {} (Qwen2.5's does), found {} tokens for it",
                     decoder.string(), text, ids.size());
  }
  return ids.front();
}

/// config.json of the whole: Qwen2.5-VL's model type, the language model's own settings with three rows of position ids.
Json naflex_config(const fs::path& decoder, const Json& tower, const DecoderConfig& text,
                   const Tokenizer& tokenizer) {
  const std::string what = (decoder / "config.json").string();
  Json inner = with_true_tie(read_object(decoder / "config.json"), decoder);
  const bool tied = json_bool_or(inner, "tie_word_embeddings", false, what);
  for (const char* key : {"architectures", "transformers_version", "auto_map"}) inner.erase(key);
  inner["model_type"] = "qwen2_5_vl_text";
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* scaling = json_find(inner, key);
    if (scaling == nullptr || !scaling->is_object()) continue;
    const std::string type =
        json_string_or(*scaling, "rope_type", json_string_or(*scaling, "type", "default", what), what);
    if (type != "default")
      throw UnsupportedModel("{}: {}: expected a plain rotation, found \"{}\"", what, key, type);
  }
  Json rope = json_has(inner, "rope_parameters") && inner.at("rope_parameters").is_object()
                  ? inner.at("rope_parameters")
                  : Json::object();
  const bool older = rope.empty();
  rope["rope_type"] = "default";
  rope["mrope_section"] = chunks_of(text.head_dim);
  if (older) rope["type"] = "mrope";
  inner[older ? "rope_scaling" : "rope_parameters"] = rope;
  Json vision = tower.contains("vision_config") ? tower.at("vision_config") : tower;
  vision["model_type"] = "siglip2_vision_model";
  vision["spatial_merge_size"] = kMerge;
  vision["temporal_patch_size"] = kFrames;
  return {{"architectures", {"Qwen25_SigLIPForConditionalGeneration"}},
          {"model_type", "qwen2_5_vl"},
          {"image_token_id", known_token(tokenizer, "<|image_pad|>", decoder)},
          {"video_token_id", known_token(tokenizer, "<|video_pad|>", decoder)},
          {"vision_start_token_id", known_token(tokenizer, "<|vision_start|>", decoder)},
          {"vision_end_token_id", known_token(tokenizer, "<|vision_end|>", decoder)},
          {"tie_word_embeddings", tied},
          {"text_config", inner},
          {"vision_config", vision}};
}

/// preprocessor_config.json: Qwen3-VL's processor.
Json naflex_processor(const VisionConfig& vision) {
  const int64_t side = vision.patch_size * vision.merge_size;
  return {{"image_processor_type", "Qwen2VLImageProcessor"},
          {"do_convert_rgb", true},
          {"do_resize", true},
          {"do_rescale", true},
          {"do_normalize", true},
          {"resample", 3},
          {"rescale_factor", 1.0 / 255.0},
          {"image_mean", {0.5, 0.5, 0.5}},
          {"image_std", {0.5, 0.5, 0.5}},
          {"patch_size", vision.patch_size},
          {"temporal_patch_size", vision.temporal_patch_size},
          {"merge_size", vision.merge_size},
          {"min_pixels", kLeastTokens * side * side},
          {"max_pixels", kMostTokens * side * side}};
}

MediaSettings naflex_settings(const VisionConfig& vision) {
  MediaSettings settings = media_preset("qwen2.5-vl");
  settings.source = "SigLIP 2 NaFlex";
  settings.mean = settings.std = {0.5, 0.5, 0.5};
  settings.words.image_start = settings.words.video_start = settings.words.start;
  settings.words.image_end = settings.words.video_end = settings.words.end;
  settings.patch = vision.patch_size;
  settings.merge = vision.merge_size;
  settings.temporal_patch = settings.sampling.group = vision.temporal_patch_size;
  const int64_t side = vision.patch_size * vision.merge_size;
  settings.min_pixels = settings.video_min_pixels = kLeastTokens * side * side;
  settings.max_pixels = settings.video_max_pixels = kMostTokens * side * side;
  return settings;
}

/// The tower's tensors under the names and in the shapes of the family.
void load_naflex_tower(const Checkpoint& file, VisionTower& tower, const LoadOptions& options) {
  const VisionConfig& config = tower.config;
  tower.weights.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  const auto part = llava_part(file, LlavaPart::kTower);
  const std::string patch = "embeddings.patch_embedding.weight", table = "position_embedding.weight";
  const int64_t p = config.patch_size, channels = config.num_channels;
  std::vector<TensorSlot> slots = vision_slots(config, tower.weights);
  for (TensorSlot& slot : slots) {
    if (slot.name == patch) slot.shape = {config.hidden_size, p * p * channels};
    if (slot.name == table) slot.name = "embeddings." + table;
  }
  check_slots(*part, slots, "SigLIP 2 tower");
  fill_slots(*part, slots, options.dtype, options.device);
  // A row of the matrix is [row][column][channel]; each frame has its share.
  at::Tensor& weight = tower.weights.patch.weight;
  weight = weight.view({config.hidden_size, p, p, channels})
               .permute({0, 3, 1, 2})
               .unsqueeze(2)
               .expand({config.hidden_size, channels, config.temporal_patch_size, p, p})
               .div(config.temporal_patch_size)
               .contiguous();
}

FreshVlm fresh_naflex(const fs::path& decoder, const fs::path& tower, const Json& tower_json, uint64_t seed,
                      const LoadOptions& options) {
  const std::string what = decoder.string() + " with " + tower.string();
  const DecoderConfig text = read_decoder_config(decoder);
  if (text.model_type != "qwen2") {
    throw UnsupportedModel("{}: a SigLIP 2 NaFlex tower goes with a Qwen2.5 language model, found {}", what,
                           text.model_type);
  }
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(decoder);
  const Json config = naflex_config(decoder, tower_json, text, *tokenizer);
  FreshVlm fresh;
  Vlm& vlm = fresh.vlm;
  vlm.config = parse_vlm_config(config, what);
  fresh.native = naflex_settings(vlm.config.vision);
  fresh.files = read_model_files(decoder);
  for (ModelFile& file : fresh.files) {
    if (file.name == "config.json") file.content = config.dump(2) + "\n";
  }
  fresh.files.push_back({"preprocessor_config.json", naflex_processor(vlm.config.vision).dump(2) + "\n"});
  DecoderConfig three_rows = parse_decoder_config(config, what);
  add_generation_end_tokens(decoder, three_rows);
  vlm.decoder = load_decoder(*open_checkpoint(decoder), three_rows, options);
  vlm.eyes.config = vlm.config;
  vlm.eyes.tower.config = vlm.config.vision;
  const auto tower_file = open_checkpoint(tower);
  load_naflex_tower(*tower_file, vlm.eyes.tower, options);
  vlm.tower_files = tower_file->files();
  Rng rng = make_rng(seed, {kWeightStream});
  fill_connector(vlm, rng, options);
  return fresh;
}

}  // namespace

bool is_naflex_tower(const Json& config) {
  const Json* inner = json_find(config, "vision_config");
  const Json* type = json_find(inner == nullptr ? config : *inner, "model_type");
  if (type == nullptr && inner != nullptr) return json_find(*inner, "num_patches") != nullptr;
  return type != nullptr && type->is_string() && *type == "siglip2_vision_model";
}

FreshVlm make_fresh_vlm(const fs::path& decoder, const fs::path& tower, uint64_t seed,
                        const LoadOptions& options) {
  const Json config = read_object(tower / "config.json");
  return is_naflex_tower(config) ? fresh_naflex(decoder, tower, config, seed, options)
                                 : fresh_llava(decoder, tower, config, seed, options);
}

}  // namespace ropescope
