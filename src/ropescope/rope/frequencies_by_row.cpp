#include "ropescope/rope/frequencies_by_row.h"

#include <algorithm>

#include <fmt/ranges.h>

#include <ATen/ops/where.h>

#include "ropescope/core/errors.h"

namespace ropescope {

Frequencies frequencies_by_row(const RopeConfig& config, const std::vector<std::string>& rows,
                               const at::Tensor& axis, const std::string& what, int64_t head_dim,
                               int64_t max_position_embeddings, double sequence_length) {
  for (const std::string& name : rows_named(config)) {
    if (std::find(rows.begin(), rows.end(), name) != rows.end()) continue;
    throw UsageError(
        "scheme {}: rope scaling \"per-axis\": expected settings for the scheme's rows ({}), found some for \"{}\". "
        "Try: {}",
        what, fmt::join(rows, ", "), name,
        rows.size() == 1
            ? "a scheme with several rows, like mrope (t, h, w) or xd-rope (p, w, h, n)"
            : "ropescope positions --scheme S --layout text:1 --json, which names a scheme's rows");
  }
  const at::Tensor first = axis.select(0, 0);
  if (!axis.eq(first.unsqueeze(0)).all().item<bool>()) {
    throw UsageError(
        "scheme {}: rope scaling \"per-axis\": expected channels that follow the same row in all heads, found heads that "
        "differ",
        what);
  }
  Frequencies result;
  for (size_t row = 0; row < rows.size(); ++row) {
    const RopeConfig of_row = config_of_row(config, rows[row]);
    const Frequencies own = make_frequencies(of_row, head_dim, max_position_embeddings, sequence_length);
    if (row == 0) {
      result = own;
      continue;
    }
    if (own.inv_freq.size(0) != result.inv_freq.size(0) || own.attention_scale != result.attention_scale) {
      throw UsageError(
          "scheme {}: rope scaling \"per-axis\": expected rows of as many channels and one attention factor, found {} "
          "channels times {:g} of row {} and {} times {:g} of row {}. Try: \"attention_factor\" in their settings",
          what, result.inv_freq.size(0), result.attention_scale, rows[0], own.inv_freq.size(0),
          own.attention_scale, rows[row]);
    }
    result.inv_freq =
        at::where(first.eq(static_cast<int64_t>(row)), own.inv_freq, result.inv_freq).contiguous();
  }
  result.axis = axis;
  return result;
}

}  // namespace ropescope
