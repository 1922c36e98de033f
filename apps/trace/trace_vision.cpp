#include "trace/trace_vision.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/vision_tower.h"
#include "ropescope/text/chat_template.h"

#include "inputs/loaded_model.h"
#include "trace/trace_output.h"

namespace ropescope::app::trace {

namespace {

std::vector<int64_t> encode_prompt(const Tokenizer& tokenizer, std::string text, size_t images) {
  if (images == 0) return tokenizer.encode(text, {});
  return encode_with_images(tokenizer, with_images_in_front(std::move(text), images));
}

void put_images(TracePrompt& prompt) {
  prompt.expanded = expand_images(prompt.tokens.input_ids, prompt.tokens.attention_mask,
                                  prompt.images.geometries(), *prompt.llava);
  prompt.tokens.input_ids = prompt.expanded.input_ids;
  prompt.tokens.attention_mask = prompt.expanded.attention_mask;
}

}  // namespace

TracePrompt read_trace_prompt(const TraceFlags& flags, const DecoderConfig& config) {
  if (flags.text.has_value() == flags.tokens.has_value()) {
    throw UsageError("expected one of --text and --tokens");
  }
  const std::string& model = flags.model;
  TracePrompt prompt;
  if (flags.images.given()) {
    if (model_kind(model) != ModelKind::kLlava) {
      refuse_images(flags.images.image.empty() ? "pixels" : "image", model);
    }
    prompt.llava = read_llava_config(model);
    prompt.images = flags.images.read(model);
  }
  if (flags.text) {
    prompt.tokenizer = load_tokenizer(model);
    const std::vector<int64_t> ids =
        encode_prompt(*prompt.tokenizer, *flags.text, prompt.images.images.size());
    if (ids.empty()) throw UsageError("--text: expected at least one token, found none");
    prompt.tokens.input_ids = at::tensor(ids, at::kLong).unsqueeze(0);
    if (prompt.llava) put_images(prompt);
    return prompt;
  }
  const std::string& path = *flags.tokens;
  if (!prompt.llava) {
    prompt.tokens = parse_trace_tokens(read_json_file(path), config.vocab_size, path);
    return prompt;
  }
  prompt.tokens = parse_tokens_with_images(read_json_file(path), path);
  put_images(prompt);
  fit_positions(prompt.tokens, path);
  return prompt;
}

std::optional<Layout> layout_of_images(const TracePrompt& prompt) {
  if (!prompt.llava) return std::nullopt;
  const std::vector<Layout>& layouts = prompt.expanded.layouts;
  for (const Layout& layout : layouts) {
    if (layout_text(layout) != layout_text(layouts.front())) {
      throw UsageError("--scheme: expected rows of one layout, found {} and {}", layout_text(layouts.front()),
                       layout_text(layout));
    }
  }
  return layouts.front();
}

void check_dump(const std::set<std::string>& wanted, bool tower) {
  std::vector<std::string> known;
  for (const std::string& name : trace_dump_names()) {
    if ((name.rfind("vision_", 0) == 0) == tower) known.push_back(name);
  }
  for (const std::string& name : wanted) {
    if ((name.rfind("vision_", 0) == 0) != tower) {
      throw UsageError("--dump {}: of {} expected some of {}", name,
                       tower ? "a vision tower alone" : "a model with a decoder", fmt::join(known, ","));
    }
  }
}

std::vector<bool> chosen_layers(const std::vector<int64_t>& layers, int64_t count) {
  std::vector<bool> chosen(static_cast<size_t>(count), layers.empty());
  for (const int64_t layer : layers) {
    if (layer < 0 || layer >= count) {
      throw UsageError("--layers: expected layers 0 to {}, found {}", count - 1, layer);
    }
    chosen[static_cast<size_t>(layer)] = true;
  }
  return chosen;
}

int run_trace_tower(const TraceFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  const std::string& model = flags.model;
  for (const char* flag : {"text", "tokens", "scheme", "layout", "layout-file", "generate", "rope-theta",
                           "rope-scaling", "pinpoints"}) {
    if (invocation.given(flag)) throw UsageError("--{}: {} holds a vision tower alone", flag, model);
  }
  const std::filesystem::path path(model);
  const bool is_folder = std::filesystem::is_directory(path);
  const auto config_path = (is_folder ? path : std::filesystem::absolute(path).parent_path()) / "config.json";
  const Json json = read_json_file(config_path);
  const VisionConfig config = parse_vision_config(json, config_path.string());
  const int64_t feature_layer = tower_feature_layer(json, config, config_path.string());
  const std::set<std::string> wanted =
      flags.dump ? parse_dump(*flags.dump) : std::set{std::string("vision_feature")};
  check_dump(wanted, /*tower=*/true);
  const std::vector<bool> layers = chosen_layers(flags.layers, config.num_hidden_layers);
  const at::Tensor pixels = flags.images.read_for_tower(config_path.parent_path());

  const at::NoGradGuard no_grad;
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(model);
  VisionLoadOptions load;
  load.streamed = settings.weights == WeightMode::kStreamed;
  load.device = settings.device;
  load.dtype = settings.dtype;
  const bool all = wanted.count("vision_hidden") > 0 || wanted.count("vision_attention") > 0;
  if (!all) load.layers = feature_layer;
  const VisionTower tower = load_vision_tower(checkpoint, config, load);

  Provenance provenance = invocation.provenance();
  for (const auto& file : checkpoint->files()) provenance.add_input(file);
  flags.images.add_inputs(provenance);
  TraceOutput output(flags.output, provenance, settings.force);
  output.attribute("vision_tower", vision_kind_name(config.kind));
  output.attribute("vision_feature_layer", feature_layer);
  VisionTaps taps;
  if (wanted.count("vision_hidden") > 0) {
    taps.hidden = [&](int64_t depth, const at::Tensor& hidden) {
      output.write(fmt::format("vision_hidden/{}", depth), hidden);
    };
  }
  if (wanted.count("vision_attention") > 0) {
    taps.attention = [&](int64_t layer, const at::Tensor& rows) {
      if (layers[static_cast<size_t>(layer)]) output.write(fmt::format("vision_attention/{}", layer), rows);
    };
  }
  if (all && tower.weights.post_norm.weight.defined()) {
    const VisionOutput result = forward(tower, pixels, taps);
    if (taps.hidden) output.write("vision_final_hidden", result.last_hidden);
    if (taps.hidden && result.pooled.defined()) output.write("vision_pooled", result.pooled);
  } else if (all) {
    visual_features(tower, pixels, {config.num_hidden_layers}, taps);
  }
  if (wanted.count("vision_feature") > 0) {
    output.write("vision_feature", visual_features(tower, pixels, {feature_layer}));
  }
  output.finish(settings.json, settings.csv, {}, {});
  return 0;
}

}  // namespace ropescope::app::trace
