#include "positions/position_report.h"

#include <algorithm>
#include <array>

#include <ATen/ops/tensor.h>

#include "ropescope/analysis/attention_drift.h"
#include "ropescope/core/errors.h"

#include "positions/position_tables.h"

namespace ropescope::app::positions {

namespace {

/// [tokens, tokens] is made for a mask; this many tokens take a gigabyte.
constexpr int64_t kMostMaskTokens = 16384;

Json rows_json(const at::Tensor& values) {
  Json rows = Json::array();
  for (int64_t axis = 0; axis < values.size(0); ++axis) {
    Json row = Json::array();
    const double* from = values.const_data_ptr<double>() + axis * values.size(1);
    for (int64_t token = 0; token < values.size(1); ++token) row.push_back(json_of_id(from[token]));
    rows.push_back(std::move(row));
  }
  return rows;
}

Json mask_json(const PositionRun& run) {
  const int64_t tokens = run.positions.tokens();
  if (tokens > kMostMaskTokens) {
    throw UsageError("--mask: expected at most {} tokens, found {}", kMostMaskTokens, tokens);
  }
  const at::Tensor allowed = allowed_pairs(*run.scheme, run.positions).contiguous();
  const bool* from = allowed.const_data_ptr<bool>();
  Json rows = Json::array();
  for (int64_t query = 0; query < tokens; ++query) {
    std::string row(static_cast<size_t>(tokens), '0');
    for (int64_t key = 0; key < tokens; ++key) {
      if (from[query * tokens + key]) row[static_cast<size_t>(key)] = '1';
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

/// "30 … 605"; over a segment's tokens on one axis.
std::string id_range(const at::Tensor& coordinates, int64_t axis, int64_t first, int64_t tokens) {
  if (tokens == 0) return "-";
  const double* from = coordinates.const_data_ptr<double>() + axis * coordinates.size(1) + first;
  const auto [low, high] = std::minmax_element(from, from + tokens);
  return *low == *high ? id_text(*low) : fmt::format("{} … {}", id_text(*low), id_text(*high));
}

/// The parts of a segment that have ids of their own kind.
struct Part {
  std::string name;
  std::vector<int64_t> tokens;  ///< indices
};

/// Tokens of one role are one part, where the first of them stands; each run of words is its own.
std::vector<Part> parts_of_pieces(const Segment& segment, int64_t first) {
  const std::array<std::string, 5> names = {fmt::format("thumbnail {}x{}", segment.grid.h, segment.grid.w),
                                            fmt::format("high-res {}x{}", segment.high_h, segment.high_w),
                                            "separators", "separators", "text"};
  std::vector<Part> parts;
  int64_t token = first;
  for (const Piece& piece : segment.pieces) {
    const std::string& name = names[static_cast<size_t>(piece.role)];
    auto part = piece.role == Piece::Role::kText
                    ? parts.end()
                    : std::find_if(parts.begin(), parts.end(), [&](const Part& p) { return p.name == name; });
    if (part == parts.end()) part = parts.insert(parts.end(), Part{name, {}});
    for (int64_t i = 0; i < piece.tokens; ++i) part->tokens.push_back(token++);
  }
  return parts;
}

std::vector<Part> parts_of(const Segment& segment, int64_t first) {
  Layout alone;
  alone.segments = {segment};
  const std::string name = layout_text(alone);
  const auto range = [](int64_t from, int64_t count) {
    std::vector<int64_t> tokens;
    for (int64_t i = 0; i < count; ++i) tokens.push_back(from + i);
    return tokens;
  };
  if (segment.kind == Segment::Kind::kMerged) {
    const Grid& grid = segment.grid;
    return {{fmt::format("merged {}x{}x{}", grid.t, grid.h, grid.w), range(first, segment.tokens())}};
  }
  if (segment.kind != Segment::Kind::kAnyres) return {{name, range(first, segment.tokens())}};
  if (!segment.pieces.empty()) return parts_of_pieces(segment, first);
  const int64_t thumbnail = segment.grid.tokens();
  std::vector<Part> parts = {
      {fmt::format("thumbnail {}x{}", segment.grid.h, segment.grid.w), range(first, thumbnail)}};
  Part high{fmt::format("high-res {}x{}", segment.high_h, segment.high_w), {}}, newline{"newlines", {}};
  int64_t token = first + thumbnail;
  for (int64_t row = 0; row < segment.high_h; ++row) {
    for (int64_t column = 0; column < segment.high_w; ++column) high.tokens.push_back(token++);
    if (segment.newline) newline.tokens.push_back(token++);
  }
  if (segment.single_tile && segment.newline) newline.tokens.push_back(token);
  for (Part* part : {&high, &newline}) {
    if (!part->tokens.empty()) parts.push_back(std::move(*part));
  }
  return parts;
}

std::string run_heading(const PositionRun& run) {
  const std::string text = layout_text(*run.layout);
  return fmt::format("{} on {}{}\n", run.scheme->text(),
                     run.layout->name == text ? "" : run.layout->name + ": ",
                     text.size() > 200 ? text.substr(0, 200) + "..." : text);
}

std::string segments_text(const PositionRun& run, TableStyle style) {
  constexpr size_t kMostSegments = 40;
  std::vector<std::string> header = {"part", "tokens"};
  const int64_t axes = run.scheme->axes();
  for (const std::string& name : run.scheme->row_names()) header.push_back(name);
  if (run.scheme->anchored()) header.emplace_back("anchor");
  TextTable table(header);
  int64_t first = 0;
  size_t shown = 0;
  for (const Segment& segment : run.layout->segments) {
    if (shown++ == kMostSegments) break;
    for (const Part& part : parts_of(segment, first)) {
      const at::Tensor index = at::tensor(part.tokens, at::kLong);
      const at::Tensor ids = run.positions.coordinates.index_select(1, index);
      std::vector<std::string> row = {part.name, std::to_string(part.tokens.size())};
      for (int64_t axis = 0; axis < axes; ++axis) row.push_back(id_range(ids, axis, 0, ids.size(1)));
      if (run.scheme->anchored()) {
        row.push_back(id_range(run.positions.anchors.index_select(1, index), 0, 0, ids.size(1)));
      }
      table.add(std::move(row));
    }
    first += segment.tokens();
  }
  std::string text = table.text(style);
  if (run.layout->segments.size() > kMostSegments) {
    text += fmt::format("... and {} segments more\n", run.layout->segments.size() - kMostSegments);
  }
  return text;
}

std::string budget_text(const PositionRun& run, int64_t context) {
  const PositionBudget& budget = run.budget;
  std::string text = fmt::format("{} tokens, {} visual; largest id {}, next {}", budget.tokens,
                                 budget.visual_tokens, id_text(budget.largest), id_text(budget.next));
  if (!budget.runs.empty()) {
    text += "; ids a picture takes from the text: ";
    for (size_t i = 0; i < budget.runs.size() && i < 8; ++i) {
      text += fmt::format("{}{} ({} tokens)", i == 0 ? "" : ", ", id_text(budget.runs[i].ids),
                          budget.runs[i].tokens);
    }
    if (budget.runs.size() > 8) text += ", ...";
  }
  if (context > 0) {
    text += fmt::format("; {} tokens at or beyond the trained context of {}", budget.beyond_context, context);
  }
  return text + "\n";
}

}  // namespace

PositionRun measure_positions(const PositionRequest& request, const Scheme& scheme, const Layout& layout) {
  PositionRun run;
  run.scheme = &scheme;
  run.layout = &layout;
  run.positions = scheme.positions(layout);
  run.budget = position_budget(layout, run.positions, request.context);
  if (request.criteria) {
    CriteriaOptions options;
    options.rope = request.rope;
    options.head_dim = head_dim_of(scheme, request.head_dim);
    options.kv_heads = request.kv_heads;
    options.max_position_embeddings = request.context;
    run.criteria = judge(scheme, layout, run.positions, options);
    const std::vector<PictureRaster> rasters = drift_rasters(token_places(layout));
    if (!rasters.empty()) {
      const PictureRaster& raster = rasters.front();
      const Frequencies frequencies =
          scheme.frequencies(options.rope, options.head_dim, kv_heads_of(scheme, options.kv_heads),
                             request.context, run.positions.next);
      run.drift =
          predict_drift(scheme, run.positions, frequencies, raster.token, raster.rows, raster.columns);
    }
  }
  if (request.misalignment) {
    run.misalignment = {resize_misalignment(scheme, layout)};
  }
  if (request.criteria || request.misalignment) {
    run.distances = anyres_distances(scheme, layout, run.positions);
  }
  return run;
}

Json run_json(const PositionRun& run, const PositionRequest& request) {
  Json modality = Json::array();
  const uint8_t* kinds = run.positions.modality.const_data_ptr<uint8_t>();
  for (int64_t token = 0; token < run.positions.tokens(); ++token) modality.push_back(kinds[token]);
  Json object = {
      {"scheme", run.scheme->text()},           {"name", run.layout->name},
      {"rows", run.scheme->row_names()},        {"coordinates", rows_json(run.positions.coordinates)},
      {"next", json_of_id(run.positions.next)}, {"modality", std::move(modality)}};
  if (run.scheme->anchored()) {
    object["anchors"] = rows_json(run.positions.anchors);
    object["next_anchor"] = json_of_id(run.positions.next_anchor);
  }
  const std::vector<double> slopes = run.scheme->bias_slopes(request.bias_heads_of(*run.scheme));
  if (!slopes.empty()) object["slopes"] = slopes;
  if (request.mask) object["allowed"] = mask_json(run);
  object["budget"] = to_json(run.budget);
  if (run.criteria) {
    object["criteria"] = to_json(*run.criteria);
    object["drift"] = run.drift ? to_json(*run.drift) : Json();
    if (const auto published = published_verdict(*run.scheme)) object["published"] = to_json(*published);
  }
  if (run.misalignment) {
    object["misalignment"] = to_json(run.misalignment->resize, *run.layout);
  }
  if (run.criteria || run.misalignment) object["distances"] = to_json(run.distances);
  return object;
}

std::string runs_text(const std::vector<PositionRun>& runs, const PositionRequest& request,
                      TableStyle style) {
  std::string text;
  const bool only_tables = style == TableStyle::kMarkdown && (request.criteria || request.misalignment);
  for (const PositionRun& run : runs) {
    if (only_tables) break;
    text += run_heading(run) + segments_text(run, style) + (style == TableStyle::kMarkdown ? "\n" : "") +
            budget_text(run, request.context) + "\n";
  }
  if (request.criteria) text += criteria_table(runs).text(style) + "\n";
  if (request.misalignment) text += misalignment_table(runs).text(style) + "\n";
  if (!text.empty()) text.pop_back();
  return text;
}

std::string runs_csv(const std::vector<PositionRun>& runs, const PositionRequest& request) {
  if (request.criteria && request.misalignment) {
    throw UsageError("--csv: expected one table, found --criteria and --misalignment");
  }
  if (request.criteria) return criteria_columns(runs).text(TableStyle::kCsv);
  if (request.misalignment) return misalignment_table(runs).text(TableStyle::kCsv);
  return token_table(runs).text(TableStyle::kCsv);
}

}  // namespace ropescope::app::positions
