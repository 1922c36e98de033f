// The order in which a run sees its rows. It depends on seed and epoch only, so a run that stopped goes on
// exactly where it was.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace ropescope {

enum class SamplerKind { kSequential, kRandom, kGroupByModalityLength };

/// "sequential", "random", "group_by_modality_length". Throws UsageError with the nearest name.
SamplerKind parse_sampler(const std::string& name);
std::string sampler_name(SamplerKind kind);

/// A permutation of 0 ... count - 1; asked for in a fixed order.
using Permutation = std::function<std::vector<int64_t>(int64_t count)>;

/// The order of LLaVA's `group_by_modality_length`. `lengths`: tokens of a row, negative for rows without an
/// image; never 0 (InputError). `ranks`: devices times accumulated micro-batches.
/// Within each modality: permuted, cut into megabatches of batch * ranks rows, each sorted by length (longest
/// first) and dealt to the ranks, always to the one with the smallest sum. The last megabatch of both
/// modalities comes at the very end, joined and sorted by index; the others are permuted. So every index
/// comes once and only the last megabatch mixes modalities. With one modality: permuted, cut, sorted (by
/// the signed length, as the original does) and dealt.
std::vector<int64_t> group_by_modality_length(std::span<const int64_t> lengths, int64_t batch, int64_t ranks,
                                              const Permutation& permutation);

/// Rows of a run, step by step: epochs one after the other, each cut into batches; the last batch of an epoch
/// holds what is left.
class Sampler {
 public:
  struct Settings {
    SamplerKind kind = SamplerKind::kRandom;
    int64_t micro_batch = 1;   ///< rows
    int64_t accumulation = 1;  ///< micro-batches a step
    uint64_t seed = 0;
  };

  /// `lengths`: as above, one a row; their number is the number of rows. Throws InputError without rows.
  Sampler(std::vector<int64_t> lengths, const Settings& settings);

  int64_t rows() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t steps_per_epoch() const;
  /// All rows in the order of an epoch.
  std::vector<int64_t> order(int64_t epoch) const;
  /// Micro-batches of a step (from 0), rows in each; none is empty.
  std::vector<std::vector<int64_t>> micro_batches(int64_t step);

 private:
  std::vector<int64_t> lengths_;
  Settings settings_;
  int64_t cached_epoch_ = -1;
  std::vector<int64_t> cached_order_;
};

}  // namespace ropescope
