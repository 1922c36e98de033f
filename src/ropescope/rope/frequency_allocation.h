// Which coordinate turns which channel: the "frequency allocation" of arXiv 2510.23095.
// h = rotary dimension / 2 channels; axis 0 t, 1 h, 2 w, -1 the channel does not rotate.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// Sections n_t/n_h/n_w where the user gave them: channels that sum to h, or KV heads (`heads`).
using Sections = std::optional<std::vector<int64_t>>;

/// A rule for dividing channels.
struct FrequencyAllocation {
  std::string name;
  std::string rule;       ///< one sentence for --list
  bool per_head = false;  ///< the division is of KV heads, not channels
  bool takes_sections = false;
  /// Fills axis[head][channel], given sections that are already checked (or defaults).
  void (*divide)(const std::vector<int64_t>& sections, std::vector<std::vector<int64_t>>& axis);
};

const std::vector<FrequencyAllocation>& frequency_allocations();
/// Throws UsageError naming what exists.
const FrequencyAllocation& find_allocation(const std::string& name);

/// axis [kv_heads or 1, channels] int64, as Frequencies::axis. `what` names the scheme in errors. Default
/// sections are those of the papers, scaled: t/h/w = 1/4, 3/8, 3/8 of the channels (16/24/24 of 64) for
/// chunked forms and VideoRoPE, 3/8, 5/16, 5/16 (24/20/20 of 64) for interleaved ones, 2/3/3 of 8 heads.
/// Throws UsageError for sections that do not sum to the channels, or are not positive where the rule needs
/// that.
at::Tensor allocate_axes(const FrequencyAllocation& allocation, const Sections& sections, int64_t channels,
                         int64_t kv_heads, const std::string& what);

}  // namespace ropescope
