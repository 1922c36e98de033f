#include "ropescope/vision/media_plan.h"

namespace ropescope {

int64_t MediaPlan::tokens() const {
  int64_t total = 0;
  for (const MediaRun& run : runs) total += run.tokens;
  return total;
}

int64_t MediaPlan::newline_tokens() const {
  int64_t total = 0;
  for (const MediaRun& run : runs) total += run.newlines;
  return total;
}

MediaPlan anyres_plan(const AnyresGeometry& geometry, const std::array<int64_t, 2>& map_hw, int64_t tile) {
  const auto [resized_w, resized_h] = geometry.resized_wh;
  const auto [width, height] = geometry.size_wh;
  const auto [rows, columns] = geometry.thumbnail_HW;
  MediaPlan plan;
  plan.size_wh = geometry.size_wh;
  plan.resized_hw = {{resized_h, resized_w}};
  plan.tiles_rows_cols = {geometry.tiles_cols_rows[1], geometry.tiles_cols_rows[0]};
  plan.tiles = plan.tiles_rows_cols[0] * plan.tiles_rows_cols[1] + 1;
  plan.thumbnail_hw = geometry.thumbnail_HW;
  plan.high_hw = map_hw;
  plan.cells = {0.0, 0.0, static_cast<double>(width) / static_cast<double>(columns),
                static_cast<double>(height) / static_cast<double>(rows)};
  if (geometry.feat_offset_rc && resized_w > 0 && resized_h > 0) {
    // The kept part of the mosaic, in pixels of the picture.
    const double pitch_w = static_cast<double>(tile) / static_cast<double>(columns);
    const double pitch_h = static_cast<double>(tile) / static_cast<double>(rows);
    const double scale_w = static_cast<double>(width) / static_cast<double>(resized_w);
    const double scale_h = static_cast<double>(height) / static_cast<double>(resized_h);
    const auto [first_row, first_column] = *geometry.feat_offset_rc;
    plan.high_cells = {
        (static_cast<double>(first_column) * pitch_w - static_cast<double>(geometry.pad_ltrb[0])) * scale_w,
        (static_cast<double>(first_row) * pitch_h - static_cast<double>(geometry.pad_ltrb[1])) * scale_h,
        static_cast<double>(geometry.feat_H1W1[1]) * pitch_w * scale_w / static_cast<double>(map_hw[1]),
        static_cast<double>(geometry.feat_H1W1[0]) * pitch_h * scale_h / static_cast<double>(map_hw[0])};
  }
  MediaRun thumbnail, map;
  thumbnail.role = MediaRun::Role::kThumbnail;
  thumbnail.h = rows;
  thumbnail.w = columns;
  thumbnail.tokens = rows * columns;
  map.role = MediaRun::Role::kTile;
  map.h = map_hw[0];
  map.w = map_hw[1];
  map.newlines = geometry.newline ? map.h : 0;
  map.tokens = map.h * map.w + map.newlines;
  plan.runs = {thumbnail, map};
  plan.anyres = geometry;
  return plan;
}

const char* media_role_name(MediaRun::Role role) {
  switch (role) {
    case MediaRun::Role::kWhole:
      return "whole";
    case MediaRun::Role::kThumbnail:
      return "thumbnail";
    case MediaRun::Role::kTile:
      return "tile";
    case MediaRun::Role::kFrames:
      return "frames";
  }
  return "";
}

}  // namespace ropescope
