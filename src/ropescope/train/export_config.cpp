#include "ropescope/train/export_config.h"

#include <algorithm>
#include <array>

#include "ropescope/text/added_tokens.h"
#include "ropescope/text/chat_template.h"

namespace ropescope {

namespace {

bool starts(const std::string& key, const char* prefix) { return key.rfind(prefix, 0) == 0; }

/// The decoder's own keys; those of LLaVA and of its training lie among them.
Json text_config(const Json& config, const DecoderConfig& decoder, int64_t vocabulary) {
  Json text = Json::object();
  for (const auto& [key, value] : config.items()) {
    const bool foreign = starts(key, "mm_") || starts(key, "image_") || starts(key, "tokenizer_") ||
                         starts(key, "tune_") || starts(key, "freeze_") || starts(key, "unfreeze_") ||
                         starts(key, "use_mm") || starts(key, "vision_") || key == "transformers_version" ||
                         key == "ropescope";
    if (!foreign) text[key] = value;
  }
  const bool qwen = decoder.model_type == "qwen2";
  text["model_type"] = qwen ? "qwen2" : "llama";
  text["architectures"] = {qwen ? "Qwen2ForCausalLM" : "LlamaForCausalLM"};
  text["vocab_size"] = vocabulary;
  return text;
}

Json vision_config(const VisionConfig& config) {
  Json vision = {{"model_type", config.class_token() ? "clip_vision_model" : "siglip_vision_model"},
                 {"hidden_size", config.hidden_size},
                 {"intermediate_size", config.intermediate_size},
                 {"num_hidden_layers", config.num_hidden_layers},
                 {"num_attention_heads", config.num_attention_heads},
                 {"num_channels", config.num_channels},
                 {"image_size", config.image_size},
                 {"patch_size", config.patch_size},
                 {"layer_norm_eps", config.layer_norm_eps},
                 {"hidden_act", activation_name(config.activation)}};
  if (!config.class_token()) vision["vision_use_head"] = config.use_head;
  return vision;
}

const char* select_strategy(const VisionConfig& tower) { return tower.class_token() ? "default" : "full"; }

}  // namespace

Json hf_llava_config(const Json& config, const LlavaConfig& llava, int64_t image_token, int64_t vocabulary) {
  Json layers = llava.feature_layers;
  for (Json& layer : layers) layer = layer.get<int64_t>() - llava.tower.num_hidden_layers - 1;
  // The original form lists (width, height).
  Json pinpoints = Json::array();
  const auto list = config.find("image_grid_pinpoints");
  const auto given = list != config.end() && !list->is_null()
                         ? parse_pinpoints(*list, "config.json: image_grid_pinpoints")
                         : default_pinpoints(llava.tower.image_size);
  for (const auto& [width, height] : given) pinpoints.push_back({height, width});
  return {{"architectures", {"LlavaNextForConditionalGeneration"}},
          {"model_type", "llava_next"},
          {"ignore_index", -100},
          {"image_token_index", image_token},
          {"image_grid_pinpoints", pinpoints},
          {"projector_hidden_act", activation_name(llava.projector_activation)},
          {"multimodal_projector_bias", llava.projector_bias},
          {"vision_feature_layer", layers.size() == 1 ? layers[0] : layers},
          {"vision_feature_select_strategy", select_strategy(llava.tower)},
          {"use_image_newline_parameter", true},
          {"tie_word_embeddings", llava.decoder.tie_word_embeddings},
          {"text_config", text_config(config, llava.decoder, vocabulary)},
          {"vision_config", vision_config(llava.tower)}};
}

Json hf_image_processor(const PreprocessSettings& settings) {
  const int64_t side = settings.output_hw()[0];
  Json pinpoints = Json::array();
  for (const auto& [first, second] : settings.anyres->pinpoints) {
    const bool hf = settings.anyres->rule == PinpointRule::kHf;
    pinpoints.push_back({hf ? first : second, hf ? second : first});
  }
  const bool shortest = settings.resize == PreprocessSettings::Resize::kShortestEdge;
  const Json square = {{"height", side}, {"width", side}};
  return {{"image_processor_type", "LlavaNextImageProcessor"},
          {"processor_class", "LlavaNextProcessor"},
          {"do_resize", true},
          {"size", shortest ? Json{{"shortest_edge", settings.resize_height}} : square},
          {"do_center_crop", settings.crop_hw.has_value()},
          {"crop_size", square},
          {"resample", settings.filter == ResampleFilter::kBicubic ? 3 : 2},
          {"do_rescale", true},
          {"rescale_factor", settings.rescale_factor},
          {"do_normalize", true},
          {"image_mean", settings.mean},
          {"image_std", settings.std},
          {"do_convert_rgb", true},
          {"do_pad", true},
          {"image_grid_pinpoints", pinpoints}};
}

Json hf_processor(const LlavaConfig& llava) {
  return {{"processor_class", "LlavaNextProcessor"},
          {"image_token", kImageText},
          {"patch_size", llava.tower.patch_size},
          {"num_additional_image_tokens", llava.tower.class_token() ? 1 : 0},
          {"vision_feature_select_strategy", select_strategy(llava.tower)}};
}

Json with_image_token(Json file, bool is_config, int64_t id) {
  if (!file.is_object()) file = Json::object();
  AddedToken image;
  image.content = kImageText;
  image.id = id;
  image.special = true;
  Json token = to_json(image);
  if (is_config) {
    token.erase("id");  // it is the key
    file["added_tokens_decoder"][std::to_string(id)] = token;
    file["extra_special_tokens"] = {{"image_token", kImageText}};
    file["processor_class"] = "LlavaNextProcessor";
    return file;
  }
  if (!file.contains("added_tokens") || !file.at("added_tokens").is_array()) {
    file["added_tokens"] = Json::array();
  }
  file["added_tokens"].push_back(token);
  return file;
}

}  // namespace ropescope
