// `mrope_section`: which channel pairs follow frames, rows and columns.
#include <algorithm>
#include <numeric>

#include <fmt/ranges.h>

#include "ropescope/architectures/families/common.h"
#include "ropescope/core/errors.h"

namespace ropescope::families {

namespace {

constexpr const char* kSections = "mrope_section";

/// Takes what is about axes out of one object of rotary settings.
void take_axes(Json& settings, const AxesRule& rule, std::vector<int64_t>& sections,
               const std::string& what) {
  if (json_has(settings, kSections)) sections = integers(settings, kSections, what);
  constexpr const char* kInterleaved = "mrope_interleaved";
  if (json_bool_or(settings, kInterleaved, rule.interleaved, what) != rule.interleaved) {
    throw UnsupportedModel("{}: \"{}\": expected {}, which is what this family's code does, found {}", what,
                           kInterleaved, rule.interleaved, !rule.interleaved);
  }
  for (const char* key : {kSections, kInterleaved}) settings.erase(key);
  for (const char* key : {"rope_type", "type"}) {
    if (json_has(settings, key) && settings[key] == "mrope") settings[key] = "default";
  }
}

/// Of `pairs` channel pairs, those that the default leaves to rows and columns; frames take the rest.
std::vector<int64_t> default_sections(const AxesRule& rule, int64_t pairs) {
  const auto& [t, h, w] = rule.sections;
  if (!rule.interleaved) return {t, h, w};
  const int64_t rows = std::min(h, (pairs + 1) / 3);
  const int64_t columns = std::min(w, pairs / 3);
  return {pairs - rows - columns, rows, columns};
}

}  // namespace

void read_rope_with_axes(const Json& config, DecoderConfig& decoder, const ConfigDefaults& defaults,
                         const AxesRule& rule, const std::string& what) {
  Json own = config;
  std::vector<int64_t> sections;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {  // (the second wins, as in read_rope)
    if (json_has(own, key) && own[key].is_object()) take_axes(own[key], rule, sections, what);
  }
  decoder.ropes = {shared_rope(own, decoder, defaults, what)};
  const double rotated = static_cast<double>(decoder.head_dim) * decoder.rope().partial_rotary_factor;
  const int64_t pairs = static_cast<int64_t>(rotated) / 2;
  if (sections.empty()) {
    if (rule.sections == std::array<int64_t, 3>{0, 0, 0}) {
      throw InputError("{}: \"{}\": expected the channel pairs of frames, rows and columns, found none", what,
                       kSections);
    }
    sections = default_sections(rule, pairs);
  }
  const bool sound = sections.size() == 3 && std::all_of(sections.begin(), sections.end(),
                                                         [&](int64_t n) { return n >= 0 && n <= pairs; });
  if (!sound || std::accumulate(sections.begin(), sections.end(), int64_t{0}) != pairs) {
    throw InputError(
        "{}: \"{}\": expected three numbers, {} in all (the channel pairs of a head that turn), found {}",
        what, kSections, pairs, fmt::join(sections, "/"));
  }
  decoder.rope_axes = {sections[0], sections[1], sections[2], rule.interleaved, rule.frame_step};
}

void read_qwen_vl(const Json& config, DecoderConfig& decoder, double frame_step, const std::string& what) {
  decoder.attention_bias = true;
  read_rope_with_axes(config, decoder, kQwenVlDefaults, {.frame_step = frame_step}, what);
  fill_qwen_layers(config, decoder, json_integer_or(config, "max_window_layers", 80, what), true, what);
}

void write_qwen_vl(const DecoderConfig& decoder, Json& config) {
  write_rope_with_axes(decoder, config);
  write_qwen_windows(decoder, config);
}

}  // namespace ropescope::families
