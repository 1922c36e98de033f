#include "ropescope/rope/frequency_allocation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include <fmt/ranges.h>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/rope/weighted_axes.h"

namespace ropescope {

namespace {

using Counts = std::vector<int64_t>;

void single(const Division&, const Counts&, RowOfChannel& axis) {
  std::fill(axis[0].begin(), axis[0].end(), 0);
}

void none(const Division&, const Counts&, RowOfChannel& axis) {
  std::fill(axis[0].begin(), axis[0].end(), -1);
}

void chunked(const Division&, const Counts& n, RowOfChannel& axis) {
  size_t channel = 0;
  for (size_t row = 0; row < n.size(); ++row) {
    for (int64_t i = 0; i < n[row]; ++i) axis[0][channel++] = static_cast<int64_t>(row);
  }
}

void interleaved(const Division&, const Counts& n, RowOfChannel& axis) {
  for (int64_t i = 0; i < static_cast<int64_t>(axis[0].size()); ++i) {
    const bool h = i % 3 == 1 && i < 3 * n[1], w = i % 3 == 2 && i < 3 * n[2];
    axis[0][static_cast<size_t>(i)] = h ? 1 : (w ? 2 : 0);
  }
}

// Channel 0 stays with t in the published code, so w gets one channel less than its section says.
void videorope(const Division&, const Counts& n, RowOfChannel& axis) {
  for (int64_t i = 0; i < static_cast<int64_t>(axis[0].size()); ++i) {
    const bool h = i % 2 == 1 && i < 2 * n[1], w = i % 2 == 0 && i >= 2 && i < 2 * n[2];
    axis[0][static_cast<size_t>(i)] = h ? 1 : (w ? 2 : 0);
  }
}

void hope(const Division& division, const Counts& n, RowOfChannel& axis) {
  videorope(division, n, axis);
  std::replace(axis[0].begin(), axis[0].end(), int64_t{0}, int64_t{-1});
}

void mmrope(const Division&, const Counts&, RowOfChannel& axis) {
  constexpr std::array<int64_t, 8> pattern = {0, 0, 1, 2, 1, 2, 1, 2};
  for (size_t i = 0; i < axis[0].size(); ++i) axis[0][i] = pattern[i % pattern.size()];
}

void cyclic(const Division& division, const Counts&, RowOfChannel& axis) {
  for (size_t i = 0; i < axis[0].size(); ++i) axis[0][i] = static_cast<int64_t>(i) % division.rows;
}

// Channel by channel the row with the smallest placed / wanted share, never the row just taken; t comes last.
void pangu(const Division&, const Counts& n, RowOfChannel& axis) {
  Counts wanted = n, placed(n.size(), 0);
  const bool last_is_t = n.size() == 3 && n[0] > 0;
  if (last_is_t) --wanted[0];
  int64_t before = -1;
  for (size_t channel = 0; channel < axis[0].size(); ++channel) {
    int64_t best = -1;
    const auto open = [&](size_t row) { return placed[row] < wanted[row]; };
    const auto less = [&](size_t a, size_t b) { return placed[a] * wanted[b] < placed[b] * wanted[a]; };
    for (size_t row = 0; row < n.size(); ++row) {
      if (!open(row) || static_cast<int64_t>(row) == before) continue;
      if (best < 0 || less(row, static_cast<size_t>(best))) best = static_cast<int64_t>(row);
    }
    if (best < 0 && before >= 0 && open(static_cast<size_t>(before))) best = before;  // no other is open
    axis[0][channel] = best < 0 ? 0 : best;
    if (best >= 0) ++placed[static_cast<size_t>(best)];
    before = axis[0][channel];
  }
}

void check_turns(const Division& division, const Counts& n) {
  if (n[1] == n[2]) return;
  throw UsageError("scheme {}: sections: expected as many channels of h as of w, which take turns, found {}",
                   division.what, fmt::join(n, "/"));
}

// The fastest n_h + n_w channels h and w in turn, the slowest n_t ones t.
void ernie(const Division& division, const Counts& n, RowOfChannel& axis) {
  check_turns(division, n);
  const int64_t spatial = n[1] + n[2];
  for (int64_t i = 0; i < static_cast<int64_t>(axis[0].size()); ++i) {
    axis[0][static_cast<size_t>(i)] = i >= spatial ? 0 : (i % 2 == 0 ? 1 : 2);
  }
}

// The fastest n_t channels the first row, the slowest n_h + n_w the other two in turn.
void tail(const Division& division, const Counts& n, RowOfChannel& axis) {
  check_turns(division, n);
  for (int64_t i = 0; i < static_cast<int64_t>(axis[0].size()); ++i) {
    axis[0][static_cast<size_t>(i)] = i < n[0] ? 0 : ((i - n[0]) % 2 == 0 ? 1 : 2);
  }
}

// Sections that k divides are cut into k equal parts, part j following row a k + j; else channels take the 3k rows in
// turn.
void many_places(const Division& division, const Counts& n, RowOfChannel& axis) {
  const int64_t kept = division.rows / 3;
  const bool divides = std::all_of(n.begin(), n.end(), [&](int64_t count) { return count % kept == 0; });
  size_t channel = 0;
  for (int64_t row = 0; row < division.rows && divides; ++row) {
    for (int64_t i = 0; i < n[static_cast<size_t>(row / kept)] / kept; ++i) axis[0][channel++] = row;
  }
  for (; channel < axis[0].size(); ++channel)
    axis[0][channel] = static_cast<int64_t>(channel) % division.rows;
}

void heads(const Division&, const Counts& n, RowOfChannel& axis) {
  for (int64_t head = 0; head < static_cast<int64_t>(axis.size()); ++head) {
    const int64_t follows = head < n[0] ? 0 : (head < n[0] + n[1] ? 1 : (head < n[0] + n[1] + n[2] ? 2 : -1));
    auto& row = axis[static_cast<size_t>(head)];
    std::fill(row.begin(), row.end(), follows);
  }
}

Counts default_sections(const FrequencyAllocation& allocation, int64_t count, int64_t total) {
  if (count != 3) {
    Counts equal(static_cast<size_t>(count), total / count);
    equal[0] += total % count;
    return equal;
  }
  const int64_t spatial = allocation.per_head                ? std::max<int64_t>(1, 3 * total / 8)
                          : allocation.name == "interleaved" ? 5 * total / 16
                                                             : 3 * total / 8;
  return {total - 2 * spatial, spatial, spatial};
}

void check_sections(const FrequencyAllocation& allocation, const Counts& sections, const Division& division) {
  const int64_t sum = std::accumulate(sections.begin(), sections.end(), int64_t{0});
  if (!allocation.per_head) {
    const bool counts = std::all_of(sections.begin(), sections.end(), [](int64_t n) { return n >= 0; });
    if (counts && sum == division.channels) return;
    throw UsageError(
        "scheme {}: sections: expected {} channels in all (half the rotary dimension), found {} = {}",
        division.what, division.channels, fmt::join(sections, "/"), sum);
  }
  const bool positive = std::all_of(sections.begin(), sections.end(), [](int64_t n) { return n > 0; });
  if (!positive || sum > division.kv_heads) {
    throw UsageError(
        "scheme {}: sections: expected at least one key/value head for each of t/h/w and at most {} in all, "
        "found {}",
        division.what, division.kv_heads, fmt::join(sections, "/"));
  }
}

void weigh_channels(const FrequencyAllocation& allocation, const Division& division,
                    Frequencies& frequencies) {
  std::vector<WeightsOfChannel> heads(1);
  heads[0].assign(static_cast<size_t>(division.channels),
                  std::vector<double>(static_cast<size_t>(division.rows), 0.0));
  allocation.weigh(division, heads);
  const auto count = static_cast<int64_t>(heads.size());
  frequencies.axis = at::empty({count, division.channels}, at::kLong);
  frequencies.weights = at::empty({count, division.channels, division.rows}, at::kDouble);
  auto* axis = frequencies.axis.data_ptr<int64_t>();
  auto* to = frequencies.weights.data_ptr<double>();
  for (const WeightsOfChannel& weights : heads) {
    for (const std::vector<double>& of_channel : weights) {
      const auto heaviest = std::max_element(of_channel.begin(), of_channel.end(),
                                             [](double a, double b) { return std::abs(a) < std::abs(b); });
      *axis++ = *heaviest == 0 ? -1 : heaviest - of_channel.begin();
      to = std::copy(of_channel.begin(), of_channel.end(), to);
    }
  }
}

}  // namespace

const std::vector<FrequencyAllocation>& frequency_allocations() {
  static const std::vector<FrequencyAllocation> all = {
      {"single", "all channels follow the one coordinate", -1, false, -1, single},
      {"chunked", "first n_t channels t, then n_h h, then n_w w; one section a row", 0, false, 0, chunked},
      {"interleaved", "channel i: h if i mod 3 = 1 and i < 3 n_h, w if i mod 3 = 2 and i < 3 n_w, else t", 3,
       false, 0, interleaved},
      {"videorope", "channel i: h if odd and i < 2 n_h, w if even and 2 <= i < 2 n_w, else t", 3, false, 0,
       videorope},
      {"hope", "as videorope, but the channels of t do not rotate", 3, false, 0, hope},
      {"mmrope", "t,t,h,w,h,w,h,w repeated", 3, false, -1, mmrope},
      {"cyclic", "the rows in turn: channel i follows row i mod their number", 0, false, -1, cyclic},
      {"ernie", "the first n_h + n_w channels h,w in turn (n_h = n_w), then t (ERNIE-4.5-VL)", 3, false, 0,
       ernie},
      {"bailing", "as ernie (Ming)", 3, false, 0, ernie},
      {"tail", "the first n_t channels t, then h,w in turn (n_h = n_w)", 3, false, 0, tail},
      {"pangu",
       "channel by channel the row that has least of its share, never one twice running; t last (openPangu-VL)",
       0, false, 0, pangu},
      {"ppe", "the sections of t, h, w in k parts each, part j following member j", 0, false, 3, many_places},
      {"heads", "whole key/value heads: first n_t heads t, then n_h h, then n_w w, the rest do not rotate", 3,
       true, 0, heads},
      {"spiral", "channel i: the direction (i mod K) pi / K of the picture's plane (Spiral RoPE)", 3, false,
       -1, nullptr, spiral_weights},
      {"mixed", "every channel: weights over t, h, w of its own, from a file or drawn (RoPE-Mixed)", 3, false,
       -1, nullptr, mixed_weights},
      {"none", "no channel rotates", -1, false, -1, none},
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

void allocate_channels(const FrequencyAllocation& allocation, const Division& division,
                       Frequencies& frequencies) {
  if (allocation.weigh != nullptr) return weigh_channels(allocation, division, frequencies);
  const int64_t total = allocation.per_head ? division.kv_heads : division.channels;
  const int64_t count = allocation.sections > 0 ? allocation.sections : division.rows;
  const Counts sections = division.sections ? *division.sections : default_sections(allocation, count, total);
  if (allocation.sections >= 0) check_sections(allocation, sections, division);
  const int64_t heads = allocation.per_head ? division.kv_heads : 1;
  RowOfChannel axis(static_cast<size_t>(heads), std::vector<int64_t>(static_cast<size_t>(division.channels)));
  allocation.divide(division, sections, axis);
  frequencies.axis = at::empty({heads, division.channels}, at::kLong);
  frequencies.weights = at::Tensor();
  auto* to = frequencies.axis.data_ptr<int64_t>();
  for (const std::vector<int64_t>& row : axis) to = std::copy(row.begin(), row.end(), to);
}

}  // namespace ropescope
