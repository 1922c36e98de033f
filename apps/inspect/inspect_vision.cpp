#include "inspect/inspect_vision.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/models/llava.h"
#include "ropescope/weights/size_count.h"

namespace ropescope::app::inspect {

VisionReport read_vision_report(const std::filesystem::path& folder) {
  VisionReport report;
  const std::filesystem::path path = folder / "config.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return report;
  const Json config = read_json_file(path);
  try {
    if (is_llava_config(config)) {
      report.llava = read_llava_config(folder);
      report.tower = report.llava->tower;
    } else if (is_vision_tower_config(config)) {
      report.tower = parse_vision_config(config, path.string());
    }
  } catch (const InputError& error) {
    report.error = error.what();
  }
  return report;
}

void add_vision_json(const VisionReport& report, Json& json) {
  if (report.tower) {
    const VisionConfig& tower = *report.tower;
    json["vision_config"] = {{"kind", vision_kind_name(tower.kind)},
                             {"hidden_size", tower.hidden_size},
                             {"intermediate_size", tower.intermediate_size},
                             {"num_hidden_layers", tower.num_hidden_layers},
                             {"num_attention_heads", tower.num_attention_heads},
                             {"image_size", tower.image_size},
                             {"patch_size", tower.patch_size},
                             {"layer_norm_eps", tower.layer_norm_eps},
                             {"hidden_act", activation_name(tower.activation)},
                             {"tokens", tower.tokens()}};
  }
  if (report.llava) {
    const LlavaConfig& llava = *report.llava;
    json["llava"] = {{"form", llava.original ? "original" : "llava-hf"},
                     {"feature_layers", llava.feature_layers},
                     {"projector_hidden_act", activation_name(llava.projector_activation)},
                     {"image_token_id", llava.image_token_id ? Json(*llava.image_token_id) : Json(nullptr)}};
    if (llava.original) json["llava"]["vision_tower"] = llava.tower_name;
  }
  if (!report.error.empty()) json["vision_error"] = report.error;
}

std::vector<std::pair<std::string, std::string>> vision_rows(const VisionReport& report) {
  std::vector<std::pair<std::string, std::string>> rows;
  if (report.tower) {
    const VisionConfig& tower = *report.tower;
    rows.emplace_back(
        "vision tower",
        fmt::format("{}, {} layers, hidden {}, MLP {} ({}), {} heads", vision_kind_name(tower.kind),
                    tower.num_hidden_layers, tower.hidden_size, tower.intermediate_size,
                    activation_name(tower.activation), tower.num_attention_heads));
    rows.emplace_back("images", fmt::format("{0}x{0} pixels, patch {1}: {2}x{2} features", tower.image_size,
                                            tower.patch_size, tower.grid()));
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
  if (!report.tower) return {};
  const VisionMemory tower = estimate_vision_memory(*report.tower, what);
  const SizeCount count(what);
  VisionShare share;
  share.parameters = tower.parameters;
  share.activations = count.product({kTilesAtOnce, tower.activations_per_image});
  if (report.llava) {
    const int64_t in = report.llava->feature_size(), out = report.llava->decoder.hidden_size;
    share.parameters = count.sum(
        {share.parameters, count.product({in, out}), count.product({out, out}), count.product({3, out})});
  }
  return share;
}

}  // namespace ropescope::app::inspect
