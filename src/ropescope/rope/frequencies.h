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

/// How the frequencies of a longer context are made. Names as in a Hugging Face config; each has a file in scaling/.
enum class RopeType {
  kDefault,
  kLinear,
  kDynamic,
  kNtk,
  kYarn,
  kLlama3,
  kProportional,
  kLongrope,
  kCope,
  kPerAxis,
  kNtkSpan,
  kMean,
  kFope
};

/// "default", "linear", ..., also under another name that files have ("su", "xdrope"); throws UsageError naming what
/// exists.
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
  std::optional<double> alpha;                           ///< dynamic: a fixed base in place of k and M
  int64_t channels = 20;                                 ///< cope: how many of the slowest are damped
  bool hard = false;                                     ///< cope: those stand still
  std::optional<int64_t> kept;                           ///< fope: how many of the fastest turn; none: M says
  /// cope: what is applied first, if anything; mean: what is averaged; per-axis: one for each row of `names`. Theta and
  /// partial_rotary_factor of a part do not count, the whole's do.
  std::vector<RopeConfig> parts;
  std::vector<std::string> names;  ///< per-axis: rows of the coordinates
  bool operator==(const RopeConfig&) const = default;
};

/// Whether the frequencies change with the length of a run (dynamic NTK, longrope, what is made of them): keys that were
/// rotated for a shorter one do not fit a longer one, and sequences of several lengths cannot share a table.
bool depends_on_length(const RopeConfig& config);

/// The shortest length (largest id + 1) beyond which they change; none where depends_on_length is false.
/// `max_position_embeddings` stands in where settings have no original one.
std::optional<int64_t> length_of_change(const RopeConfig& config, int64_t max_position_embeddings);

/// Whether rows of the coordinates have settings of their own (per-axis, what is made of it).
bool differs_by_row(const RopeConfig& config);
/// The settings of the channels that follow `row`, and the rows that are named; unnamed rows have none.
RopeConfig config_of_row(const RopeConfig& config, const std::string& row);
std::vector<std::string> rows_named(const RopeConfig& config);

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
///   ntk-span      base theta ((kM-1)/(M-1))^(d/(d-2))                       (VideoRoPE++, arXiv 2502.05173)
///   dynamic       base theta (k n/M - (k-1))^(d/(d-2)), n = max(sequence_length, M); theta alpha^(d/(d-2)) with alpha
///   yarn          f/k * ramp + f * (1 - ramp), times an attention factor    (arXiv 2309.00071)
///   llama3        by wavelength: kept, divided by k, or between             (Llama 3.1)
///   longrope      f_i / long_factor[i] where n > M, else f_i / short_factor[i]; cos and sin of both times
///                 sqrt(1 + ln s / ln M), s = k, or max_position_embeddings / M where k is 1 (arXiv 2402.13753)
///   proportional  f over the whole head_dim, 0 beyond the share partial_rotary_factor; divided by k
///   cope          the slowest `channels` of what comes first damped to 0    (CoPE)
///   mean          of the parts, channel by channel
///   fope          f where f > 2 pi / M, or the first `kept`; else 0         (arXiv 2412.17739)
///   per-axis      by row of the coordinates: Scheme::frequencies; here a UsageError
/// All but proportional use d = int(head_dim * partial_rotary_factor).
/// `max_position_embeddings`: trained length M where the config has no original one; 0 = unknown.
/// `sequence_length`: largest position id + 1 of the run, may be fractional; only the types that depends_on_length names ask it.
/// Throws InputError for impossible settings (odd rotary dimension, factor <= 0, missing M, ...).
Frequencies make_frequencies(const RopeConfig& config, int64_t head_dim, int64_t max_position_embeddings,
                             double sequence_length);

}  // namespace ropescope
