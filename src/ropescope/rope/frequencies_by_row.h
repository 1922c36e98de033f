// Frequencies where rows of the coordinates have rotary settings of their own (rope type per-axis).
#pragma once

#include <string>
#include <vector>

#include "ropescope/rope/frequencies.h"

namespace ropescope {

/// make_frequencies of the settings that the row of every channel has: inv_freq[i] is that of the row which channel i
/// follows by `axis` ([heads, h], see Frequencies; -1: that of the first row). `rows`: names of the scheme's rows, `what`:
/// its text, in errors. Throws UsageError where a named row is none of them, where channels of several heads follow
/// different rows, or where rows scale attention differently.
Frequencies frequencies_by_row(const RopeConfig& config, const std::vector<std::string>& rows,
                               const at::Tensor& axis, const std::string& what, int64_t head_dim,
                               int64_t max_position_embeddings, double sequence_length);

}  // namespace ropescope
