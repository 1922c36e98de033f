// How a scheme places the tokens of a visual block: the "position design" of arXiv 2510.23095. Which channel
// then follows which axis is the frequency allocation's business (frequency_allocation.h).
//
// Running base b: the position that the next text token would take, 0 at the start. A text run takes b, b+1,
// ... on every row.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/rope/attention_rule.h"
#include "ropescope/rope/id_align.h"
#include "ropescope/rope/layout.h"
#include "ropescope/rope/positions.h"

namespace ropescope {

/// Where coordinates are written: any number of rows of one length, row r from rows[r] on.
class CoordinateRows {
 public:
  /// `length`: from one row to the next.
  CoordinateRows(double* first, int64_t length, int64_t rows) : first_(first), length_(length), rows_(rows) {}

  double* operator[](size_t row) const { return first_ + static_cast<int64_t>(row) * length_; }
  size_t size() const { return static_cast<size_t>(rows_); }
  /// Moved on by `tokens`.
  CoordinateRows advanced(int64_t tokens) const { return {first_ + tokens, length_, rows_}; }

 private:
  double* first_;
  int64_t length_, rows_;
};

class PositionDesign {
 public:
  virtual ~PositionDesign() = default;

  /// Number of coordinate rows.
  virtual int64_t axes() const = 0;

  /// Names of the rows: "id" for one, t, h, w for three, unless overridden.
  virtual std::vector<std::string> row_names() const;

  /// Sections of `channels` channels (or key/value heads) where the scheme's text names none; empty: those of the
  /// allocation.
  virtual std::vector<int64_t> default_sections(int64_t /*channels*/) const { return {}; }

  /// Writes the coordinates of the grid's tokens, which begin at rows[axis][0]; returns the next base. Grid::number
  /// is set.
  virtual double place(const Grid& grid, double base, const CoordinateRows& rows) const = 0;

  /// The same for an anyres block without pieces. Unless overridden, thumbnail and high-resolution part are
  /// two images, the newline token being the last column of the second; the one newline of a single tile is
  /// placed as text.
  virtual double place_anyres(const Segment& block, double base, const CoordinateRows& rows) const;

  /// The same for an anyres block with pieces; `bases` gets the running base at each piece. Unless overridden,
  /// thumbnail and tiles are images one after the other, what stands between them is text.
  virtual double place_pieces(const Segment& block, double base, const CoordinateRows& rows,
                              std::vector<double>& bases) const;

  /// The same for a merged block, of whose picture one token a list of members is left. Unless overridden, a token sits
  /// where its first member would, and text goes on as after the whole picture.
  virtual double place_merged(const Segment& block, double base, const CoordinateRows& rows) const;

  /// Text from `base` on; returns the next base.
  double place_text(int64_t tokens, double base, const CoordinateRows& rows) const;

  /// Text tokens have h = w = 0 (papers of IL-RoPE and OmniGen2).
  virtual bool text_spatial_zero() const { return false; }

  /// A design whose ids differ from decoder layer to layer (PyPE) returns itself at that layer of `layers`; 0 where
  /// their number is not known.
  virtual std::shared_ptr<const PositionDesign> at_layer(int64_t /*layer*/, int64_t /*layers*/) const {
    return nullptr;
  }
  /// The design whose next generated tokens go on from on every layer (Circle-RoPE's alternation); null: each layer's
  /// own.
  virtual std::shared_ptr<const PositionDesign> generates_with() const { return nullptr; }

  /// Whether attention_rule returns one.
  virtual bool ruled() const { return false; }
  /// The mask or bias over tokens that sit at `keys` (anchors may be missing), for so many query heads; null where
  /// causal order is all.
  virtual std::shared_ptr<const AttentionRule> attention_rule(const Positions& /*keys*/,
                                                              int64_t /*heads*/) const {
    return nullptr;
  }

  /// Queries take anchored ids against keys of the other modality (DIPE).
  virtual bool anchored() const { return false; }

  /// How high-resolution tokens find the thumbnail token whose coordinates they inherit (ID-Align); none
  /// where they do not inherit.
  virtual std::optional<Alignment> alignment() const { return std::nullopt; }
  bool aligned() const { return alignment().has_value(); }

  /// Whether tiles are moved by which view of a panorama they are (PanoRoPE), which inheriting ids would undo.
  virtual bool moves_views() const { return false; }

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
  std::vector<std::string> row_names() const override { return inner_->row_names(); }
  std::vector<int64_t> default_sections(int64_t channels) const override {
    return inner_->default_sections(channels);
  }
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
  double place_merged(const Segment& block, double base, const CoordinateRows& rows) const override {
    return inner_->place_merged(block, base, rows);
  }
  bool text_spatial_zero() const override { return inner_->text_spatial_zero(); }
  std::shared_ptr<const PositionDesign> at_layer(int64_t layer, int64_t layers) const override {
    auto inner = inner_->at_layer(layer, layers);
    return inner ? with_inner(std::move(inner)) : nullptr;
  }
  std::shared_ptr<const PositionDesign> generates_with() const override {
    auto inner = inner_->generates_with();
    return inner ? with_inner(std::move(inner)) : nullptr;
  }
  bool ruled() const override { return inner_->ruled(); }
  std::shared_ptr<const AttentionRule> attention_rule(const Positions& keys, int64_t heads) const override {
    return inner_->attention_rule(keys, heads);
  }
  bool anchored() const override { return inner_->anchored(); }
  std::optional<Alignment> alignment() const override { return inner_->alignment(); }
  bool moves_views() const override { return inner_->moves_views(); }
  std::vector<double> bias_slopes(int64_t heads) const override { return inner_->bias_slopes(heads); }
  std::optional<int64_t> bias_heads() const override { return inner_->bias_heads(); }

 protected:
  virtual std::shared_ptr<const PositionDesign> with_inner(
      std::shared_ptr<const PositionDesign> inner) const = 0;
  const std::shared_ptr<const PositionDesign> inner_;
};

}  // namespace ropescope
