// How a scheme places the tokens of a visual block: the "position design" of arXiv 2510.23095. Which channel
// then follows which axis is the frequency allocation's business (frequency_allocation.h).
//
// Running base b: the position that the next text token would take, 0 at the start. A text run takes b, b+1,
// ... on every axis.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "ropescope/rope/id_align.h"
#include "ropescope/rope/layout.h"

namespace ropescope {

/// Where coordinates are written: one pointer an axis, all rows t, h, w of the same length.
using CoordinateRows = std::array<double*, 3>;

class PositionDesign {
 public:
  virtual ~PositionDesign() = default;

  /// 1 (one coordinate, row t) or 3 (t, h, w).
  virtual int64_t axes() const = 0;

  /// Writes the coordinates of the grid's tokens, which begin at rows[axis][0]; returns the next base.
  virtual double place(const Grid& grid, double base, const CoordinateRows& rows) const = 0;

  /// The same for an anyres block without pieces. Unless overridden, thumbnail and high-resolution part are
  /// two images, the newline token being the last column of the second; the one newline of a single tile is
  /// placed as text.
  virtual double place_anyres(const Segment& block, double base, const CoordinateRows& rows) const;

  /// The same for an anyres block with pieces; `bases` gets the running base at each piece. Unless overridden,
  /// thumbnail and tiles are images one after the other, what stands between them is text.
  virtual double place_pieces(const Segment& block, double base, const CoordinateRows& rows,
                              std::vector<double>& bases) const;

  /// Text from `base` on; returns the next base.
  double place_text(int64_t tokens, double base, const CoordinateRows& rows) const;

  /// Text tokens have h = w = 0 (papers of IL-RoPE and OmniGen2).
  virtual bool text_spatial_zero() const { return false; }

  /// A design whose ids differ from decoder layer to layer (PyPE) returns itself at that layer.
  virtual std::shared_ptr<const PositionDesign> at_layer(int64_t /*layer*/) const { return nullptr; }

  /// Inside one visual raster a query sees the keys whose id is not above its own (CCA, PyPE), instead of
  /// those that come before it.
  virtual bool rings() const { return false; }

  /// Queries take anchored ids against keys of the other modality (DIPE).
  virtual bool anchored() const { return false; }

  /// How high-resolution tokens find the thumbnail token whose coordinates they inherit (ID-Align); none
  /// where they do not inherit.
  virtual std::optional<ResizeRule> alignment() const { return std::nullopt; }
  bool aligned() const { return alignment().has_value(); }

  /// Slopes of a linear distance bias, one a head (ALiBi); empty without.
  virtual std::vector<double> bias_slopes(int64_t /*heads*/) const { return {}; }
  /// Number of heads that the scheme's text names for those slopes.
  virtual std::optional<int64_t> bias_heads() const { return std::nullopt; }
};

/// A design that changes another one and passes on everything that it does not change.
class DesignModifier : public PositionDesign {
 public:
  explicit DesignModifier(std::shared_ptr<const PositionDesign> inner) : inner_(std::move(inner)) {}

  int64_t axes() const override { return inner_->axes(); }
  double place(const Grid& grid, double base, const CoordinateRows& rows) const override {
    return inner_->place(grid, base, rows);
  }
  double place_anyres(const Segment& block, double base, const CoordinateRows& rows) const override {
    return inner_->place_anyres(block, base, rows);
  }
  double place_pieces(const Segment& block, double base, const CoordinateRows& rows,
                      std::vector<double>& bases) const override {
    return inner_->place_pieces(block, base, rows, bases);
  }
  bool text_spatial_zero() const override { return inner_->text_spatial_zero(); }
  std::shared_ptr<const PositionDesign> at_layer(int64_t layer) const override {
    auto inner = inner_->at_layer(layer);
    return inner ? with_inner(std::move(inner)) : nullptr;
  }
  bool rings() const override { return inner_->rings(); }
  bool anchored() const override { return inner_->anchored(); }
  std::optional<ResizeRule> alignment() const override { return inner_->alignment(); }
  std::vector<double> bias_slopes(int64_t heads) const override { return inner_->bias_slopes(heads); }
  std::optional<int64_t> bias_heads() const override { return inner_->bias_heads(); }

 protected:
  virtual std::shared_ptr<const PositionDesign> with_inner(
      std::shared_ptr<const PositionDesign> inner) const = 0;
  const std::shared_ptr<const PositionDesign> inner_;
};

/// rows, moved on by `tokens`.
CoordinateRows advanced(const CoordinateRows& rows, int64_t tokens, int64_t axes);

}  // namespace ropescope
