// ID-Align, arXiv 2505.21465, Algorithm 1 and Appendix B.
#include "ropescope/rope/id_align.h"

#include <algorithm>
#include <cmath>

#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

namespace {

enum class NewlineRule { kInherit, kCounted, kShared };

class IdAlignDesign : public DesignModifier {
 public:
  IdAlignDesign(std::shared_ptr<const PositionDesign> inner, ResizeRule resize, NewlineRule newline)
      : DesignModifier(std::move(inner)), resize_(resize), newline_(newline) {}

  std::optional<ResizeRule> alignment() const override { return resize_; }

  double place_anyres(const Segment& block, double base, const CoordinateRows& rows) const override {
    if (block.single_tile) return DesignModifier::place_anyres(block, base, rows);
    double next = inner_->place(block.grid, base, rows);
    const AlignedRaster raster(block.grid, block.high_h, block.high_w, resize_);
    const int64_t thumbnail = block.grid.tokens();
    int64_t token = thumbnail;
    for (int64_t row = 0; row < block.high_h; ++row) {
      for (int64_t column = 0; column < block.high_w; ++column)
        inherit(rows, token++, raster.cell(row, column));
      if (!block.newline) continue;
      if (newline_ == NewlineRule::kInherit) {
        inherit(rows, token++, raster.last_cell_of_row(row));
      } else {
        for (size_t axis = 0; axis < static_cast<size_t>(axes()); ++axis) {
          rows[axis][token] = axis > 0 && text_spatial_zero() ? 0.0 : next;
        }
        ++token;
        if (newline_ == NewlineRule::kCounted) next += 1;
      }
    }
    const bool shared = newline_ == NewlineRule::kShared && block.newline && block.high_h > 0;
    return shared ? next + 1 : next;
  }

 protected:
  std::shared_ptr<const PositionDesign> with_inner(
      std::shared_ptr<const PositionDesign> inner) const override {
    return std::make_shared<IdAlignDesign>(std::move(inner), resize_, newline_);
  }

 private:
  void inherit(const CoordinateRows& rows, int64_t token, int64_t cell) const {
    for (size_t axis = 0; axis < static_cast<size_t>(axes()); ++axis) rows[axis][token] = rows[axis][cell];
  }

  ResizeRule resize_;
  NewlineRule newline_;
};

}  // namespace

extern const SchemeDefinition kIdAlign = {
    "id-align",
    "high-resolution tokens take the ids of their thumbnail token; text goes on after the thumbnail",
    "ID-Align, arXiv 2505.21465",
    {{"resize", "nearest",
      "how a high-resolution token finds its thumbnail token: nearest, nearest-exact, bilinear"},
     {"newline", "inherit",
      "ids of newline tokens: inherit (of the row's last token), counted (one id each), shared (one a "
      "picture)"}},
    nullptr,
    [](const Parameters& parameters,
       std::shared_ptr<const PositionDesign> inner) -> std::shared_ptr<const PositionDesign> {
      const std::string newline = parameters.choice("newline", {"inherit", "counted", "shared"});
      const ResizeRule resize = parse_resize_rule(parameters.choice("resize", resize_rule_names()));
      return std::make_shared<IdAlignDesign>(std::move(inner), resize,
                                             newline == "inherit"   ? NewlineRule::kInherit
                                             : newline == "counted" ? NewlineRule::kCounted
                                                                    : NewlineRule::kShared);
    },
    "vanilla",
    {}};

}  // namespace ropescope
