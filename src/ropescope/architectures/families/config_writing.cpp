// Writers of config.json that families share.
#include <algorithm>
#include <cmath>

#include "ropescope/architectures/families/common.h"

namespace ropescope::families {

Json kinds_json(const DecoderConfig& decoder) {
  Json kinds = Json::array();
  for (const LayerShape& layer : decoder.layers) kinds.push_back(layer.kind);
  return kinds;
}

Json window_json(const DecoderConfig& decoder) {
  const auto found = std::find_if(decoder.layers.begin(), decoder.layers.end(),
                                  [](const LayerShape& layer) { return layer.window > 0; });
  return found == decoder.layers.end() ? Json() : Json(found->window);
}

Json softcap_json(double softcap) { return softcap > 0 ? Json(softcap) : Json(); }

Json inverse_square(double scale) {
  const double scalar = 1 / (scale * scale);
  const double whole = std::round(scalar);
  if (whole >= 1 && whole < 1e15 && std::abs(scalar - whole) < 1e-9 * whole) {
    return static_cast<int64_t>(whole);
  }
  return scalar;
}

void write_rope(const DecoderConfig& decoder, Json& config) {
  config["rope_parameters"] = to_json(decoder.rope());
  config["dtype"] = "float32";
}

void write_rope_with_axes(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  if (!decoder.rope_axes) return;
  const RopeAxes& axes = *decoder.rope_axes;
  config["rope_parameters"]["mrope_section"] = {axes.t, axes.h, axes.w};
  if (axes.interleaved) config["rope_parameters"]["mrope_interleaved"] = true;
}

void write_ropes_by_kind(const DecoderConfig& decoder, Json& config) {
  Json full = to_json(decoder.ropes.front());
  Json sliding = to_json(decoder.ropes.back());
  for (Json* settings : {&full, &sliding}) settings->erase("truncate");  // which is not looked for there
  config["rope_parameters"] = {{kFull, full}, {kSliding, sliding}};
  config["dtype"] = "float32";
}

void write_old_rope(const DecoderConfig& decoder, Json& config) {
  const RopeConfig& rope = decoder.rope();
  config["rope_theta"] = rope.theta;
  config["torch_dtype"] = "float32";
  // Where transformers 4 looks for the two that no scaling changes; beside a scaling it knows them as keys of none.
  if (rope.partial_rotary_factor != 1) config["partial_rotary_factor"] = rope.partial_rotary_factor;
  if (rope.type == RopeType::kDefault) return;
  Json scaling = to_json(rope);
  scaling.erase("rope_theta");
  scaling.erase("partial_rotary_factor");
  config["rope_scaling"] = scaling;
}

void write_qwen_windows(const DecoderConfig& decoder, Json& config) {
  const Json window = window_json(decoder);
  if (window.is_null()) return;
  config["use_sliding_window"] = true;
  config["sliding_window"] = window;
  config["layer_types"] = kinds_json(decoder);
}

}  // namespace ropescope::families
