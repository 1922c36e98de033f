#include "ropescope/rope/id_align.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>

#include <ATen/ops/_upsample_nearest_exact1d.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/round.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

const std::vector<std::pair<std::string, ResizeRule>> kRules = {{"nearest", ResizeRule::kNearest},
                                                                {"nearest-exact", ResizeRule::kNearestExact},
                                                                {"bilinear", ResizeRule::kBilinear},
                                                                {"dhr", ResizeRule::kDhr},
                                                                {"dhr-column", ResizeRule::kDhrByColumn}};

}  // namespace

std::vector<std::string> resize_rule_names() {
  std::vector<std::string> names;
  for (const auto& [name, rule] : kRules) names.push_back(name);
  return names;
}

ResizeRule parse_resize_rule(const std::string& name) {
  for (const auto& [known, rule] : kRules) {
    if (known == name) return rule;
  }
  throw UsageError("resize: expected one of {}, found \"{}\"", fmt::join(resize_rule_names(), ", "), name);
}

namespace {

std::vector<int64_t> nearest(int64_t in, int64_t out) {
  std::vector<int64_t> source;
  for (int64_t i = 0; i < out; ++i) source.push_back(i * in / out);
  return source;
}

std::vector<int64_t> nearest_exact(int64_t in, int64_t out) {
  if (out == 0) return {};
  const at::Tensor index = at::arange(in, at::kFloat).view({1, 1, in});
  const at::Tensor source = at::_upsample_nearest_exact1d(index, {out}).to(at::kLong).contiguous();
  const int64_t* from = source.const_data_ptr<int64_t>();
  return {from, from + out};
}

std::vector<int64_t> dhr(int64_t cells, int64_t out) {
  const int64_t tiles = out / cells;
  std::vector<int64_t> source;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    for (int64_t j = 0; j < cells; ++j) {
      const int64_t place = (tile * (cells - 1) + j) * cells;
      source.push_back(place == 0 ? 0 : (place - 1) / (tiles * (cells - 1)));
    }
  }
  return source;
}

std::vector<int64_t> cells_along(int64_t in, int64_t out, ResizeRule rule) {
  if (rule == ResizeRule::kNearestExact) return nearest_exact(in, out);
  return rule == ResizeRule::kDhr || rule == ResizeRule::kDhrByColumn ? dhr(in, out) : nearest(in, out);
}

}  // namespace

AlignedRaster::AlignedRaster(const Grid& thumbnail, int64_t high_h, int64_t high_w,
                             const Alignment& alignment)
    : high_w_(high_w), thumbnail_w_(thumbnail.w) {
  const ResizeRule rule = alignment.resize;
  const bool tiled = rule == ResizeRule::kDhr || rule == ResizeRule::kDhrByColumn;
  if (tiled && high_h * high_w > 0 && (high_h % thumbnail.h != 0 || high_w % thumbnail.w != 0)) {
    throw UsageError(
        "rope-dhr: expected a high-resolution grid of whole tiles of the thumbnail's {}x{} tokens, found {}x{}",
        thumbnail.h, thumbnail.w, high_h, high_w);
  }
  rows_ = cells_along(thumbnail.h, high_h, rule);
  columns_ = cells_along(thumbnail.w, high_w, rule);
  for (int64_t& row : rows_) row *= thumbnail.w;
  if (high_h * high_w == 0) return;
  if (rule == ResizeRule::kDhrByColumn) mix_tiles(thumbnail, high_h);
  if (rule == ResizeRule::kBilinear) mix_rows(thumbnail, high_h);
  if (alignment.wrong.kind == WrongCells::Kind::kNone) return;
  if (mixed_.empty()) write_out(high_h);
  misplace(alignment.wrong, thumbnail.h, thumbnail.w, mixed_);
}

void AlignedRaster::write_out(int64_t high_h) {
  for (int64_t row = 0; row < high_h; ++row) {
    for (int64_t column = 0; column < high_w_; ++column) {
      mixed_.push_back(rows_[static_cast<size_t>(row)] + columns_[static_cast<size_t>(column)]);
    }
  }
}

void AlignedRaster::mix_tiles(const Grid& thumbnail, int64_t high_h) {
  const int64_t down = high_h / thumbnail.h, across = high_w_ / thumbnail.w;
  for (int64_t row = 0; row < high_h; ++row) {
    for (int64_t column = 0; column < high_w_; ++column) {
      const int64_t number = row / thumbnail.h * across + column / thumbnail.w;
      const int64_t from_row = number % down * thumbnail.h + row % thumbnail.h;
      const int64_t from_column = number / down * thumbnail.w + column % thumbnail.w;
      mixed_.push_back(rows_[static_cast<size_t>(from_row)] + columns_[static_cast<size_t>(from_column)]);
    }
  }
}

void AlignedRaster::mix_rows(const Grid& thumbnail, int64_t high_h) {
  const at::Tensor ids =
      at::arange(thumbnail.h * thumbnail.w, at::kFloat).view({1, 1, thumbnail.h, thumbnail.w});
  const at::Tensor resized = at::upsample_bilinear2d(ids, {high_h, high_w_}, /*align_corners=*/false)
                                 .round()
                                 .to(at::kLong)
                                 .contiguous();
  const int64_t* from = resized.const_data_ptr<int64_t>();
  mixed_.assign(from, from + resized.numel());
}

int64_t AlignedRaster::last_cell_of_row(int64_t row) const {
  if (high_w_ > 0) return cell(row, high_w_ - 1);
  return rows_[static_cast<size_t>(row)] + thumbnail_w_ - 1;
}

}  // namespace ropescope
