#include "model.h"

#include <cmath>
#include <map>
#include <system_error>

#include <boost/random/normal_distribution.hpp>
#include <fmt/format.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/random.h"
#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/text/added_tokens.h"
#include "ropescope/text/byte_alphabet.h"
#include "ropescope/weights/safetensors_writer.h"

#include "pictures.h"
#include "scaling.h"
#include "views.h"
#include "words.h"

namespace ropescope::miniature {

namespace fs = std::filesystem;

namespace {

/// The decoder's settings, without a scaling where there is none.
void put_rope(Json& config, const RopeConfig& rope) {
  config["rope_theta"] = rope.theta;
  if (const Json scaling = scaling_json(rope); !scaling.is_null()) config["rope_scaling"] = scaling;
}

Json config_json(const ModelSize& size, const RopeConfig& rope, const World& world) {
  Json pinpoints = Json::array();
  for (const auto& pair : anyres_options(world).pinpoints) pinpoints.push_back({pair[1], pair[0]});
  Json config = {{"architectures", {"LlavaNextForConditionalGeneration"}},
                 {"model_type", "llava_next"},
                 {"image_token_index", kImageTokenId},
                 {"image_grid_pinpoints", pinpoints},
                 {"projector_hidden_act", "gelu"},
                 {"vision_feature_layer", -1},
                 {"vision_feature_select_strategy", "default"},
                 {"use_image_newline_parameter", true},
                 {"tie_word_embeddings", false},
                 {"torch_dtype", "float32"},
                 {"vision_config",
                  {{"model_type", "clip_vision_model"},
                   {"hidden_size", size.tower_width},
                   {"intermediate_size", 2 * size.tower_width},
                   {"num_hidden_layers", size.tower_layers},
                   {"num_attention_heads", size.tower_heads},
                   {"image_size", world.tile()},
                   {"patch_size", kPatch}}},
                 {"text_config",
                  {{"model_type", "llama"},
                   {"architectures", {"LlamaForCausalLM"}},
                   {"hidden_size", size.width},
                   {"intermediate_size", size.inner},
                   {"num_hidden_layers", size.layers},
                   {"num_attention_heads", size.heads},
                   {"num_key_value_heads", size.heads},
                   {"vocab_size", vocabulary(world)},
                   {"rms_norm_eps", 1e-5},
                   {"max_position_embeddings", 1024},
                   {"bos_token_id", kStartId},
                   {"eos_token_id", kEndId},
                   {"tie_word_embeddings", false}}}};
  put_rope(config["text_config"], rope);
  return config;
}

Json tokenizer_json(const World& world) {
  Json bytes_of = Json::object();
  for (int byte = 0; byte < 256; ++byte) bytes_of[byte_as_text(static_cast<uint8_t>(byte))] = byte;
  Json added = Json::array();
  const auto add = [&](const std::string& word, int64_t id, bool special) {
    AddedToken token;
    token.content = word;
    token.id = id;
    token.special = special;
    token.lstrip = !special;  // "<image> red" is two tokens
    added.push_back(to_json(token));
  };
  add("<s>", kStartId, true);
  add("</s>", kEndId, true);
  add("<image>", kImageTokenId, true);
  for (int64_t i = 0; i < world.colours(); ++i) add(colour_word(i), kFirstColourId + i, false);
  for (int64_t i = 0; i < world.glyphs; ++i) {
    add(kGlyphWords[static_cast<size_t>(i)], first_glyph_id(world) + i, false);
  }
  for (int64_t i = 0; i < kDirections && world.task == Task::kRelation; ++i) {
    add(kDirectionWords[static_cast<size_t>(i)], first_direction_id(world) + i, false);
  }
  const Json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", bytes},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
            {"pair",
             {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {kStartId}}, {"tokens", {"<s>"}}}}}}}},
          {"decoder", bytes},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"vocab", bytes_of},
            {"merges", Json::array()}}}};
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

at::Tensor fresh_tensor(const TensorSlot& slot, uint64_t seed, uint64_t index) {
  const bool norm = slot.name.find("norm") != std::string::npos;
  if (ends_with(slot.name, ".bias")) return at::zeros(slot.shape);
  if (norm) return at::ones(slot.shape);
  // Matrices keep the size of what goes through them; embeddings are of size 1, positions smaller.
  double size = 1.0;
  if (ends_with(slot.name, "position_embedding.weight") || ends_with(slot.name, "class_embedding")) {
    size = 0.1;
  } else if (slot.shape.size() > 1 && !ends_with(slot.name, "embed_tokens.weight")) {
    int64_t inputs = 1;
    for (size_t i = 1; i < slot.shape.size(); ++i) inputs *= slot.shape[i];
    size = 1.0 / std::sqrt(static_cast<double>(inputs));
    if (ends_with(slot.name, "o_proj.weight") || ends_with(slot.name, "down_proj.weight")) size *= 0.4;
  }
  Rng rng = make_rng(seed, {0x77656967, index});
  boost::random::normal_distribution<float> normal(0.0F, static_cast<float>(size));
  at::Tensor tensor = at::empty(slot.shape, at::kFloat);
  auto* out = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) out[i] = normal(rng);
  return tensor;
}

ModelSize size_of(const Llava& llava) {
  const DecoderConfig& decoder = llava.config.decoder;
  ModelSize size;
  size.width = decoder.hidden_size;
  size.heads = decoder.num_attention_heads;
  size.layers = decoder.num_hidden_layers;
  size.inner = decoder.intermediate_size;
  size.tower_width = llava.config.tower.hidden_size;
  size.tower_heads = llava.config.tower.num_attention_heads;
  size.tower_layers = llava.config.tower.num_hidden_layers;
  return size;
}

/// Of the other orders; no other program is to take it for a model that it knows.
constexpr const char* kOwnType = "ropescope_miniature";

Json own_config_json(const ModelSize& size, const RopeConfig& rope, const World& world) {
  Json json = {{"model_type", kOwnType},
               {"order", order_name(world.order)},
               {"width", size.width},
               {"heads", size.heads},
               {"layers", size.layers},
               {"inner", size.inner},
               {"tower_width", size.tower_width},
               {"tower_heads", size.tower_heads},
               {"tower_layers", size.tower_layers}};
  json.update(to_json(world));
  put_rope(json, rope);
  return json;
}

VisionConfig native_tower(const VisionConfig& clip) {
  VisionConfig config = clip;
  config.kind = VisionKind::kQwen2;
  config.packed = true;
  config.positions = VisionPositions::kNone;
  config.rope_theta = 1e4;
  return config;
}

/// Without weights.
Llava empty_model(const ModelSize& size, const RopeConfig& rope, const World& world) {
  Llava llava;
  llava.config = parse_llava_config(config_json(size, rope, world), Json(), "the miniature's config");
  if (world.order == Order::kNative) llava.config.tower = native_tower(llava.config.tower);
  llava.decoder.config = llava.config.decoder;
  llava.decoder.weights.layers.resize(static_cast<size_t>(size.layers));
  llava.tower.config = llava.config.tower;
  llava.tower.weights.layers.resize(static_cast<size_t>(size.tower_layers));
  llava.projector.activation = llava.config.projector_activation;
  return llava;
}

Llava load_own_model(const fs::path& folder, const World& world) {
  const Json config = read_json_file(folder / "config.json");
  const std::string what = (folder / "config.json").string();
  if (json_string_or(config, "model_type", "", what) != kOwnType || world_from(config, what) != world) {
    throw InputError("{}: expected a model of the miniature for pictures of the kind \"{}\", found another",
                     what, world_text(world));
  }
  ModelSize size;
  for (const auto& [key, target] : {std::pair{"width", &size.width},
                                    {"heads", &size.heads},
                                    {"layers", &size.layers},
                                    {"inner", &size.inner},
                                    {"tower_width", &size.tower_width},
                                    {"tower_heads", &size.tower_heads},
                                    {"tower_layers", &size.tower_layers}}) {
    *target = json_integer(config, key, what);
    if (*target < 1 || *target > 4096) {
      throw InputError("{}: \"{}\": expected 1 to 4096, found {}", what, key, *target);
    }
  }
  RopeConfig rope;
  rope.theta = json_number(config, "rope_theta", what);
  rope = parse_rope_scaling(config.value("rope_scaling", Json()), rope, what);
  Llava llava = empty_model(size, rope, world);
  const auto checkpoint = open_checkpoint(folder / "model.safetensors");
  for (const TensorSlot& slot : llava_slots(llava)) {
    *slot.target = checkpoint->take(slot.name, at::kFloat);
    if (slot.target->sizes() != at::IntArrayRef(slot.shape)) {
      throw InputError("{}: {}: expected the shape that config.json gives, found another", folder.string(),
                       slot.name);
    }
  }
  return llava;
}

}  // namespace

Llava fresh_model(const ModelSize& size, double rope_theta, uint64_t seed, const World& world) {
  RopeConfig rope;
  rope.theta = rope_theta;
  Llava llava = empty_model(size, rope, world);
  uint64_t index = 0;
  for (const TensorSlot& slot : llava_slots(llava)) *slot.target = fresh_tensor(slot, seed, index++);
  return llava;
}

void save_model(Llava& llava, const fs::path& folder, const std::string& scheme, const World& world) {
  const fs::path unfinished = folder.string() + ".unfinished";
  std::error_code code;
  fs::remove_all(unfinished, code);
  fs::create_directories(unfinished, code);
  if (code) throw EnvironmentError("{}: the folder cannot be made ({})", unfinished.string(), code.message());
  std::map<std::string, at::Tensor> tensors;
  for (const TensorSlot& slot : llava_slots(llava)) tensors[slot.name] = slot.target->detach();
  // Not used (features are taken before it), but transformers expects it.
  const int64_t channels = llava.config.tower.hidden_size;
  tensors["model.vision_tower.post_layernorm.weight"] = at::ones({channels});
  tensors["model.vision_tower.post_layernorm.bias"] = at::zeros({channels});
  write_safetensors_file(unfinished / "model.safetensors", tensors);
  const RopeConfig& rope = llava.decoder.config.rope();
  Json config = world.order == Order::kLlavaNext ? config_json(size_of(llava), rope, world)
                                                 : own_config_json(size_of(llava), rope, world);
  if (!scheme.empty()) config["ropescope"] = {{"scheme", scheme}};
  write_text_durably(unfinished / "config.json", config.dump(2) + "\n");
  write_text_durably(unfinished / "tokenizer.json", tokenizer_json(world).dump(1) + "\n");
  const Json tokenizer = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                          {"bos_token", "<s>"},
                          {"eos_token", "</s>"},
                          {"clean_up_tokenization_spaces", false}};
  write_text_durably(unfinished / "tokenizer_config.json", tokenizer.dump(2) + "\n");
  fs::remove_all(folder, code);
  fs::rename(unfinished, folder, code);
  if (code) throw EnvironmentError("{}: cannot be put in place ({})", folder.string(), code.message());
}

Llava load_model(const fs::path& folder, const World& world) {
  if (world.order != Order::kLlavaNext) return load_own_model(folder, world);
  return load_llava(*open_checkpoint(folder), read_llava_config(folder), folder, LoadOptions{});
}

at::Tensor project(const Llava& llava, const at::Tensor& features) {
  const Projector& projector = llava.projector;
  const at::Tensor inner = activate(
      kernels::linear(features, projector.linear_1.weight, projector.linear_1.bias), projector.activation);
  return kernels::linear(inner, projector.linear_2.weight, projector.linear_2.bias);
}

}  // namespace ropescope::miniature
