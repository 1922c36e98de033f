#include "ropescope/train/sampler.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <utility>

#include <boost/random/uniform_int_distribution.hpp>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/core/random.h"

namespace ropescope {

namespace {

const std::array<std::pair<const char*, SamplerKind>, 3> kNames = {
    {{"sequential", SamplerKind::kSequential},
     {"random", SamplerKind::kRandom},
     {"group_by_modality_length", SamplerKind::kGroupByModalityLength}}};

// Separates the sampler's stream from other uses of the run's seed.
constexpr uint64_t kSamplerStream = 0x5A3B1E5;

Permutation seeded_permutation(uint64_t seed, int64_t epoch) {
  return [rng = make_rng(seed, {kSamplerStream, static_cast<uint64_t>(epoch)})](int64_t count) mutable {
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), int64_t{0});
    // (std::shuffle differs between standard libraries)
    for (int64_t i = count - 1; i > 0; --i) {
      const int64_t other = boost::random::uniform_int_distribution<int64_t>(0, i)(rng);
      std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(other)]);
    }
    return order;
  };
}

/// Rows of one megabatch, longest first, in the order of the ranks.
std::vector<int64_t> deal(const std::vector<int64_t>& rows, std::span<const int64_t> lengths, int64_t ranks) {
  const auto parts = static_cast<size_t>(ranks);
  std::vector<std::vector<int64_t>> dealt(parts);
  if (rows.size() % parts != 0) {
    for (size_t i = 0; i < rows.size(); ++i) dealt[i % parts].push_back(rows[i]);
  } else {
    std::vector<int64_t> sums(parts, 0);
    for (const int64_t row : rows) {
      const auto shortest = static_cast<size_t>(std::min_element(sums.begin(), sums.end()) - sums.begin());
      dealt[shortest].push_back(row);
      sums[shortest] += lengths[static_cast<size_t>(row)];
      const bool full = dealt[shortest].size() == rows.size() / parts;
      if (full) sums[shortest] = std::numeric_limits<int64_t>::max();
    }
  }
  std::vector<int64_t> order;
  for (const auto& part : dealt) order.insert(order.end(), part.begin(), part.end());
  return order;
}

/// Megabatches of one modality: positions in `lengths`.
std::vector<std::vector<int64_t>> megabatches(std::span<const int64_t> lengths, int64_t batch, int64_t ranks,
                                              const Permutation& permutation) {
  const std::vector<int64_t> shuffled = permutation(static_cast<int64_t>(lengths.size()));
  const auto size = static_cast<size_t>(batch * ranks);
  std::vector<std::vector<int64_t>> all;
  for (size_t first = 0; first < shuffled.size(); first += size) {
    const size_t last = std::min(first + size, shuffled.size());
    std::vector<int64_t> rows(shuffled.begin() + static_cast<std::ptrdiff_t>(first),
                              shuffled.begin() + static_cast<std::ptrdiff_t>(last));
    std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) {
      return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
    });
    all.push_back(deal(rows, lengths, ranks));
  }
  return all;
}

/// Rows of one modality, and their lengths made positive.
struct RowsOfModality {
  std::vector<int64_t> rows, lengths;

  std::vector<std::vector<int64_t>> megabatches_of_rows(int64_t batch, int64_t ranks,
                                                        const Permutation& permutation) const {
    auto all = megabatches(lengths, batch, ranks, permutation);
    for (auto& megabatch : all) {
      for (int64_t& row : megabatch) row = rows[static_cast<size_t>(row)];
    }
    return all;
  }
};

}  // namespace

SamplerKind parse_sampler(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, kind] : kNames) {
    if (name == known) return kind;
    names.emplace_back(known);
  }
  const std::string near = nearest_name(name, names);
  throw UsageError("--sampler: expected sequential, random or group_by_modality_length, found \"{}\"{}", name,
                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
}

std::string sampler_name(SamplerKind kind) {
  for (const auto& [name, value] : kNames) {
    if (value == kind) return name;
  }
  throw InternalError("sampler_name: no such sampler");
}

std::vector<int64_t> group_by_modality_length(std::span<const int64_t> lengths, int64_t batch, int64_t ranks,
                                              const Permutation& permutation) {
  if (batch < 1 || ranks < 1) {
    throw UsageError("group_by_modality_length: expected a batch and ranks of at least 1, found {} and {}",
                     batch, ranks);
  }
  RowsOfModality images, texts;
  for (size_t row = 0; row < lengths.size(); ++row) {
    if (lengths[row] == 0) throw InputError("group_by_modality_length: row {} has length 0", row);
    RowsOfModality& modality = lengths[row] > 0 ? images : texts;
    modality.rows.push_back(static_cast<int64_t>(row));
    modality.lengths.push_back(std::abs(lengths[row]));
  }
  std::vector<int64_t> order;
  const auto append = [&](const std::vector<int64_t>& rows) {
    order.insert(order.end(), rows.begin(), rows.end());
  };
  if (images.rows.empty() || texts.rows.empty()) {
    for (const auto& megabatch : megabatches(lengths, batch, ranks, permutation)) append(megabatch);
    return order;
  }
  auto full = images.megabatches_of_rows(batch, ranks, permutation);
  auto of_texts = texts.megabatches_of_rows(batch, ranks, permutation);
  std::vector<int64_t> tail = std::move(full.back());
  full.pop_back();
  tail.insert(tail.end(), of_texts.back().begin(), of_texts.back().end());
  of_texts.pop_back();
  full.insert(full.end(), std::make_move_iterator(of_texts.begin()), std::make_move_iterator(of_texts.end()));
  for (const int64_t i : permutation(static_cast<int64_t>(full.size()))) append(full[static_cast<size_t>(i)]);
  std::sort(tail.begin(), tail.end());
  append(tail);
  return order;
}

Sampler::Sampler(std::vector<int64_t> lengths, const Settings& settings)
    : lengths_(std::move(lengths)), settings_(settings) {
  if (lengths_.empty()) throw InputError("training data: expected at least one row, found none");
  if (settings_.micro_batch < 1 || settings_.accumulation < 1) {
    throw UsageError("--batch-size, --accumulation: expected at least 1, found {} and {}",
                     settings_.micro_batch, settings_.accumulation);
  }
}

int64_t Sampler::steps_per_epoch() const {
  const int64_t batch = settings_.micro_batch * settings_.accumulation;
  return (rows() + batch - 1) / batch;
}

std::vector<int64_t> Sampler::order(int64_t epoch) const {
  const Permutation permutation = seeded_permutation(settings_.seed, epoch);
  switch (settings_.kind) {
    case SamplerKind::kRandom:
      return permutation(rows());
    case SamplerKind::kGroupByModalityLength:
      return group_by_modality_length(lengths_, settings_.micro_batch, settings_.accumulation, permutation);
    case SamplerKind::kSequential:
      break;
  }
  std::vector<int64_t> all(lengths_.size());
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

std::vector<std::vector<int64_t>> Sampler::micro_batches(int64_t step) {
  const int64_t epoch = step / steps_per_epoch();
  if (epoch != cached_epoch_) {
    cached_order_ = order(epoch);
    cached_epoch_ = epoch;
  }
  const int64_t batch = settings_.micro_batch * settings_.accumulation;
  const int64_t begin = (step % steps_per_epoch()) * batch, end = std::min(begin + batch, rows());
  std::vector<std::vector<int64_t>> micro;
  for (int64_t first = begin; first < end; first += settings_.micro_batch) {
    const int64_t last = std::min(first + settings_.micro_batch, end);
    micro.emplace_back(cached_order_.begin() + first, cached_order_.begin() + last);
  }
  return micro;
}

}  // namespace ropescope
