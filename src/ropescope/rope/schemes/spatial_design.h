// What the designs with three coordinates share: frames, and the ablations of arXiv 2510.23095 as settings.
#pragma once

#include <vector>

#include "ropescope/rope/parameters.h"
#include "ropescope/rope/position_design.h"

namespace ropescope {

/// Settings of every design with three coordinates: sections, temporal_stride, text_spatial_zero, diagonal,
/// modality_interval, base_scale; followed by `more`.
std::vector<ParameterInfo> spatial_parameters(const char* temporal_stride,
                                              std::vector<ParameterInfo> more = {});

class SpatialDesign : public PositionDesign {
 public:
  /// Reads the shared settings; `temporal_stride` is the default.
  SpatialDesign(const Parameters& parameters, double temporal_stride);

  int64_t axes() const override { return 3; }
  bool text_spatial_zero() const override { return text_spatial_zero_; }
  /// place_block between two modality intervals, then moved onto the diagonal where asked.
  double place(const Grid& grid, double base, const CoordinateRows& rows) const final;

 protected:
  /// As PositionDesign::place.
  virtual double place_block(const Grid& grid, double base, const CoordinateRows& rows) const = 0;
  /// Ids between two frames: as the clip says, else the scheme's own.
  double stride(const Grid& grid) const { return grid.step > 0 ? grid.step : stride_; }

 private:
  double stride_, modality_interval_;
  bool text_spatial_zero_, diagonal_;
};

/// Calls f(token, frame, row, column) for the grid's tokens in their order.
template <typename F>
void for_each_cell(const Grid& grid, F&& f) {
  int64_t token = 0;
  for (int64_t tau = 0; tau < grid.t; ++tau) {
    for (int64_t y = 0; y < grid.h; ++y) {
      for (int64_t x = 0; x < grid.w; ++x) f(token++, tau, y, x);
    }
  }
}

/// h = t + y - floor((H-1)/2), w = t + x - floor((W-1)/2) with the t that is already written (VideoRoPE).
void centre_on_diagonal(const Grid& grid, const CoordinateRows& rows);

/// The allocation of designs that divide channels in three consecutive chunks.
inline std::string chunked_allocation(const Parameters&) { return "chunked"; }
inline std::string interleaved_allocation(const Parameters&) { return "interleaved"; }
inline std::string single_allocation(const Parameters&) { return "single"; }

}  // namespace ropescope
