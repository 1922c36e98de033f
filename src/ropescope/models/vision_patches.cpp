#include "ropescope/models/vision_patches.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/frequencies.h"

namespace ropescope {

namespace {

at::Tensor index_tensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

// [n * L, C'] -> [n, H, L, D], a view.
at::Tensor as_batch(const at::Tensor& x_PHD, int64_t count, int64_t length) {
  return x_PHD.view({count, length, x_PHD.size(1), x_PHD.size(2)}).transpose(1, 2);
}

// Calls with row and column of every patch of a frame, in the input's order.
template <typename Visit>
void visit_patches(int64_t height, int64_t width, int64_t merge, const Visit& visit) {
  for (int64_t block_row = 0; block_row < height; block_row += merge) {
    for (int64_t block_column = 0; block_column < width; block_column += merge) {
      for (int64_t row = block_row; row < block_row + merge; ++row) {
        for (int64_t column = block_column; column < block_column + merge; ++column) visit(row, column);
      }
    }
  }
}

// The tower's order under windows, and the windows' lengths.
void add_windows(const VisionConfig& config, const PatchGrid& grid, int64_t first,
                 std::vector<int64_t>& order, std::vector<int64_t>& lengths) {
  const int64_t merge = config.merge_size, area = merge * merge, side = config.window_tokens();
  const int64_t rows = grid[1] / merge, columns = grid[2] / merge;
  for (int64_t frame = 0; frame < grid[0]; ++frame) {
    for (int64_t top = 0; top < rows; top += side) {
      for (int64_t left = 0; left < columns; left += side) {
        const int64_t bottom = std::min(top + side, rows), right = std::min(left + side, columns);
        for (int64_t row = top; row < bottom; ++row) {
          for (int64_t column = left; column < right; ++column) {
            const int64_t block = first + (frame * rows * columns + row * columns + column) * area;
            for (int64_t patch = 0; patch < area; ++patch) order.push_back(block + patch);
          }
        }
        lengths.push_back((bottom - top) * (right - left) * area);
      }
    }
  }
}

RotaryTable rotation_by_place(const VisionConfig& config, const std::vector<PatchGrid>& grids,
                              int64_t patches, const std::vector<int64_t>& order, at::Device device) {
  at::Tensor ids = at::empty({2, 1, patches}, at::kDouble);
  auto* rows = ids.mutable_data_ptr<double>();
  double* columns = rows + patches;
  int64_t place = 0;
  for (const PatchGrid& grid : grids) {
    for (int64_t frame = 0; frame < grid[0]; ++frame) {
      visit_patches(grid[1], grid[2], config.merge_size, [&](int64_t row, int64_t column) {
        rows[place] = static_cast<double>(row);
        columns[place++] = static_cast<double>(column);
      });
    }
  }
  if (!order.empty()) ids = ids.index_select(2, at::tensor(order, at::kLong));
  // Rows turn the first half of the channels, columns the second, both with the same frequencies.
  const int64_t channels = config.head_dim() / 2, half = channels / 2;
  Frequencies frequencies;
  frequencies.head_dim = config.head_dim();
  frequencies.inv_freq = at::empty({channels}, at::kDouble);
  frequencies.axis = at::empty({1, channels}, at::kLong);
  auto* inv_freq = frequencies.inv_freq.mutable_data_ptr<double>();
  auto* axis = frequencies.axis.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < channels; ++i) {
    const double exponent = 2.0 * static_cast<double>(i % half) / static_cast<double>(channels);
    inv_freq[i] = std::pow(config.rope_theta, -exponent);
    axis[i] = i / half;
  }
  return make_rotary_table(ids, frequencies, PairLayout::kHalfSplit).to(device);
}

// Rows of the table that one place reads along an axis, and their shares.
struct TableTaps {
  std::array<int64_t, 4> index{};
  std::array<double, 4> share{};
};

double cubic_near(double x) {  // |x| <= 1, a = -0.75
  return (1.25 * x - 2.25) * x * x + 1;
}

double cubic_far(double x) {  // 1 < |x| < 2
  return ((-0.75 * x + 3.75) * x - 6) * x + 3;
}

TableTaps taps_at(const VisionConfig& config, int64_t place, int64_t length) {
  const int64_t last = config.table_side - 1;
  TableTaps taps;
  if (config.positions == VisionPositions::kBilinear) {
    const double at = length == 1 ? 0 : static_cast<double>(place * last) / static_cast<double>(length - 1);
    const auto low = static_cast<int64_t>(at);
    const double share = at - static_cast<double>(low);
    taps.index = {low, std::min(low + 1, last), 0, 0};
    taps.share = {1 - share, share, 0, 0};
    return taps;
  }
  const double at = (static_cast<double>(place) + 0.5) * static_cast<double>(config.table_side) /
                        static_cast<double>(length) -
                    0.5;
  const double floor = std::floor(at), share = at - floor;
  for (int64_t i = 0; i < 4; ++i) {
    taps.index[static_cast<size_t>(i)] = std::clamp<int64_t>(static_cast<int64_t>(floor) - 1 + i, 0, last);
  }
  taps.share = {cubic_far(1 + share), cubic_near(share), cubic_near(1 - share), cubic_far(2 - share)};
  return taps;
}

std::vector<TableTaps> taps_along(const VisionConfig& config, int64_t length) {
  std::vector<TableTaps> taps;
  for (int64_t place = 0; place < length; ++place) taps.push_back(taps_at(config, place, length));
  return taps;
}

// Of one frame, [h w, C].
at::Tensor stretched(const VisionConfig& config, const at::Tensor& table, int64_t height, int64_t width) {
  const size_t most = config.positions == VisionPositions::kBilinear ? 2 : 4;
  const std::vector<TableTaps> down = taps_along(config, height), across = taps_along(config, width);
  at::Tensor sum;
  for (size_t a = 0; a < most; ++a) {
    for (size_t b = 0; b < most; ++b) {
      std::vector<int64_t> index;
      std::vector<double> share;
      index.reserve(static_cast<size_t>(height * width));
      share.reserve(index.capacity());
      visit_patches(height, width, config.merge_size, [&](int64_t row, int64_t column) {
        const TableTaps &r = down[static_cast<size_t>(row)], &c = across[static_cast<size_t>(column)];
        index.push_back(r.index[a] * config.table_side + c.index[b]);
        share.push_back(r.share[a] * c.share[b]);
      });
      const at::Tensor weight =
          at::tensor(share, at::kDouble).unsqueeze(1).to(table.device(), table.scalar_type());
      const at::Tensor part = table.index_select(0, index_tensor(index, table.device())).mul(weight);
      sum = sum.defined() ? sum.add(part) : part;
    }
  }
  return sum;
}

}  // namespace

int64_t count_patches(const std::vector<PatchGrid>& grids, int64_t merge_size) {
  constexpr int64_t kLongest = int64_t{1} << 20, kMost = int64_t{1} << 31;
  int64_t patches = 0;
  for (const auto& [t, h, w] : grids) {
    const bool sound = t > 0 && h > 0 && w > 0 && t <= kLongest && h <= kLongest && w <= kLongest;
    if (!sound || h % merge_size != 0 || w % merge_size != 0) {
      throw InputError(
          "grid_thw: expected positive numbers of frames and of patches, the latter multiples of {}, found {}x{}x{}",
          merge_size, t, h, w);
    }
    if (h * w > kMost / t || patches > kMost - t * h * w) {
      throw InputError("grid_thw: expected at most {} patches, found more", kMost);
    }
    patches += t * h * w;
  }
  return patches;
}

PatchSegments::PatchSegments(std::vector<int64_t> lengths, at::Device device) : lengths_(std::move(lengths)) {
  std::map<int64_t, std::vector<int64_t>> starts;
  int64_t first = 0;
  for (const int64_t length : lengths_) {
    starts[length].push_back(first);
    first += length;
  }
  if (starts.size() == 1) {
    groups_.push_back({starts.begin()->first, static_cast<int64_t>(starts.begin()->second.size()), {}});
    return;
  }
  std::vector<int64_t> restore(static_cast<size_t>(first));
  int64_t place = 0;
  for (const auto& [length, begins] : starts) {
    std::vector<int64_t> patches;
    for (const int64_t begin : begins) {
      for (int64_t i = 0; i < length; ++i) {
        patches.push_back(begin + i);
        restore[static_cast<size_t>(begin + i)] = place++;
      }
    }
    groups_.push_back({length, static_cast<int64_t>(begins.size()), index_tensor(patches, device)});
  }
  restore_ = index_tensor(restore, device);
}

at::Tensor PatchSegments::attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
  const auto by_patch = [](const at::Tensor& x) { return x.squeeze(0).transpose(0, 1).contiguous(); };
  const at::Tensor queries = by_patch(q), keys = by_patch(k), values = by_patch(v);
  std::vector<at::Tensor> parts;
  for (const Group& group : groups_) {
    const auto take = [&](const at::Tensor& x) {
      return as_batch(group.patches.defined() ? x.index_select(0, group.patches) : x, group.count,
                      group.length);
    };
    const at::Tensor out = at::scaled_dot_product_attention(take(queries), take(keys), take(values));
    parts.push_back(out.transpose(1, 2).reshape({group.count * group.length, q.size(1) * q.size(3)}));
  }
  const at::Tensor all = parts.size() == 1 ? parts.front() : at::cat(parts, 0);
  return (restore_.defined() ? all.index_select(0, restore_) : all).unsqueeze(0);
}

PatchPlan plan_patches(const VisionConfig& config, const std::vector<PatchGrid>& grids, at::Device device) {
  const int64_t patches = count_patches(grids, config.merge_size);
  std::vector<int64_t> frames, windows, order;
  int64_t first = 0;
  for (const PatchGrid& grid : grids) {
    frames.insert(frames.end(), static_cast<size_t>(grid[0]), grid[1] * grid[2]);
    if (config.window_size > 0) add_windows(config, grid, first, order, windows);
    first += grid[0] * grid[1] * grid[2];
  }
  PatchPlan plan{patches,
                 {},
                 {},
                 PatchSegments(frames, device),
                 PatchSegments(config.window_size > 0 ? windows : frames, device),
                 {}};
  if (!order.empty()) {
    std::vector<int64_t> restore(order.size());
    for (size_t i = 0; i < order.size(); ++i)
      restore[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
    plan.order = index_tensor(order, device);
    plan.restore = index_tensor(restore, device);
  }
  if (config.rope_theta > 0) plan.rotary = rotation_by_place(config, grids, patches, order, device);
  return plan;
}

at::Tensor stretched_positions(const VisionConfig& config, const at::Tensor& table,
                               const std::vector<PatchGrid>& grids) {
  // Shares of halves would be off by more than the features' own rounding.
  const bool half = table.scalar_type() != at::kDouble && table.scalar_type() != at::kFloat;
  const at::Tensor wide = half ? table.to(at::kFloat) : table;
  std::vector<at::Tensor> parts;
  std::map<std::pair<int64_t, int64_t>, at::Tensor> known;
  for (const auto& [t, h, w] : grids) {
    at::Tensor& frame = known[{h, w}];
    if (!frame.defined()) frame = stretched(config, wide, h, w);
    parts.push_back(t == 1 ? frame : frame.repeat({t, 1}));
  }
  const at::Tensor all = parts.size() == 1 ? parts.front() : at::cat(parts, 0);
  return half ? all.to(table.scalar_type()) : all;
}

}  // namespace ropescope
