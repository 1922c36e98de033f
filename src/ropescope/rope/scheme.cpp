#include "ropescope/rope/scheme.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/frequencies_by_row.h"
#include "ropescope/rope/scheme_parser.h"

namespace ropescope {

namespace {

// Writes positions segment by segment into memory that is allocated once.
class Placement {
 public:
  Placement(const PositionDesign& design, const Layout& layout) : design_(design), tokens_(layout.tokens()) {
    axes_ = design.axes();
    positions_.coordinates = at::empty({axes_, tokens_}, at::kDouble);
    positions_.modality = at::empty({tokens_}, at::kByte);
    positions_.raster = at::empty({tokens_}, at::kInt);
    coordinates_ = positions_.coordinates.data_ptr<double>();
    modality_ = positions_.modality.data_ptr<uint8_t>();
    raster_ = positions_.raster.data_ptr<int32_t>();
    if (design.anchored()) {
      positions_.anchors = at::empty({axes_, tokens_}, at::kDouble);
      anchors_ = positions_.anchors.data_ptr<double>();
    }
    for (const Segment& segment : layout.segments) add(segment);
  }

  Positions finish() {
    positions_.next = base_;
    if (anchors_ != nullptr) positions_.next_anchor = tokens_ > 0 ? anchors_[tokens_ - 1] : 0;
    return std::move(positions_);
  }

 private:
  CoordinateRows rows() const { return {coordinates_ + done_, tokens_, axes_}; }

  void anchor(int64_t first, int64_t count, double value) {
    if (anchors_ == nullptr) return;
    for (int64_t axis = 0; axis < axes_; ++axis) {
      std::fill_n(anchors_ + axis * tokens_ + first, count, value);
    }
  }

  bool visual(int64_t token) const { return is_visual(static_cast<Modality>(modality_[token])); }

  /// Anchors of a piece of text whose first id is `value`: text pieces that touch are one run.
  void anchor_text(int64_t first, int64_t count, double value) {
    if (anchors_ == nullptr) return;
    anchor(first, count, first > 0 && !visual(first - 1) ? anchors_[first - 1] : value);
  }

  void mark(int64_t first, int64_t count, Modality modality, int32_t raster) {
    std::fill_n(modality_ + first, count, static_cast<uint8_t>(modality));
    std::fill_n(raster_ + first, count, raster);
  }

  void add(const Segment& segment) {
    if (segment.kind == Segment::Kind::kText) {
      add_text(segment.text);
    } else if (!segment.pieces.empty()) {
      add_pieces(segment);
    } else if (segment.kind == Segment::Kind::kAnyres) {
      add_anyres(segment);
    } else if (segment.kind == Segment::Kind::kMerged) {
      add_merged(segment);
    } else {
      add_grid(segment);
    }
    done_ += segment.tokens();
  }

  Segment numbered(Segment segment) const {
    segment.grid.number = rasters_;
    return segment;
  }

  void add_text(int64_t count) {
    anchor_text(done_, count, base_);
    base_ = design_.place_text(count, base_, rows());
    mark(done_, count, Modality::kText, -1);
  }

  void add_grid(const Segment& segment) {
    anchor(done_, segment.tokens(), base_);
    Grid grid = segment.grid;
    grid.number = rasters_;
    base_ = design_.place(grid, base_, rows());
    const Modality modality = segment.kind == Segment::Kind::kVideo ? Modality::kVideo : Modality::kImage;
    const int64_t frame = segment.grid.h * segment.grid.w;
    for (int64_t tau = 0; tau < segment.grid.t; ++tau) mark(done_ + tau * frame, frame, modality, rasters_++);
  }

  void add_merged(const Segment& segment) {
    anchor(done_, segment.tokens(), base_);
    base_ = design_.place_merged(numbered(segment), base_, rows());
    const int64_t frame = segment.grid.h * segment.grid.w;
    const Modality modality = segment.grid.t > 1 ? Modality::kVideo : Modality::kImage;
    int64_t token = done_;
    for (const std::vector<int64_t>& members : segment.members) {
      mark(token++, 1, modality, rasters_ + static_cast<int32_t>(members.front() / frame));
    }
    rasters_ += static_cast<int32_t>(segment.grid.t);
  }

  void add_anyres(const Segment& segment) {
    anchor(done_, segment.tokens(), base_);
    base_ = design_.place_anyres(numbered(segment), base_, rows());
    const int64_t thumbnail = segment.grid.tokens();
    mark(done_, thumbnail, Modality::kImage, rasters_++);
    int64_t at = done_ + thumbnail;
    const int32_t high = rasters_++;
    if (segment.single_tile) mark(at, segment.newline_tokens(), Modality::kNewline, high);
    for (int64_t row = 0; row < segment.high_h; ++row) {
      mark(at, segment.high_w, Modality::kHighRes, high);
      at += segment.high_w;
      if (segment.newline) mark(at++, 1, Modality::kNewline, high);
    }
  }

  // Each grid is a raster of its own; what stands between grids is text. Grids that touch are one run and have
  // the anchor of its first, as a picture without pieces has one anchor.
  void add_pieces(const Segment& segment) {
    std::vector<double> bases;
    bases.reserve(segment.pieces.size());
    base_ = design_.place_pieces(numbered(segment), base_, rows(), bases);
    int64_t at = done_;
    for (size_t i = 0; i < segment.pieces.size(); ++i) {
      const Piece& piece = segment.pieces[i];
      if (!piece.is_grid()) {
        anchor_text(at, piece.tokens, bases[i]);
        mark(at, piece.tokens, Modality::kText, -1);
      } else {
        const bool continues = anchors_ != nullptr && at > done_ && visual(at - 1);
        anchor(at, piece.tokens, continues ? anchors_[at - 1] : bases[i]);
        mark(at, piece.tokens, piece.role == Piece::Role::kThumbnail ? Modality::kImage : Modality::kHighRes,
             rasters_++);
      }
      at += piece.tokens;
    }
  }

  const PositionDesign& design_;
  int64_t tokens_ = 0, axes_ = 1, done_ = 0;
  int32_t rasters_ = 0;
  double base_ = 0;
  Positions positions_;
  double* coordinates_ = nullptr;
  double* anchors_ = nullptr;
  uint8_t* modality_ = nullptr;
  int32_t* raster_ = nullptr;
};

int64_t sum_of(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

}  // namespace

double Positions::largest() const {
  return coordinates.numel() == 0 ? -1.0 : coordinates.max().item<double>();
}

Scheme::Scheme(const std::string& text) : text_(text) {
  const std::vector<SchemePart> parts = parse_scheme_parts(text);
  for (const SchemePart& part : parts) design_ = part.definition->make(part.parameters, design_);
  if (anchored() && design_->ruled()) {
    throw UsageError("scheme \"{}\": dipe and {} both change the attention itself and exclude each other",
                     text, parts.front().definition->name);
  }
  const SchemePart& design = parts.front();
  allocation_ = &find_allocation(design.allocation.empty() ? design.definition->allocation(design.parameters)
                                                           : design.allocation);
  if (!allocation_->takes_rows(axes())) {
    throw UsageError("scheme \"{}\": the allocation {} needs {} coordinates, and {} has {}", text,
                     allocation_->name, allocation_->rows == 3 ? "three" : "several", design.definition->name,
                     axes() == 1 ? "one" : std::to_string(axes()));
  }
  parameters_ = design.parameters;
  // Allocations with a fixed pattern (mmrope, cyclic) ignore sections, as the public code does.
  const int64_t sections = allocation_->sections > 0 ? allocation_->sections : std::max<int64_t>(axes(), 1);
  sections_ = design.parameters.integers("sections", static_cast<size_t>(axes() == 1 ? 3 : sections));
  base_scale_ = design.parameters.positive("base_scale", 1.0);
  log_freq_scale_ = design.parameters.positive("log_freq_scale", 1.0);
}

Positions Scheme::positions(const Layout& layout, std::optional<int64_t> layer, int64_t layers) const {
  const auto at_layer = layer ? design_->at_layer(*layer, layers) : nullptr;
  Positions result = Placement(at_layer ? *at_layer : *design_, layout).finish();
  if (const auto generating = design_->generates_with())
    result.next = Placement(*generating, layout).finish().next;
  return result;
}

at::Tensor Scheme::generated_positions(const Positions& prompt, int64_t first, int64_t count) const {
  const at::Tensor ids = at::arange(first, first + count, at::kDouble).add(prompt.next);
  at::Tensor result = ids.unsqueeze(0).repeat({axes(), 1});
  if (design_->text_spatial_zero()) result.narrow(0, 1, axes() - 1).zero_();
  return result;
}

double Scheme::rope_theta(double theta) const { return std::pow(theta * base_scale_, 1.0 / log_freq_scale_); }

Frequencies Scheme::frequencies(const RopeConfig& config, int64_t head_dim, int64_t kv_heads,
                                int64_t max_position_embeddings, double sequence_length) const {
  RopeConfig scaled = config;
  if (base_scale_ != 1 || log_freq_scale_ != 1) scaled.theta = rope_theta(config.theta);
  const std::vector<std::string> rows = row_names();
  const bool by_row = differs_by_row(scaled);
  Frequencies result = make_frequencies(by_row ? config_of_row(scaled, rows.front()) : scaled, head_dim,
                                        max_position_embeddings, sequence_length);
  const int64_t channels = result.inv_freq.size(0), total = allocation_->per_head ? kv_heads : channels;
  Sections sections = sections_;
  if (const auto own = design_->default_sections(total); !sections && !own.empty()) sections = own;
  allocate_channels(*allocation_, {sections, axes(), channels, kv_heads, text_, &parameters_}, result);
  if (by_row && result.weights.defined()) {
    throw UsageError(
        "scheme {}: rope scaling \"per-axis\": expected channels that follow one row each, found weights over "
        "several",
        text_);
  }
  if (by_row) {
    result = frequencies_by_row(scaled, rows, result.axis, text_, head_dim, max_position_embeddings,
                                sequence_length);
  }
  // A table without any rotation must not scale either.
  if (allocation_->name == "none") result.attention_scale = 1.0;
  return result;
}

std::optional<int64_t> Scheme::sectioned_heads() const {
  if (!allocation_->per_head) return std::nullopt;
  return sections_ ? sum_of(*sections_) : 8;
}

std::optional<int64_t> Scheme::sectioned_channels() const {
  if (allocation_->per_head || !sections_) return std::nullopt;
  return sum_of(*sections_);
}

std::vector<std::string> Scheme::files() const {
  if (!parameters_.has("weights")) return {};
  return {parameters_.text("weights", "")};
}

at::Tensor allowed_pairs(const Scheme& scheme, const Positions& positions) {
  const at::Tensor order = at::arange(positions.tokens(), at::kLong);
  const auto rule = scheme.attention_rule(positions, /*heads=*/1);
  return rule ? rule->hidden(order).logical_not() : order.unsqueeze(0).le(order.unsqueeze(1));
}

at::Tensor bias_of_pairs(const Scheme& scheme, const Positions& positions, int64_t heads) {
  const auto rule = scheme.attention_rule(positions, heads);
  if (!rule) return {};
  const at::Tensor order = at::arange(positions.tokens(), at::kLong), bias = rule->bias(order);
  return bias.defined() ? bias.masked_fill(rule->hidden(order).unsqueeze(0), 0.0) : bias;
}

}  // namespace ropescope
