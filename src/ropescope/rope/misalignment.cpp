#include "ropescope/rope/misalignment.h"

#include <algorithm>
#include <cmath>

#include "ropescope/rope/tiled_block.h"

namespace ropescope {

namespace {

DistanceSummary summarise(std::vector<double> distances) {
  DistanceSummary summary;
  if (distances.empty()) return summary;
  std::sort(distances.begin(), distances.end());
  summary.count = static_cast<int64_t>(distances.size());
  for (const double distance : distances) summary.mean += distance / static_cast<double>(distances.size());
  for (size_t i = 0; i < summary.quantiles.size(); ++i) {
    const double place = static_cast<double>(i * (distances.size() - 1)) / 4.0;
    const auto low = static_cast<size_t>(place);
    const double above = distances[std::min(low + 1, distances.size() - 1)];
    summary.quantiles[i] = distances[low] + (place - static_cast<double>(low)) * (above - distances[low]);
  }
  return summary;
}

Json summaries_json(const std::vector<DistanceSummary>& axes) {
  Json list = Json::array();
  for (const DistanceSummary& axis : axes) {
    Json quantiles = Json::array();
    for (const double quantile : axis.quantiles) quantiles.push_back(json_of_id(quantile));
    list.push_back({{"count", axis.count}, {"mean", axis.mean}, {"quantiles", quantiles}});
  }
  return list;
}

}  // namespace

ResizeMisalignment resize_misalignment(const Segment& anyres, const Alignment& alignment) {
  const AlignedRaster assigned(anyres.grid, anyres.high_h, anyres.high_w, alignment);
  const AlignedRaster nearest(anyres.grid, anyres.high_h, anyres.high_w, ResizeRule::kNearest);
  ResizeMisalignment result;
  for (int64_t row = 0; row < anyres.high_h; ++row) {
    for (int64_t column = 0; column < anyres.high_w; ++column) {
      const int64_t cell = assigned.cell(row, column), expected = nearest.cell(row, column);
      const int64_t column_error = std::abs(cell % anyres.grid.w - expected % anyres.grid.w);
      ++result.tokens;
      result.same_as_nearest += cell == expected;
      result.row_differs += cell / anyres.grid.w != expected / anyres.grid.w;
      result.column_differs += column_error > 0;
      result.column_differs_by_more_than_1 += column_error > 1;
      result.max_column_error = std::max(result.max_column_error, column_error);
      result.not_overlapping += !touches_cell(anyres, row, column, cell);
    }
  }
  return result;
}

std::optional<ResizeMisalignment> resize_misalignment(const Scheme& scheme, const Layout& layout) {
  if (!scheme.alignment()) return std::nullopt;
  ResizeMisalignment sum;
  for (const Segment& segment : layout.segments) {
    if (segment.kind != Segment::Kind::kAnyres) continue;
    const ResizeMisalignment one = resize_misalignment(segment, *scheme.alignment());
    sum.tokens += one.tokens;
    sum.same_as_nearest += one.same_as_nearest;
    sum.row_differs += one.row_differs;
    sum.column_differs += one.column_differs;
    sum.column_differs_by_more_than_1 += one.column_differs_by_more_than_1;
    sum.max_column_error = std::max(sum.max_column_error, one.max_column_error);
    sum.not_overlapping += one.not_overlapping;
  }
  return sum;
}

AnyresDistances anyres_distances(const Scheme& scheme, const Layout& layout, const Positions& positions) {
  AnyresDistances result;
  const std::vector<VisualRun> runs = visual_runs(layout, positions);
  const at::Tensor generated = scheme.generated_positions(positions, 0, 1).contiguous();
  for (int64_t axis = 0; axis < scheme.axes(); ++axis) {
    const double* ids = positions.coordinates.const_data_ptr<double>() + axis * positions.tokens();
    std::vector<double> thumbnail_high, high_text, thumbnail_text;
    for (const VisualRun& run : runs) {
      for (const VisualBlock& block : run.blocks) {
        const Segment& segment = *block.segment;
        if (segment.kind != Segment::Kind::kAnyres) continue;
        const BlockTokens tokens(segment);
        const int64_t after = run_of(runs, block.first + tokens.grids_end() - 1).end();
        const double text =
            after < positions.tokens() ? ids[after] : generated.const_data_ptr<double>()[axis];
        const double* own_ids = ids + block.first;
        for (int64_t i = 0; i < segment.grid.tokens(); ++i) {
          thumbnail_text.push_back(std::abs(text - own_ids[tokens.thumbnail(i)]));
        }
        const std::vector<int64_t> own = own_cells(segment);
        for (int64_t i = 0; i < segment.high_h * segment.high_w; ++i) {
          const double id = own_ids[tokens.high(i / segment.high_w, i % segment.high_w)];
          const double partner = own_ids[tokens.thumbnail(own[static_cast<size_t>(i)])];
          thumbnail_high.push_back(std::abs(id - partner));
          high_text.push_back(std::abs(text - id));
        }
      }
    }
    result.thumbnail_high.push_back(summarise(std::move(thumbnail_high)));
    result.high_text.push_back(summarise(std::move(high_text)));
    result.thumbnail_text.push_back(summarise(std::move(thumbnail_text)));
  }
  return result;
}

PositionBudget position_budget(const Layout& layout, const Positions& positions, int64_t context) {
  PositionBudget budget;
  budget.tokens = positions.tokens();
  budget.largest = positions.largest();
  budget.next = positions.next;
  if (budget.tokens > 0) budget.smallest = positions.coordinates.min().item<double>();
  for (const VisualRun& run : visual_runs(layout, positions)) {
    budget.visual_tokens += run.visual;
    budget.runs.push_back({run.tokens, run.ids()});
  }
  if (context > 0) {
    budget.beyond_context =
        positions.coordinates.ge(static_cast<double>(context)).any(0).sum().item<int64_t>();
  }
  return budget;
}

Json json_of_id(double value) {
  // Exactly representable, and printed without ".0".
  if (std::abs(value) < 9e15 && value == std::floor(value)) return static_cast<int64_t>(value);
  return value;
}

Json to_json(const std::optional<ResizeMisalignment>& misalignment, const Layout& layout) {
  if (!misalignment) {
    int64_t tokens = 0;
    for (const Segment& segment : layout.segments) tokens += segment.high_h * segment.high_w;
    Json none = {{"tokens", tokens}, {"inherits", false}};
    for (const char* field :
         {"same_as_nearest", "row_differs", "column_differs", "column_differs_by_more_than_1",
          "max_column_error", "not_overlapping_the_assigned_cell"}) {
      none[field] = nullptr;
    }
    return none;
  }
  return {{"tokens", misalignment->tokens},
          {"inherits", true},
          {"same_as_nearest", misalignment->same_as_nearest},
          {"row_differs", misalignment->row_differs},
          {"column_differs", misalignment->column_differs},
          {"column_differs_by_more_than_1", misalignment->column_differs_by_more_than_1},
          {"max_column_error", misalignment->max_column_error},
          {"not_overlapping_the_assigned_cell", misalignment->not_overlapping}};
}

Json to_json(const AnyresDistances& distances) {
  return {{"thumbnail_high", summaries_json(distances.thumbnail_high)},
          {"high_text", summaries_json(distances.high_text)},
          {"thumbnail_text", summaries_json(distances.thumbnail_text)}};
}

Json to_json(const PositionBudget& budget) {
  Json runs = Json::array();
  for (const auto& run : budget.runs) runs.push_back({{"tokens", run.tokens}, {"ids", json_of_id(run.ids)}});
  return {{"tokens", budget.tokens},
          {"visual_tokens", budget.visual_tokens},
          {"smallest", json_of_id(budget.smallest)},
          {"largest", json_of_id(budget.largest)},
          {"next", json_of_id(budget.next)},
          {"visual_runs", runs},
          {"beyond_context", budget.beyond_context}};
}

}  // namespace ropescope
