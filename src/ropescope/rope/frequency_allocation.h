// Which coordinates turn which channel: the "frequency allocation" of arXiv 2510.23095.
// h = rotary dimension / 2 channels. Most rules let a channel follow one row of the coordinates; a rule may give it a
// vector of weights over rows instead, angle_i = f_i sum_a w_ia p_a.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/rope/frequencies.h"
#include "ropescope/rope/parameters.h"

namespace ropescope {

/// Sections where the user gave them, in the order of the rows: channels that sum to h, or KV heads (`per_head`).
using Sections = std::optional<std::vector<int64_t>>;

/// What is divided.
struct Division {
  Sections sections;
  int64_t rows = 3;  ///< of the coordinates
  int64_t channels = 0, kv_heads = 1;
  std::string what;                        ///< the scheme, in errors
  const Parameters* parameters = nullptr;  ///< the design's; null: none given
};

/// Numbers by [kv_heads or 1][channels].
using RowOfChannel = std::vector<std::vector<int64_t>>;
/// Numbers by [channels][rows].
using WeightsOfChannel = std::vector<std::vector<double>>;

/// A rule for dividing channels.
struct FrequencyAllocation {
  std::string name;
  std::string rule;       ///< one sentence for --list
  int64_t rows = 0;       ///< how many coordinates it needs; 0: any number above 1, -1: any number
  bool per_head = false;  ///< the division is of KV heads, not channels
  int64_t sections = -1;  ///< how many sections it takes: -1 none, 0 one a row
  /// Fills axis[head][channel] with the row that turns the channel, -1 for none; sections are checked, or defaults.
  void (*divide)(const Division& division, const std::vector<int64_t>& sections,
                 RowOfChannel& axis) = nullptr;
  /// In place of `divide`: weights of every channel over the rows. `heads` comes with one entry of zeros, which serves
  /// all key/value heads, and may be given one a head.
  void (*weigh)(const Division& division, std::vector<WeightsOfChannel>& heads) = nullptr;

  bool takes_rows(int64_t count) const { return rows == -1 || (rows == 0 ? count > 1 : count == rows); }
};

const std::vector<FrequencyAllocation>& frequency_allocations();
/// Throws UsageError naming what exists.
const FrequencyAllocation& find_allocation(const std::string& name);

/// Fills `axis` and `weights` of the frequencies. Default sections of three rows are those of the papers, scaled:
/// t/h/w = 1/4, 3/8, 3/8 of the channels (16/24/24 of 64) for chunked forms and VideoRoPE, 3/8, 5/16, 5/16 (24/20/20
/// of 64) for interleaved ones, 2/3/3 of 8 heads; of any other number of rows equal ones, the first taking what is left
/// over. Throws UsageError for sections that do not sum to the channels, or are not positive where the rule needs that.
void allocate_channels(const FrequencyAllocation& allocation, const Division& division,
                       Frequencies& frequencies);

}  // namespace ropescope
