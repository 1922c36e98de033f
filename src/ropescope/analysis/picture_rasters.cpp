#include "ropescope/analysis/picture_rasters.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace ropescope {

bool PictureRaster::complete() const { return std::find(token.begin(), token.end(), -1) == token.end(); }

std::vector<PictureRaster> picture_rasters(const TokenPlaces& places) {
  std::map<std::tuple<int64_t, Modality, int64_t>, std::vector<size_t>> members;
  for (size_t i = 0; i < places.modality.size(); ++i) {
    if (places.row[i] >= 0) members[{places.block[i], places.modality[i], places.raster[i]}].push_back(i);
  }
  std::vector<PictureRaster> rasters;
  for (const auto& [key, own] : members) {
    PictureRaster raster;
    raster.block = std::get<0>(key);
    raster.kind = std::get<1>(key);
    for (const size_t i : own) {
      raster.rows = std::max(raster.rows, places.row[i] + 1);
      raster.columns = std::max(raster.columns, places.column[i] + 1);
    }
    raster.token.assign(static_cast<size_t>(raster.rows * raster.columns), -1);
    for (const size_t i : own) {
      raster.token[static_cast<size_t>(places.row[i] * raster.columns + places.column[i])] =
          static_cast<int64_t>(i);
    }
    rasters.push_back(std::move(raster));
  }
  const auto first = [](const PictureRaster& raster) {
    int64_t least = INT64_MAX;
    for (const int64_t token : raster.token) least = token >= 0 ? std::min(least, token) : least;
    return least;
  };
  std::sort(rasters.begin(), rasters.end(),
            [&](const PictureRaster& a, const PictureRaster& b) { return first(a) < first(b); });
  return rasters;
}

CellClass cell_class(int64_t row, int64_t column, int64_t rows, int64_t columns) {
  const int ends = int{row == 0 || row == rows - 1} + int{column == 0 || column == columns - 1};
  return ends == 2 ? CellClass::kCorner : ends == 1 ? CellClass::kEdge : CellClass::kInterior;
}

std::vector<int64_t> queries_behind_pictures(const TokenPlaces& places, std::vector<int64_t> asked) {
  int64_t last = -1;
  for (size_t i = 0; i < places.modality.size(); ++i) {
    if (is_visual(places.modality[i])) last = static_cast<int64_t>(i);
  }
  std::sort(asked.begin(), asked.end());
  asked.erase(std::unique(asked.begin(), asked.end()), asked.end());
  asked.erase(asked.begin(), std::upper_bound(asked.begin(), asked.end(), last));
  return asked;
}

}  // namespace ropescope
