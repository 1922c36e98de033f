// What inheriting ids through a resized raster gets wrong, how far the parts of a picture are from one
// another and from the text, and what a layout costs in ids.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/rope/visual_runs.h"

namespace ropescope {

/// High-resolution tokens whose inherited thumbnail cell differs from that of the nearest rule, and those
/// whose part of the picture the inherited cell does not even touch (`resize_statistics` of
/// tests/golden/positions/idalign_cases.json).
struct ResizeMisalignment {
  int64_t tokens = 0;
  int64_t same_as_nearest = 0, row_differs = 0, column_differs = 0, column_differs_by_more_than_1 = 0;
  int64_t max_column_error = 0;  ///< thumbnail columns
  int64_t not_overlapping = 0;
};

ResizeMisalignment resize_misalignment(const Segment& anyres, const Alignment& alignment);
/// Summed over all anyres blocks; none for a scheme whose high-resolution tokens inherit nothing.
std::optional<ResizeMisalignment> resize_misalignment(const Scheme& scheme, const Layout& layout);

/// |difference of ids| on one axis, over all pairs of one kind.
struct DistanceSummary {
  int64_t count = 0;
  double mean = 0;
  std::array<double, 5> quantiles{};  ///< 0 (smallest), 1/4, 1/2, 3/4, 1 (largest), interpolated
};

/// One entry an axis of the scheme. Pairs, for every anyres block: each high-resolution token with the
/// thumbnail token of its part of the picture; each high-resolution and each thumbnail token with the first
/// text token after the last of them (a generated one where none follows), separators not counting as text.
struct AnyresDistances {
  std::vector<DistanceSummary> thumbnail_high, high_text, thumbnail_text;
};
AnyresDistances anyres_distances(const Scheme& scheme, const Layout& layout, const Positions& positions);

struct PositionBudget {
  int64_t tokens = 0, visual_tokens = 0;
  double smallest = 0, largest = -1, next = 0;  ///< over all axes; -1 for no tokens
  struct Run {
    int64_t tokens = 0;
    double ids = 0;
    bool operator==(const Run& other) const { return tokens == other.tokens && ids == other.ids; }
  };
  std::vector<Run> runs;  ///< as visual_runs: what has no text between it counts together, with separators
  int64_t beyond_context = 0;  ///< tokens with an id >= the trained context
};
/// `context`: trained length, tokens; 0 = unlimited.
PositionBudget position_budget(const Layout& layout, const Positions& positions, int64_t context);

/// Without alignment: {"inherits":false} and the numbers null.
Json to_json(const std::optional<ResizeMisalignment>& misalignment, const Layout& layout);
Json to_json(const AnyresDistances& distances);
Json to_json(const PositionBudget& budget);

/// An integer where the value is one.
Json json_of_id(double value);

}  // namespace ropescope
