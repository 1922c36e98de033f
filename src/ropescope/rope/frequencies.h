// Inverse frequencies of rotary position embedding and their context scaling.
// Notation  d rotary dimension, h = d/2 channels, f_i = theta^(-2i/d), i = 0..h-1 (RoFormer, arXiv
// 2104.09864). All values are float64: half-precision frequencies are wrong by order 1 after a thousand
// tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// How the frequencies of a longer context are made. Names as in a Hugging Face config.
enum class RopeType { kDefault, kLinear, kDynamic, kNtk, kYarn, kLlama3, kProportional, kLongrope };

/// "default", "linear", ...; throws UsageError naming what exists.
RopeType parse_rope_type(const std::string& name);
std::string rope_type_name(RopeType type);

/// Rotary settings of a checkpoint (its `rope_theta`, `rope_scaling` or `rope_parameters`) or of the command
/// line.
struct RopeConfig {
  double theta = 10000.0;
  RopeType type = RopeType::kDefault;
  double factor = 1.0;  ///< k: how much longer the context is
  std::optional<int64_t>
      original_max_position_embeddings;    ///< M, tokens: trained length (yarn, llama3, dynamic, longrope)
  std::optional<double> attention_factor;  ///< yarn, longrope: overrides the factor that k gives
  std::optional<double> mscale, mscale_all_dim;          ///< yarn: DeepSeek's pair, overrides 0.1 ln k + 1
  double beta_fast = 32.0, beta_slow = 1.0;              ///< yarn
  bool truncate = true;                                  ///< yarn: floor and ceil the ramp's bounds
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  ///< llama3
  std::vector<double> short_factor, long_factor;         ///< longrope: divisors, one a channel
  double partial_rotary_factor = 1.0;                    ///< share of head_dim that is rotated
  bool operator==(const RopeConfig&) const = default;
};

/// Whether the frequencies change with the length of a run (dynamic NTK, longrope): keys that were rotated for a
/// shorter one do not fit a longer one, and sequences of several lengths cannot share a table.
bool depends_on_length(const RopeConfig& config);

/// Frequencies ready for a table: channel i turns by inv_freq[i] * sum_a weights[i][a] * coordinate[a].
/// inv_freq: [rotary_dim/2] float64. axis: [kv_heads or 1, rotary_dim/2] int64; the row of the coordinates that
/// turns the channel, -1 = the channel does not rotate (its angle is 0). weights: [kv_heads or 1, rotary_dim/2, rows]
/// float64 where a channel follows several rows; then `axis` names its heaviest one. Undefined: 1 on `axis`, else 0.
/// attention_scale multiplies cos and sin of every channel (scores by its square).
struct Frequencies {
  at::Tensor inv_freq;
  at::Tensor axis;
  at::Tensor weights = {};
  double attention_scale = 1.0;
  int64_t head_dim = 0;

  /// `weights` written out, for coordinates of so many rows: [kv_heads or 1, rotary_dim/2, rows] float64.
  at::Tensor row_weights(int64_t rows) const;
};

/// Frequencies of `config` for one coordinate (all channels on axis 0).
///   linear        f / k
///   ntk           base theta k^(d/(d-2))                                   ("NTK-aware", bloc97)
///   dynamic       base theta (k n/M - (k-1))^(d/(d-2)), n = max(sequence_length, M)
///   yarn          f/k * ramp + f * (1 - ramp), times an attention factor    (arXiv 2309.00071)
///   llama3        by wavelength: kept, divided by k, or between             (Llama 3.1)
///   longrope      f_i / long_factor[i] where n > M, else f_i / short_factor[i]; cos and sin of both times
///                 sqrt(1 + ln s / ln M), s = k, or max_position_embeddings / M where k is 1 (arXiv 2402.13753)
///   proportional  f over the whole head_dim, 0 beyond the share partial_rotary_factor; divided by k
/// All but proportional use d = int(head_dim * partial_rotary_factor).
/// `max_position_embeddings`: trained length M where the config has no original one; 0 = unknown.
/// `sequence_length`: largest position id + 1 of the run, may be fractional; only the types that depends_on_length names ask it.
/// Throws InputError for impossible settings (odd rotary dimension, factor <= 0, missing M, ...).
Frequencies make_frequencies(const RopeConfig& config, int64_t head_dim, int64_t max_position_embeddings,
                             double sequence_length);

}  // namespace ropescope
