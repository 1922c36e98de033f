#include "ropescope/rope/schemes/spatial_design.h"

#include "ropescope/core/errors.h"

namespace ropescope {

std::vector<ParameterInfo> spatial_parameters(const char* temporal_stride, std::vector<ParameterInfo> more) {
  std::vector<ParameterInfo> all = {
      {"sections", "", "t/h/w channels, or key/value heads where whole heads follow an axis"},
      {"temporal_stride", temporal_stride, "ids between two frames of a video block"},
      {"text_spatial_zero", "false", "text has h = w = 0 instead of h = w = t"},
      {"diagonal", "false", "centre the rows and columns of a block on its t id"},
      {"modality_interval", "0", "ids left free before and after a visual block"},
      {"base_scale", "1", "factor on rope_theta"},
  };
  for (ParameterInfo& info : more) all.push_back(std::move(info));
  return all;
}

SpatialDesign::SpatialDesign(const Parameters& parameters, double temporal_stride)
    : stride_(parameters.number("temporal_stride", temporal_stride)),
      modality_interval_(parameters.number("modality_interval", 0.0)),
      text_spatial_zero_(parameters.boolean("text_spatial_zero", false)),
      diagonal_(parameters.boolean("diagonal", false)) {
  if (stride_ < 0) parameters.refuse("temporal_stride", "a number of at least 0");
  if (modality_interval_ < 0) parameters.refuse("modality_interval", "a number of at least 0");
}

double SpatialDesign::place(const Grid& grid, double base, const CoordinateRows& rows) const {
  const double next = place_block(grid, base + modality_interval_, rows);
  if (diagonal_) centre_on_diagonal(grid, rows);
  return next + modality_interval_;
}

void centre_on_diagonal(const Grid& grid, const CoordinateRows& rows) {
  const auto row_centre = static_cast<double>((grid.h - 1) / 2);
  const auto column_centre = static_cast<double>((grid.w - 1) / 2);
  for_each_cell(grid, [&](int64_t token, int64_t, int64_t y, int64_t x) {
    rows[1][token] = rows[0][token] + static_cast<double>(y) - row_centre;
    rows[2][token] = rows[0][token] + static_cast<double>(x) - column_centre;
  });
}

}  // namespace ropescope
