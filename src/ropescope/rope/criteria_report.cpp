// The criteria in words and as JSON, and the verdicts of the paper's prose.
#include <algorithm>
#include <map>

#include <fmt/ranges.h>

#include "ropescope/rope/criteria.h"
#include "ropescope/rope/scheme_parser.h"

namespace ropescope {

std::string coherence_faults(const Criteria& criteria) {
  std::vector<std::string> faults;
  const auto add = [&](bool holds, std::string text) {
    if (!holds) faults.push_back(std::move(text));
  };
  add(criteria.affine_rank == criteria.affine_rank_needed,
      fmt::format("{} of {} dimensions kept", criteria.affine_rank, criteria.affine_rank_needed));
  add(criteria.affine_residual < 1e-4, fmt::format("up to {:.3g} ids off a grid", criteria.affine_residual));
  add(criteria.visual_visual_collisions == 0,
      fmt::format("{} pairs of visual tokens on one id", criteria.visual_visual_collisions));
  add(criteria.visual_text_collisions == 0,
      fmt::format("{} visual tokens on text ids", criteria.visual_text_collisions));
  add(criteria.at_or_after_following_text == 0,
      fmt::format("{} visual tokens at or after the next text", criteria.at_or_after_following_text));
  add(criteria.at_or_before_preceding_text == 0,
      fmt::format("{} visual tokens at or before the last text", criteria.at_or_before_preceding_text));
  return fmt::format("{}", fmt::join(faults, "; "));
}

std::string frequency_faults(const Criteria& criteria) {
  if (criteria.axes == 1) return "one coordinate";
  std::vector<std::string> faults;
  for (size_t axis = 0; axis < criteria.bin_coverage.size(); ++axis) {
    if (criteria.bin_coverage[axis] == 1.0) continue;
    faults.push_back(fmt::format("{} {:.3g}", criteria.row_names[axis], criteria.bin_coverage[axis]));
  }
  return faults.empty() ? std::string() : fmt::format("bins covered: {}", fmt::join(faults, ", "));
}

std::string text_prior_faults(const Criteria& criteria) {
  std::vector<std::string> faults;
  if (!criteria.text_ids) faults.push_back("text alone is not 0, 1, 2, ... on every axis");
  if (!criteria.text_frequencies) faults.push_back("channels without rotation or with another frequency");
  if (!criteria.text_axes_equal) faults.push_back("axes of text after a picture differ");
  return fmt::format("{}", fmt::join(faults, "; "));
}

namespace {

Json number_or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

}  // namespace

Json to_json(const Criteria& criteria) {
  Json coverage = Json::object();
  for (size_t row = 0; row < criteria.bin_coverage.size(); ++row) {
    coverage[criteria.row_names[row]] = criteria.bin_coverage[row];
  }
  return {{"visual_text_collisions", criteria.visual_text_collisions},
          {"visual_visual_collisions", criteria.visual_visual_collisions},
          {"visual_tokens_at_or_after_following_text", criteria.at_or_after_following_text},
          {"visual_tokens_at_or_before_preceding_text", criteria.at_or_before_preceding_text},
          {"affine_residual", criteria.affine_residual},
          {"affine_rank", criteria.affine_rank},
          {"affine_rank_needed", criteria.affine_rank_needed},
          {"growth_per_visual_token", criteria.growth_per_visual_token},
          {"frequency_bin_coverage", coverage},
          {"ptd", number_or_null(criteria.ptd.all)},
          {"ptd_following", number_or_null(criteria.ptd.following)},
          {"coherent", criteria.coherent()},
          {"full_frequency", criteria.full_frequency()},
          {"text_prior", criteria.text_prior()}};
}

Json to_json(const PublishedVerdict& verdict) {
  const auto value = [](const std::optional<bool>& known) { return known ? Json(*known) : Json(nullptr); };
  return {{"coherent", value(verdict.coherent)},
          {"full_frequency", value(verdict.full_frequency)},
          {"text_prior", value(verdict.text_prior)},
          {"note", verdict.note}};
}

std::optional<PublishedVerdict> published_verdict(const Scheme& scheme) {
  static const std::map<std::string, PublishedVerdict> verdicts = {
      {"vanilla", {false, std::nullopt, true, "3-D structure lost, one id a token"}},
      {"v2pe", {false, std::nullopt, true, "3-D structure lost"}},
      {"mrope", {true, false, true, ""}},
      {"mrope-interleave", {true, true, true, ""}},
      {"mhrope", {true, true, true, ""}},
      {"videorope", {false, false, true, "rows and columns run past the text that follows"}},
      {"hope", {false, false, true, "judged with videorope"}},
      {"circlerope", {false, false, true, "modality gap, lost axis"}},
      {"omnirope", {true, false, false, "judged with h = w = 0 for text"}},
      {"ilrope", {true, true, false, "judged with h = w = 0 for text"}},
  };
  const std::vector<SchemePart> parts = parse_scheme_parts(scheme.text());
  if (parts.size() != 1 || !parts.front().allocation.empty()) return std::nullopt;
  const SchemePart& part = parts.front();
  const auto found = verdicts.find(part.definition->name);
  if (found == verdicts.end()) return std::nullopt;
  // Settings that make another design of it; text with h = w = 0 is what the paper judges of the last two.
  const bool zero = part.parameters.boolean("text_spatial_zero", false);
  if (zero && part.definition->name != "omnirope" && part.definition->name != "ilrope") return std::nullopt;
  for (const char* setting : {"diagonal", "modality_interval", "base_scale", "after"}) {
    if (part.parameters.has(setting)) return std::nullopt;
  }
  return found->second;
}

}  // namespace ropescope
