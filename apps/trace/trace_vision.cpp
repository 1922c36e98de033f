#include "trace/trace_vision.h"

#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/vision_tower.h"

#include "inputs/loaded_model.h"
#include "inputs/question.h"
#include "trace/trace_output.h"

namespace ropescope::app::trace {

namespace {

void put_media(TracePrompt& prompt, int64_t vocab_size) {
  prompt.expanded = place_media(prompt.tokens.input_ids, prompt.tokens.attention_mask, plans_of(prompt.media),
                                media_marks(*prompt.vlm), vocab_size);
  prompt.tokens.input_ids = prompt.expanded.input_ids;
  prompt.tokens.attention_mask = prompt.expanded.attention_mask;
}

std::vector<int64_t> encode_prompt(const Tokenizer& tokenizer, const PictureReader& reader,
                                   const std::string& text, const std::vector<NamedMedia>& media) {
  size_t images = 0, videos = 0;
  for (const NamedMedia& one : media) ++(one.item.plan.kind == MediaKind::kVideo ? videos : images);
  const bool marked = text.find(reader.image_mark()) != std::string::npos ||
                      text.find(reader.video_mark()) != std::string::npos;
  return reader.encode(tokenizer, marked ? text : with_media_in_front(text, images, videos), plans_of(media));
}

}  // namespace

TracePrompt read_trace_prompt(const TraceFlags& flags, const DecoderConfig& config) {
  if (flags.text.has_value() == flags.tokens.has_value()) {
    throw UsageError("expected one of --text and --tokens");
  }
  const std::string& model = flags.model;
  TracePrompt prompt;
  std::optional<PictureReader> reader;
  if (flags.images.given()) {
    if (model_kind(model) != ModelKind::kVlm) refuse_images(flags.images.first_given(), model);
    prompt.vlm = read_vlm_config(model);
    reader.emplace(model, flags.images.pinpoint_rule());
    if (!flags.images.pixels) prompt.media = flags.images.read(*reader);
  }
  if (flags.text) {
    if (prompt.vlm && flags.images.pixels) {
      if (reader->expands_text()) {
        throw UsageError("--pixels: expected --tokens with the expanded input_ids, found --text");
      }
      prompt.media = flags.images.read_pixels(model, *reader, *prompt.vlm, {});
    }
    prompt.tokenizer = load_tokenizer(model);
    const std::vector<int64_t> ids =
        reader ? encode_prompt(*prompt.tokenizer, *reader, *flags.text, prompt.media)
               : prompt.tokenizer->encode(*flags.text, {});
    if (ids.empty()) throw UsageError("--text: expected at least one token, found none");
    prompt.tokens.input_ids = at::tensor(ids, at::kLong).unsqueeze(0);
    if (prompt.vlm) {
      put_media(prompt, config.vocab_size);
    } else {
      warn_of_marks(model, prompt.tokens.input_ids);
    }
    return prompt;
  }
  const std::string& path = *flags.tokens;
  if (!prompt.vlm) {
    prompt.tokens = parse_trace_tokens(read_json_file(path), config.vocab_size, path);
    warn_of_marks(model, prompt.tokens.input_ids);
    return prompt;
  }
  prompt.tokens = parse_tokens_with_images(read_json_file(path), path);
  if (flags.images.pixels)
    prompt.media = flags.images.read_pixels(model, *reader, *prompt.vlm, prompt.tokens.input_ids);
  put_media(prompt, config.vocab_size);
  fit_positions(prompt.tokens, path);
  return prompt;
}

std::optional<Layout> layout_of_images(const TracePrompt& prompt, const Scheme& scheme) {
  if (!prompt.vlm) return std::nullopt;
  refuse_unplaced(prompt.media, scheme);
  const std::vector<Layout>& layouts = prompt.expanded.layouts;
  for (const Layout& layout : layouts) {
    if (layout_text(layout) != layout_text(layouts.front())) {
      throw UsageError("--scheme: expected rows of one layout, found {} and {}", layout_text(layouts.front()),
                       layout_text(layout));
    }
  }
  return layouts.front();
}

namespace {

/// What a tower gives depth by depth, perhaps a few pictures at a time.
class HiddenStates {
 public:
  VisionTaps taps() {
    VisionTaps taps;
    taps.hidden = [this](int64_t depth, const at::Tensor& hidden) {
      parts_[depth].push_back(hidden.clone());
    };
    return taps;
  }

  void write(const std::string& group, TraceOutput& output) const {
    for (const auto& [depth, parts] : parts_)
      output.write(fmt::format("{}/{}", group, depth), at::cat(parts, 0));
  }

 private:
  std::map<int64_t, std::vector<at::Tensor>> parts_;
};

void write_items(const TracePrompt& prompt, MediaKind kind, const std::vector<at::Tensor>& of_items,
                 const std::string& name, TraceOutput& output) {
  std::vector<at::Tensor> chosen;
  for (size_t i = 0; i < of_items.size(); ++i) {
    if (prompt.media[i].item.plan.kind == kind) chosen.push_back(of_items[i]);
  }
  if (!chosen.empty()) output.write(name, at::cat(chosen, 0));
}

}  // namespace

MediaEmbeddings trace_media(const TracePrompt& prompt, const Vlm& vlm, const std::set<std::string>& wanted,
                            TraceOutput& output) {
  HiddenStates of_images, of_videos;
  const bool hidden = wanted.count("vision_hidden") > 0;
  const SeenMedia seen = see(vlm, items_of(prompt.media), hidden ? of_images.taps() : VisionTaps(),
                             hidden ? of_videos.taps() : VisionTaps());
  of_images.write("vision_hidden", output);
  of_videos.write("video_vision_hidden", output);
  const std::pair<MediaKind, const char*> kinds[] = {{MediaKind::kImage, "image"},
                                                     {MediaKind::kVideo, "video"}};
  for (const auto& [kind, name] : kinds) {
    const std::string word = name;
    if (wanted.count(word + "_features") > 0) {
      write_items(prompt, kind, seen.features, word + "_features", output);
    }
    for (size_t level = 0; wanted.count("deepstack") > 0 && level < seen.deepstack.size(); ++level) {
      write_items(prompt, kind, seen.deepstack[level], fmt::format("{}_deepstack/{}", word, level), output);
    }
  }
  return embed(vlm, prompt.expanded, seen);
}

void check_dump(const std::set<std::string>& wanted, Traced kind) {
  const auto belongs = [&](const std::string& name) {
    const bool of_media = name == "image_features" || name == "video_features" || name == "deepstack";
    if (name == "vision_hidden") return kind != Traced::kDecoder;
    if (name.rfind("vision_", 0) == 0) return kind == Traced::kTower;
    return of_media ? kind == Traced::kVlm : kind != Traced::kTower;
  };
  std::vector<std::string> known;
  for (const std::string& name : trace_dump_names()) {
    if (belongs(name)) known.push_back(name);
  }
  for (const std::string& name : wanted) {
    if (belongs(name)) continue;
    throw UsageError("--dump {}: of {} expected some of {}", name,
                     kind == Traced::kTower ? "a vision tower alone"
                     : kind == Traced::kVlm ? "a model with pictures"
                                            : "a decoder without pictures",
                     fmt::join(known, ","));
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
  check_dump(wanted, Traced::kTower);
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
