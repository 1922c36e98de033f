// Circle-RoPE, arXiv 2505.16416: the grid is bent onto a circle whose plane is normal to the text direction
// (1,1,1), so that all of a picture's tokens are about equally far from every text token.
#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/rope/schemes/mrope_design.h"
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

namespace {

struct Point {
  double x = 0, y = 0;
};

// The bent frames of the last few grids, before a base is added: a sequence shows many pictures of one size, and the
// trigonometry of a frame takes longer than all the rest.
class FrameMemory {
 public:
  FrameMemory() = default;
  FrameMemory(const FrameMemory&) : FrameMemory() {}
  FrameMemory& operator=(const FrameMemory&) = delete;

  /// Writes the frame to rows: a kept one, or what `make` writes there.
  template <typename Make>
  void recall(const Grid& grid, const CoordinateRows& rows, const Make& make) {
    const auto tokens = static_cast<size_t>(grid.h * grid.w);
    const std::lock_guard lock(mutex_);
    for (const Frame& frame : kept_) {
      if (frame.t != grid.t || frame.h != grid.h || frame.w != grid.w || frame.step != grid.step) continue;
      for (size_t axis = 0; axis < 3; ++axis) {
        std::copy_n(frame.ids.data() + axis * tokens, tokens, rows[axis]);
      }
      return;
    }
    make();
    if (tokens > kMostTokens) return;
    if (kept_.size() == kMostFrames) kept_.erase(kept_.begin());
    Frame frame{grid.t, grid.h, grid.w, grid.step, std::vector<double>(3 * tokens)};
    for (size_t axis = 0; axis < 3; ++axis) std::copy_n(rows[axis], tokens, frame.ids.data() + axis * tokens);
    kept_.push_back(std::move(frame));
  }

 private:
  static constexpr size_t kMostFrames = 4, kMostTokens = 1 << 14;
  struct Frame {
    int64_t t, h, w;
    double step;
    std::vector<double> ids;
  };
  std::mutex mutex_;
  std::vector<Frame> kept_;
};

class CircleDesign : public SpatialDesign {
 public:
  explicit CircleDesign(const Parameters& parameters)
      : SpatialDesign(parameters, 1.0),
        alpha_(parameters.number("alpha", -1.0)),
        to_origin_(parameters.boolean("move_to_origin", false)),
        circle_(parameters.choice("method", {"circle", "no_circle"}) == "circle") {
    const std::string radius = parameters.text("radius", "-1");
    if (radius == "auto") {
      radius_is_factor_ = true;
    } else if (radius.rfind("auto-", 0) == 0) {
      radius_is_factor_ = true;
      radius_ = Parameters(parameters.scheme(), {{"radius", radius.substr(5)}}).number("radius", 1.0);
    } else {
      radius_ = parameters.number("radius", -1.0);
    }
    if (radius_is_factor_ && radius == "auto") radius_ = 1.0;
    const std::string rate = parameters.text("dff_rate", "0");
    dff_rate_ = rate == "true" ? 1.0 : (rate == "false" ? 0.0 : parameters.number("dff_rate", 0.0));
    if (dff_rate_ < 0 || dff_rate_ > 1) parameters.refuse("dff_rate", "a number from 0 to 1");
    const std::string positive = parameters.text("move_to_positive", "false");
    to_positive_ = positive != "false";
    if (to_positive_ && positive != "auto" && positive != "true") {
      positive_offset_ = parameters.number("move_to_positive", 0.0);
    }
  }

 protected:
  double place_block(const Grid& grid, double base, const CoordinateRows& rows) const override {
    if (grid.t > 1 && (dff_rate_ > 0 || !circle_)) {
      throw UsageError(
          "scheme circlerope: dff_rate and method=no_circle are undefined for blocks of several frames, "
          "found {}",
          grid.t);
    }
    const int64_t frame = grid.h * grid.w;
    frames_.recall(grid, rows, [&] {
      place_frame(grid, rows);
      if (to_positive_) move_to_positive(frame, rows);
    });
    for (int64_t tau = grid.t - 1; tau >= 0; --tau) {
      const double shift = base + stride(grid) * static_cast<double>(tau);
      for (size_t axis = 0; axis < 3; ++axis) {
        double* const row = rows[axis];
        for (int64_t i = 0; i < frame; ++i) row[tau * frame + i] = row[i] + shift;
      }
    }
    double largest = rows[0][0];
    for (size_t axis = 0; axis < 3; ++axis) {
      largest = std::max(largest, *std::max_element(rows[axis], rows[axis] + grid.tokens()));
    }
    return largest + 1;
  }

 private:
  Point grid_point(const Grid& grid, int64_t y, int64_t x) const {
    Point point{static_cast<double>(x), static_cast<double>(y)};
    if (to_origin_) {
      point.x -= static_cast<double>(grid.w - 1) / 2;
      point.y -= static_cast<double>(grid.h - 1) / 2;
    }
    return point;
  }

  double radius(const Grid& grid) const {
    if (!radius_is_factor_) return radius_;
    const Point corner = grid_point(grid, grid.h - 1, grid.w - 1);
    const double frames = stride(grid) * static_cast<double>(grid.t - 1) / (to_origin_ ? 2 : 1);
    return radius_ * std::abs(std::max({corner.x, corner.y, frames}));
  }

  // Coordinates of frame 0 before the base is added.
  void place_frame(const Grid& grid, const CoordinateRows& rows) const {
    const Grid one{1, grid.h, grid.w};
    double lowest = kInfinity, highest = -lowest;
    // The grid's own angles wait where t will be written.
    for_each_cell(one, [&](int64_t token, int64_t, int64_t y, int64_t x) {
      if (!circle_) return;
      const Point point = grid_point(grid, y, x);
      const double angle = rows[0][token] = std::atan2(point.y, point.x);
      lowest = std::min(lowest, angle);
      highest = std::max(highest, angle);
    });
    const double r = radius(grid), turn = 2 * std::numbers::pi;
    const auto cells = static_cast<double>(grid.h * grid.w);
    for_each_cell(one, [&](int64_t token, int64_t, int64_t y, int64_t x) {
      const Point flat = grid_point(grid, y, x);
      Point bent = flat;
      if (circle_) {
        double by_angle = rows[0][token];
        if (highest > lowest) by_angle = (by_angle - lowest) / (highest - lowest) * turn;
        const double by_order = turn * static_cast<double>(token) / cells;
        const double angle = alpha_ * by_angle + (1 - alpha_) * by_order;
        bent = {r * std::cos(angle), r * std::sin(angle)};
      }
      const Point mixed{(1 - dff_rate_) * bent.x + dff_rate_ * flat.x,
                        (1 - dff_rate_) * bent.y + dff_rate_ * flat.y};
      const double sqrt2 = std::numbers::sqrt2, sqrt6 = std::sqrt(6.0);
      rows[0][token] = 2 * mixed.y / sqrt6;
      rows[1][token] = mixed.x / sqrt2 - mixed.y / sqrt6;
      rows[2][token] = -mixed.x / sqrt2 - mixed.y / sqrt6;
    });
  }

  void move_to_positive(int64_t tokens, const CoordinateRows& rows) const {
    double lowest = rows[0][0];
    for (size_t axis = 0; axis < rows.size(); ++axis) {
      lowest = std::min(lowest, *std::min_element(rows[axis], rows[axis] + tokens));
    }
    const double shift = std::abs(lowest) + positive_offset_;
    for (size_t axis = 0; axis < rows.size(); ++axis) {
      for (int64_t i = 0; i < tokens; ++i) rows[axis][i] += shift;
    }
  }

  double alpha_, radius_ = -1, dff_rate_ = 0, positive_offset_ = 0;
  bool radius_is_factor_ = false, to_origin_, circle_, to_positive_ = false;
  mutable FrameMemory frames_;
};

// Alternating geometry: some layers have the circle's ids, the others those of plain M-RoPE. Generated tokens go on from
// the circle's next on every layer.
class AlternatingDesign : public PositionDesign {
 public:
  enum class Circles { kEvenLayers, kFirstHalf, kSecondHalf };

  AlternatingDesign(std::shared_ptr<const PositionDesign> circle, std::shared_ptr<const PositionDesign> plain,
                    Circles circles, int64_t layers)
      : circle_(std::move(circle)), plain_(std::move(plain)), circles_(circles), layers_(layers) {}

  int64_t axes() const override { return 3; }
  bool text_spatial_zero() const override { return circle_->text_spatial_zero(); }
  double place(const Grid& grid, double base, const CoordinateRows& rows) const override {
    return circle_->place(grid, base, rows);
  }
  std::shared_ptr<const PositionDesign> at_layer(int64_t layer, int64_t layers) const override {
    const int64_t all = layers_ > 0 ? layers_ : layers;
    if (circles_ != Circles::kEvenLayers && all == 0) {
      throw UsageError(
          "scheme circlerope: age=first_half and age=second_half need the number of layers; expected layers=n beside "
          "layer={}",
          layer);
    }
    const bool first = layer < all / 2;
    const bool circle =
        circles_ == Circles::kEvenLayers ? layer % 2 == 0 : first == (circles_ == Circles::kFirstHalf);
    return circle ? circle_ : plain_;
  }
  std::shared_ptr<const PositionDesign> generates_with() const override { return circle_; }

 private:
  std::shared_ptr<const PositionDesign> circle_, plain_;
  Circles circles_;
  int64_t layers_;
};

// One layer of it, for a look at its ids.
class LayerOfAlternating : public DesignModifier {
 public:
  LayerOfAlternating(std::shared_ptr<const PositionDesign> shown, std::shared_ptr<const PositionDesign> whole)
      : DesignModifier(std::move(shown)), whole_(std::move(whole)) {}

  std::shared_ptr<const PositionDesign> at_layer(int64_t layer, int64_t layers) const override {
    return whole_->at_layer(layer, layers);
  }
  std::shared_ptr<const PositionDesign> generates_with() const override { return whole_->generates_with(); }

 protected:
  std::shared_ptr<const PositionDesign> with_inner(
      std::shared_ptr<const PositionDesign> inner) const override {
    return std::make_shared<LayerOfAlternating>(std::move(inner), whole_);
  }

 private:
  std::shared_ptr<const PositionDesign> whole_;
};

std::shared_ptr<const PositionDesign> make_circlerope(const Parameters& parameters,
                                                      std::shared_ptr<const PositionDesign>) {
  using Circles = AlternatingDesign::Circles;
  auto circle = std::make_shared<CircleDesign>(parameters);
  const std::string age = parameters.choice("age", {"none", "alternate", "first_half", "second_half"});
  if (age == "none") {
    for (const char* setting : {"layer", "layers"}) {
      if (parameters.has(setting))
        parameters.refuse(setting, "age=alternate, first_half or second_half beside it");
    }
    return circle;
  }
  const auto whole = std::make_shared<AlternatingDesign>(
      std::move(circle), make_mrope_design(parameters, 1.0),
      age == "alternate" ? Circles::kEvenLayers
                         : (age == "first_half" ? Circles::kFirstHalf : Circles::kSecondHalf),
      parameters.has("layers") ? parameters.integer("layers", 1, 1) : 0);
  if (!parameters.has("layer")) return whole;
  return std::make_shared<LayerOfAlternating>(whole->at_layer(parameters.integer("layer", 0, 0), 0), whole);
}

}  // namespace

extern const SchemeDefinition kCirclerope = {
    "circlerope",
    "a picture's grid is bent onto a circle normal to the text's direction; published: move_to_origin=true,"
    "radius=10,alpha=0.5",
    "Circle-RoPE, arXiv 2505.16416",
    spatial_parameters(
        "1",
        {{"radius", "-1", "a number, auto (the grid's largest coordinate) or auto-k (k times that)"},
         {"alpha", "-1", "share of the angle taken from the grid, the rest from the raster order"},
         {"move_to_origin", "false", "centre the grid on 0 first"},
         {"move_to_positive", "false", "auto, or a number: lift all coordinates above 0 (plus the number)"},
         {"dff_rate", "0", "share of the unbent grid that is mixed in; true is 1"},
         {"method", "circle", "circle, or no_circle: only tilt the grid"},
         {"age", "none",
          "layers with circle ids, the others having M-RoPE's: none (all), alternate (0, 2, 4, ...), first_half, "
          "second_half"},
         {"layer", "", "with age: show this layer's ids, instead of the circle's"},
         {"layers", "", "with age: number of layers; a model's own unless given"}}),
    chunked_allocation,
    make_circlerope,
    "",
    {}};

}  // namespace ropescope
