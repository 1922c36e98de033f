// PanoRoPE of CORA (ECCV 2026): pictures are views of one panorama, each overlapping the one before it, and a view is
// moved along the panorama by the part that is new. As its public code for Qwen2.5-VL, InternVL and Gemma 3 does it.
#include <algorithm>
#include <cmath>
#include <optional>

#include "ropescope/core/errors.h"
#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

namespace {

class PanoramaDesign : public DesignModifier {
 public:
  PanoramaDesign(std::shared_ptr<const PositionDesign> inner, double overlap, bool global, size_t row)
      : DesignModifier(std::move(inner)), overlap_(overlap), global_(global), row_(row) {}

  bool moves_views() const override { return true; }

  /// A picture of its own: the first of the sequence is the whole panorama where there is one.
  double place(const Grid& grid, double base, const CoordinateRows& rows) const override {
    if (grid.t > 1) {
      throw UsageError(
          "scheme panorope: expected views of a panorama as pictures, found a clip of {} frames; give each view as an "
          "image",
          grid.t);
    }
    const double next = inner_->place(grid, base, rows);
    move(grid.number - (global_ ? 1 : 0), grid.h, grid.w, rows);
    return next;
  }

  /// Tiles that are sewn together do not overlap.
  double place_anyres(const Segment&, double, const CoordinateRows&) const override {
    throw UsageError(
        "scheme panorope: expected views as images or as tiles one by one, found an anyres block whose tiles are sewn "
        "into one grid; try image:24x24,image:24x24 or anyres:24x24+24x48:tiles-first");
  }

  /// The tiles of a block, in the order of the sequence, its thumbnail being the whole panorama.
  double place_pieces(const Segment& block, double base, const CoordinateRows& rows,
                      std::vector<double>& bases) const override {
    const double next = inner_->place_pieces(block, base, rows, bases);
    CoordinateRows at = rows;
    int64_t view = 0;
    for (const Piece& piece : block.pieces) {
      if (piece.role == Piece::Role::kTile) move(view++, piece.h, piece.w, at);
      at = at.advanced(piece.tokens);
    }
    return next;
  }

  /// A picture of which some tokens are left: those move as the whole picture would. (A modifier's own asks the inner design, whose
  /// whole picture does not move.)
  double place_merged(const Segment& block, double base, const CoordinateRows& rows) const override {
    return PositionDesign::place_merged(block, base, rows);  // NOLINT(bugprone-parent-virtual-call)
  }

 protected:
  std::shared_ptr<const PositionDesign> with_inner(
      std::shared_ptr<const PositionDesign> inner) const override {
    return std::make_shared<PanoramaDesign>(std::move(inner), overlap_, global_, row_);
  }

 private:
  // The shift is rounded as Python rounds, halves to even, from the same product.
  void move(int64_t view, int64_t h, int64_t w, const CoordinateRows& rows) const {
    if (view <= 0) return;
    const auto span = static_cast<double>(axes() == 1 ? h * w : w);
    const double shift = std::nearbyint(static_cast<double>(view) * (1.0 - overlap_) * span);
    for (int64_t token = 0; token < h * w; ++token) rows[row_][token] += shift;
  }

  double overlap_;
  bool global_;
  size_t row_;
};

/// The row that a view moves along: the only one, or columns.
std::optional<size_t> row_of_columns(const PositionDesign& inner) {
  if (inner.axes() == 1) return 0;
  const std::vector<std::string> names = inner.row_names();
  const auto found = std::find(names.begin(), names.end(), "w");
  if (found == names.end()) return std::nullopt;
  return static_cast<size_t>(found - names.begin());
}

}  // namespace

extern const SchemeDefinition kPanorope = {
    "panorope",
    "pictures are overlapping views of a panorama: the columns (or ids) of view k are moved on by k(1 - overlap) of a "
    "view",
    "CORA, ECCV 2026",
    {{"overlap", "0.5", "share of a view that the next one shows too, from 0 to below 1"},
     {"global", "true",
      "whether the first picture is the whole panorama, which is not moved (a block's thumbnail is)"}},
    nullptr,
    [](const Parameters& parameters,
       std::shared_ptr<const PositionDesign> inner) -> std::shared_ptr<const PositionDesign> {
      const double overlap = parameters.number("overlap", 0.5);
      if (!(overlap >= 0 && overlap < 1)) parameters.refuse("overlap", "a number from 0 to below 1");
      const std::optional<size_t> row = row_of_columns(*inner);
      if (!row) {
        throw UsageError(
            "scheme panorope: expected a base with one id or with a row w of columns, for example vanilla or mrope, found "
            "one with {} other rows",
            inner->axes());
      }
      return std::make_shared<PanoramaDesign>(std::move(inner), overlap, parameters.boolean("global", true),
                                              *row);
    },
    "vanilla",
    {}};

}  // namespace ropescope
