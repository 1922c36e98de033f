#include "inspect/inspect_vision.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/inputs/picture_reader.h"
#include "ropescope/models/vlm_memory.h"

namespace ropescope::app::inspect {

namespace {

constexpr int64_t kSampleWidth = 1000, kSampleHeight = 700;

PictureReport read_picture_report(const std::filesystem::path& folder) {
  PictureReport report;
  try {
    const PictureReader reader(folder);
    report.placeholder = reader.image_mark();
    report.takes_video = reader.takes_video();
    const MediaPlan plan = reader.plan_image(kSampleWidth, kSampleHeight);
    report.tokens = plan.tokens();
    report.runs = static_cast<int64_t>(plan.runs.size());
  } catch (const Error& error) {
    report.error = error.what();
  }
  return report;
}

const char* connector_name(ConnectorKind kind) {
  switch (kind) {
    case ConnectorKind::kMlp:
      return "two linear layers";
    case ConnectorKind::kShuffleMlp:
      return "pixel shuffle, layer norm, two linear layers";
    case ConnectorKind::kShuffleLinear:
      return "pixel shuffle, one linear layer";
    case ConnectorKind::kPooled:
      return "average pooling, RMSNorm, one matrix";
    case ConnectorKind::kMerger:
      return "merger: norm, two linear layers";
    case ConnectorKind::kStridedMerger:
      return "strided convolution, linear, layer norm, gated MLP";
  }
  return "";
}

const char* pictures_name(PictureTokens pictures) {
  switch (pictures) {
    case PictureTokens::kPatches:
      return "native resolution";
    case PictureTokens::kTiles:
      return "tiles";
    case PictureTokens::kAnyres:
      return "anyres";
  }
  return "";
}

const char* positions_name(VisionPositions positions) {
  switch (positions) {
    case VisionPositions::kTable:
      return "learned";
    case VisionPositions::kBilinear:
      return "learned, bilinear";
    case VisionPositions::kBicubic:
      return "learned, bicubic";
    case VisionPositions::kNone:
      return "none";
  }
  return "";
}

Json or_null(const std::optional<int64_t>& value) { return value ? Json(*value) : Json(nullptr); }

Json tower_json(const VisionConfig& tower) {
  Json json = {{"kind", vision_kind_name(tower.kind)},
               {"hidden_size", tower.hidden_size},
               {"intermediate_size", tower.intermediate_size},
               {"num_hidden_layers", tower.num_hidden_layers},
               {"num_attention_heads", tower.num_attention_heads},
               {"image_size", tower.packed ? Json(nullptr) : Json(tower.image_size)},
               {"patch_size", tower.patch_size},
               {"layer_norm_eps", tower.layer_norm_eps},
               {"hidden_act", activation_name(tower.activation)},
               {"tokens", tower.packed ? Json(nullptr) : Json(tower.tokens())},
               {"positions", positions_name(tower.positions)},
               {"rope_theta", tower.rope_theta > 0 ? Json(tower.rope_theta) : Json(nullptr)}};
  if (!tower.packed) return json;
  json["temporal_patch_size"] = tower.temporal_patch_size;
  json["merge_size"] = tower.merge_size;
  json["window_size"] = tower.window_size > 0 ? Json(tower.window_size) : Json(nullptr);
  json["full_layers"] = tower.full_layers;
  json["deepstack_layers"] = tower.deepstack_layers;
  return json;
}

Json vlm_json(const VlmConfig& vlm, const PictureReport& picture) {
  const EyesMemory memory = estimate_eyes_memory(vlm, "config.json");
  Json json = {{"family", vlm.family->name},
               {"summary", vlm.family->summary},
               {"pictures", pictures_name(vlm.pictures)},
               {"feature_layers", vlm.feature_layers},
               {"post_norm", vlm.post_norm},
               {"connector",
                {{"kind", connector_name(vlm.connector.kind)},
                 {"in", vlm.connector.in},
                 {"inner", vlm.connector.inner},
                 {"out", vlm.connector.out},
                 {"merge_size", vlm.connector.merge_size},
                 {"hidden_act", activation_name(vlm.connector.activation)},
                 {"deepstack", vlm.connector.deepstack}}},
               {"image_newline", vlm.has_newline},
               {"tokens",
                {{"image", or_null(vlm.tokens.image)},
                 {"video", or_null(vlm.tokens.video)},
                 {"vision_start", or_null(vlm.tokens.vision_start)},
                 {"vision_end", or_null(vlm.tokens.vision_end)}}},
               {"ids_per_second", vlm.tokens_per_second},
               {"tower_parameters", memory.tower},
               {"connector_parameters", memory.connector}};
  if (picture.error.empty()) {
    json["placeholder"] = picture.placeholder;
    json["takes_video"] = picture.takes_video;
    json["sample_picture"] = {{"width", kSampleWidth},
                              {"height", kSampleHeight},
                              {"tokens", picture.tokens},
                              {"runs", picture.runs}};
  } else {
    json["picture_error"] = picture.error;
  }
  return json;
}

std::string tower_text(const VisionConfig& tower) {
  std::string text =
      fmt::format("{}, {} layers, hidden {}, MLP {} ({}), {} heads", vision_kind_name(tower.kind),
                  tower.num_hidden_layers, tower.hidden_size, tower.intermediate_size,
                  activation_name(tower.activation), tower.num_attention_heads);
  if (tower.rope_theta > 0) text += fmt::format(", 2-D rotation (theta {:g})", tower.rope_theta);
  if (tower.packed && tower.positions != VisionPositions::kNone) {
    text += fmt::format(", positions {} ({}x{})", positions_name(tower.positions), tower.table_side,
                        tower.table_side);
  }
  if (tower.window_size > 0) {
    text += fmt::format(", windows of {} pixels but for layers {}", tower.window_size,
                        fmt::join(tower.full_layers, ","));
  }
  return text;
}

std::string images_text(const VisionConfig& tower) {
  if (!tower.packed) {
    return fmt::format("{0}x{0} pixels, patch {1}: {2}x{2} features", tower.image_size, tower.patch_size,
                       tower.grid());
  }
  return fmt::format("any size, patch {0}, {1} frame{2} a patch: a token of {3}x{3} pixels", tower.patch_size,
                     tower.temporal_patch_size, tower.temporal_patch_size == 1 ? "" : "s",
                     tower.patch_size * tower.merge_size);
}

std::string connector_text(const VlmConfig& vlm) {
  const ConnectorConfig& connector = vlm.connector;
  std::string text = fmt::format("{}, {}", connector_name(connector.kind), connector.in);
  if (connector.merge_size > 1) text += fmt::format(" x {0}x{0}", connector.merge_size);
  text += fmt::format(" to {}", connector.out);
  if (connector.deepstack > 0) {
    text += fmt::format(", DeepStack behind decoder layers 0-{}", connector.deepstack - 1);
  }
  return text + (vlm.has_newline ? ", image_newline" : "");
}

std::string picture_text(const VlmConfig& vlm, const PictureReport& picture) {
  const std::string how = pictures_name(vlm.pictures);
  if (!picture.error.empty()) return fmt::format("{}; unusable: {}", how, picture.error);
  return fmt::format("{}; one of {}x{} pixels: {} tokens{}; {} stands for one{}", how, kSampleWidth,
                     kSampleHeight, picture.tokens,
                     picture.runs > 1 ? fmt::format(" in {} runs", picture.runs) : "", picture.placeholder,
                     picture.takes_video ? "; clips too" : "");
}

}  // namespace

VisionReport read_vision_report(const std::filesystem::path& folder) {
  VisionReport report;
  const std::filesystem::path path = folder / "config.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return report;
  const Json config = read_json_file(path);
  try {
    const VlmFamily* family = find_vlm_family(config);
    const bool next = is_llava_config(config) && (family == nullptr || family->name == "llava_next");
    if (next) {
      report.llava = read_llava_config(folder);
      report.vlm = vlm_config_of(*report.llava);
      report.tower = report.llava->tower;
    } else if (family != nullptr) {
      report.vlm = parse_vlm_config(config, path.string());
      report.tower = report.vlm->vision;
    } else if (is_vision_tower_config(config)) {
      report.tower = parse_vision_config(config, path.string());
    }
  } catch (const InputError& error) {
    report.error = error.what();
  }
  if (report.vlm) report.picture = read_picture_report(folder);
  return report;
}

void add_vision_json(const VisionReport& report, Json& json) {
  if (report.tower) json["vision_config"] = tower_json(*report.tower);
  if (report.vlm) json["vlm"] = vlm_json(*report.vlm, report.picture);
  if (report.llava) {
    const LlavaConfig& llava = *report.llava;
    json["llava"] = {{"form", llava.original ? "original" : "llava-hf"},
                     {"feature_layers", llava.feature_layers},
                     {"projector_hidden_act", activation_name(llava.projector_activation)},
                     {"image_token_id", or_null(llava.image_token_id)}};
    if (llava.original) json["llava"]["vision_tower"] = llava.tower_name;
  }
  if (!report.error.empty()) json["vision_error"] = report.error;
}

std::vector<std::pair<std::string, std::string>> vision_rows(const VisionReport& report) {
  std::vector<std::pair<std::string, std::string>> rows;
  if (report.vlm) rows.emplace_back("family", report.vlm->family->name + ": " + report.vlm->family->summary);
  if (report.tower) {
    rows.emplace_back("vision tower", tower_text(*report.tower));
    rows.emplace_back("images", images_text(*report.tower));
  }
  if (report.vlm) {
    rows.emplace_back("connector", connector_text(*report.vlm));
    rows.emplace_back("pictures", picture_text(*report.vlm, report.picture));
  }
  if (report.llava) {
    const LlavaConfig& llava = *report.llava;
    rows.emplace_back(
        "LLaVA-NeXT",
        fmt::format("{} form, features of layer {}, image token {}", llava.original ? "original" : "llava-hf",
                    fmt::join(llava.feature_layers, "+"),
                    llava.image_token_id ? std::to_string(*llava.image_token_id) : "-200"));
  }
  if (!report.error.empty()) rows.emplace_back("vision", "unusable: " + report.error);
  return rows;
}

VisionShare vision_share(const VisionReport& report, const std::string& what) {
  if (report.vlm) {
    const EyesMemory memory = estimate_eyes_memory(*report.vlm, what);
    return {memory.parameters(), memory.activations};
  }
  if (!report.tower) return {};
  const VisionMemory tower = estimate_vision_memory(*report.tower, what);
  return {tower.parameters, tower.activations_per_image};
}

}  // namespace ropescope::app::inspect
