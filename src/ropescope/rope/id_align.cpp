#include "ropescope/rope/id_align.h"

#include <algorithm>

#include <ATen/ops/_upsample_nearest_exact1d.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/round.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include "ropescope/core/errors.h"

namespace ropescope {

std::vector<std::string> resize_rule_names() { return {"nearest", "nearest-exact", "bilinear"}; }

ResizeRule parse_resize_rule(const std::string& name) {
  if (name == "nearest") return ResizeRule::kNearest;
  if (name == "nearest-exact") return ResizeRule::kNearestExact;
  if (name == "bilinear") return ResizeRule::kBilinear;
  throw UsageError("resize: expected nearest, nearest-exact or bilinear, found \"{}\"", name);
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

}  // namespace

AlignedRaster::AlignedRaster(const Grid& thumbnail, int64_t high_h, int64_t high_w, ResizeRule rule)
    : high_w_(high_w), thumbnail_w_(thumbnail.w), rule_(rule) {
  rows_ =
      rule == ResizeRule::kNearestExact ? nearest_exact(thumbnail.h, high_h) : nearest(thumbnail.h, high_h);
  columns_ =
      rule == ResizeRule::kNearestExact ? nearest_exact(thumbnail.w, high_w) : nearest(thumbnail.w, high_w);
  for (int64_t& row : rows_) row *= thumbnail.w;
  if (rule != ResizeRule::kBilinear || high_h * high_w == 0) return;
  const at::Tensor ids =
      at::arange(thumbnail.h * thumbnail.w, at::kFloat).view({1, 1, thumbnail.h, thumbnail.w});
  const at::Tensor resized = at::upsample_bilinear2d(ids, {high_h, high_w}, /*align_corners=*/false)
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
