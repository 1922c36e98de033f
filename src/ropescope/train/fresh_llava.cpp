#include "ropescope/train/fresh_llava.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <boost/random/normal_distribution.hpp>
#include <boost/random/uniform_real_distribution.hpp>

#include <ATen/ops/empty.h>

#include "ropescope/architectures/decoder_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/random.h"

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

}  // namespace

FreshLlava make_fresh_llava(const fs::path& decoder, const fs::path& tower, uint64_t seed,
                            const LoadOptions& options) {
  FreshLlava fresh;
  const Json tower_json = read_object(tower / "config.json");
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
  fresh.preprocess = parse_preprocess_settings(config, processor, inner, {}, what);

  Llava& llava = fresh.llava;
  llava.config = parse_llava_config(config, tower_json, what);
  llava.config.decoder = read_decoder_config(decoder);
  llava.decoder = load_decoder(*open_checkpoint(decoder), llava.config.decoder, options);
  llava.config.decoder.tie_word_embeddings = llava.decoder.config.tie_word_embeddings;
  VisionLoadOptions tower_options;
  tower_options.device = options.device;
  tower_options.dtype = options.dtype;
  tower_options.layers =
      *std::max_element(llava.config.feature_layers.begin(), llava.config.feature_layers.end());
  const auto tower_file = open_checkpoint(tower);
  llava.tower = load_vision_tower(*tower_file, llava.config.tower, tower_options);
  llava.tower_files = tower_file->files();
  const int64_t in = llava.config.feature_size(), out = llava.config.decoder.hidden_size;
  Rng rng = make_rng(seed, {kWeightStream});
  llava.projector.activation = llava.config.projector_activation;
  llava.projector.linear_1 = random_affine(out, in, rng, options);
  llava.projector.linear_2 = random_affine(out, out, rng, options);
  const double spread = 1.0 / std::sqrt(static_cast<double>(out));
  llava.image_newline =
      random_tensor({out}, boost::random::normal_distribution<double>(0.0, spread), rng, options);
  return fresh;
}

}  // namespace ropescope
