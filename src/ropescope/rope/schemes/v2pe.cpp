#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

namespace {

// One coordinate, in token order: one picture is one block, with its thumbnail, high-resolution part and
// newlines.
class ShortStepDesign : public PositionDesign {
 public:
  int64_t axes() const override { return 1; }
  double place(const Grid& grid, double base, const CoordinateRows& rows) const override {
    return place_tokens(grid.tokens(), base, rows[0]);
  }
  double place_anyres(const Segment& block, double base, const CoordinateRows& rows) const override {
    return place_tokens(block.tokens(), base, rows[0]);
  }

 protected:
  /// Writes ids of `tokens` visual tokens; returns the next base.
  virtual double place_tokens(int64_t tokens, double base, double* ids) const = 0;
};

// Block form: every visual block spans S ids, whatever its size: last + S/N (j+1), last = b - 1. Summed as
// the public code does, from the first token on: the ceiling below depends on the last bit.
class SpanDesign : public ShortStepDesign {
 public:
  explicit SpanDesign(double span) : span_(span) {}

 protected:
  double place_tokens(int64_t tokens, double base, double* ids) const override {
    const double step = span_ / static_cast<double>(tokens);
    const double first = base - 1 + step;
    for (int64_t j = 0; j < tokens; ++j) ids[j] = first + step * static_cast<double>(j);
    // The sum may miss an integer by its last bits in float64, and the ceiling would then be one too high.
    return std::ceil(static_cast<float>(ids[tokens - 1])) + 1.0;
  }

 private:
  double span_;
};

// Paper form: p_1 = 0, p_i = p_{i-1} + delta for a visual token, + 1 for text; never rounded.
class StepDesign : public ShortStepDesign {
 public:
  explicit StepDesign(double delta) : delta_(delta) {}

 protected:
  double place_tokens(int64_t tokens, double base, double* ids) const override {
    // Only the first token of a sequence has no step before it, and only there is the base 0.
    const double before = base == 0 ? -delta_ : base - 1;
    for (int64_t j = 0; j < tokens; ++j) ids[j] = before + delta_ * static_cast<double>(j + 1);
    return ids[tokens - 1] + 1;
  }

 private:
  double delta_;
};

std::shared_ptr<const PositionDesign> make_v2pe(const Parameters& parameters,
                                                std::shared_ptr<const PositionDesign>) {
  if (parameters.has("delta")) {
    if (parameters.has("visual_stride")) {
      throw UsageError("scheme v2pe: expected one of delta and visual_stride, found both");
    }
    return std::make_shared<StepDesign>(parameters.positive("delta", 1.0));
  }
  return std::make_shared<SpanDesign>(parameters.positive("visual_stride", 16.0));
}

}  // namespace

extern const SchemeDefinition kV2pe = {
    "v2pe",
    "visual tokens step by less than 1: by delta each, or so that each picture spans visual_stride ids",
    "V2PE, arXiv 2412.09616",
    {{"visual_stride", "16", "ids that one picture spans (block form)"},
     {"delta", "", "step of one visual token (paper form); excludes visual_stride"}},
    single_allocation,
    make_v2pe,
    "",
    {}};

}  // namespace ropescope
