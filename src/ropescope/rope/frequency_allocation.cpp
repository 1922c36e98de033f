#include "ropescope/rope/frequency_allocation.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/ranges.h>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"

namespace ropescope {

namespace {

using AxisRows = std::vector<std::vector<int64_t>>;
using Counts = std::vector<int64_t>;

void single(const Counts&, AxisRows& axis) { std::fill(axis[0].begin(), axis[0].end(), 0); }

void none(const Counts&, AxisRows& axis) { std::fill(axis[0].begin(), axis[0].end(), -1); }

void chunked(const Counts& n, AxisRows& axis) {
  for (int64_t i = 0; i < static_cast<int64_t>(axis[0].size()); ++i) {
    axis[0][static_cast<size_t>(i)] = i < n[0] ? 0 : (i < n[0] + n[1] ? 1 : 2);
  }
}

void interleaved(const Counts& n, AxisRows& axis) {
  for (int64_t i = 0; i < static_cast<int64_t>(axis[0].size()); ++i) {
    const bool h = i % 3 == 1 && i < 3 * n[1], w = i % 3 == 2 && i < 3 * n[2];
    axis[0][static_cast<size_t>(i)] = h ? 1 : (w ? 2 : 0);
  }
}

// Channel 0 stays with t in the published code, so w gets one channel less than its section says.
void videorope(const Counts& n, AxisRows& axis) {
  for (int64_t i = 0; i < static_cast<int64_t>(axis[0].size()); ++i) {
    const bool h = i % 2 == 1 && i < 2 * n[1], w = i % 2 == 0 && i >= 2 && i < 2 * n[2];
    axis[0][static_cast<size_t>(i)] = h ? 1 : (w ? 2 : 0);
  }
}

void hope(const Counts& n, AxisRows& axis) {
  videorope(n, axis);
  std::replace(axis[0].begin(), axis[0].end(), int64_t{0}, int64_t{-1});
}

void mmrope(const Counts&, AxisRows& axis) {
  constexpr std::array<int64_t, 8> pattern = {0, 0, 1, 2, 1, 2, 1, 2};
  for (size_t i = 0; i < axis[0].size(); ++i) axis[0][i] = pattern[i % pattern.size()];
}

void cyclic(const Counts&, AxisRows& axis) {
  for (size_t i = 0; i < axis[0].size(); ++i) axis[0][i] = static_cast<int64_t>(i % 3);
}

void heads(const Counts& n, AxisRows& axis) {
  for (int64_t head = 0; head < static_cast<int64_t>(axis.size()); ++head) {
    const int64_t follows = head < n[0] ? 0 : (head < n[0] + n[1] ? 1 : (head < n[0] + n[1] + n[2] ? 2 : -1));
    auto& row = axis[static_cast<size_t>(head)];
    std::fill(row.begin(), row.end(), follows);
  }
}

Counts default_sections(const FrequencyAllocation& allocation, int64_t total) {
  const int64_t spatial = allocation.per_head                ? std::max<int64_t>(1, 3 * total / 8)
                          : allocation.name == "interleaved" ? 5 * total / 16
                                                             : 3 * total / 8;
  return {total - 2 * spatial, spatial, spatial};
}

void check_sections(const FrequencyAllocation& allocation, const Counts& sections, int64_t channels,
                    int64_t kv_heads, const std::string& what) {
  const int64_t sum = std::accumulate(sections.begin(), sections.end(), int64_t{0});
  if (!allocation.per_head) {
    if (sum == channels) return;
    throw UsageError(
        "scheme {}: sections: expected {} channels in all (half the rotary dimension), found {} = {}", what,
        channels, fmt::join(sections, "/"), sum);
  }
  const bool positive = std::all_of(sections.begin(), sections.end(), [](int64_t n) { return n > 0; });
  if (!positive || sum > kv_heads) {
    throw UsageError(
        "scheme {}: sections: expected at least one key/value head for each of t/h/w and at most {} in all, "
        "found {}",
        what, kv_heads, fmt::join(sections, "/"));
  }
}

}  // namespace

const std::vector<FrequencyAllocation>& frequency_allocations() {
  static const std::vector<FrequencyAllocation> all = {
      {"single", "all channels follow the one coordinate", false, false, single},
      {"chunked", "first n_t channels t, then n_h h, then n_w w", false, true, chunked},
      {"interleaved", "channel i: h if i mod 3 = 1 and i < 3 n_h, w if i mod 3 = 2 and i < 3 n_w, else t",
       false, true, interleaved},
      {"videorope", "channel i: h if odd and i < 2 n_h, w if even and 2 <= i < 2 n_w, else t", false, true,
       videorope},
      {"hope", "as videorope, but the channels of t do not rotate", false, true, hope},
      {"mmrope", "t,t,h,w,h,w,h,w repeated", false, false, mmrope},
      {"cyclic", "t,h,w repeated", false, false, cyclic},
      {"heads", "whole key/value heads: first n_t heads t, then n_h h, then n_w w, the rest do not rotate",
       true, true, heads},
      {"none", "no channel rotates", false, false, none},
  };
  return all;
}

const FrequencyAllocation& find_allocation(const std::string& given) {
  const std::string name = given == "interleave" ? "interleaved" : given;
  std::vector<std::string> names;
  for (const FrequencyAllocation& allocation : frequency_allocations()) {
    if (allocation.name == name) return allocation;
    names.push_back(allocation.name);
  }
  const std::string near = nearest_name(name, names);
  throw UsageError("unknown frequency allocation \"{}\"{}; there are {}", given,
                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near), fmt::join(names, ", "));
}

at::Tensor allocate_axes(const FrequencyAllocation& allocation, const Sections& given, int64_t channels,
                         int64_t kv_heads, const std::string& what) {
  const int64_t total = allocation.per_head ? kv_heads : channels;
  const Counts sections = given ? *given : default_sections(allocation, total);
  if (allocation.takes_sections) check_sections(allocation, sections, channels, kv_heads, what);
  const int64_t rows = allocation.per_head ? kv_heads : 1;
  AxisRows axis(static_cast<size_t>(rows), std::vector<int64_t>(static_cast<size_t>(channels)));
  allocation.divide(sections, axis);
  at::Tensor result = at::empty({rows, channels}, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    const auto& from = axis[static_cast<size_t>(row)];
    std::copy(from.begin(), from.end(), result.data_ptr<int64_t>() + row * channels);
  }
  return result;
}

}  // namespace ropescope
