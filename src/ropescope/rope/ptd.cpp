#include "ropescope/rope/ptd.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/Parallel.h>

#include "ropescope/core/log.h"
#include "ropescope/rope/visual_runs.h"

namespace ropescope {

namespace {

constexpr int64_t kMostPairs = int64_t{1} << 32;

struct Sum {
  double of_all = 0, of_following = 0;
  int64_t all = 0, following = 0;
};

class Distances {
 public:
  explicit Distances(const Positions& positions)
      : rows_(positions.coordinates.size(0)), tokens_(positions.tokens()) {
    ids_ = positions.coordinates.const_data_ptr<double>();
    anchors_ = positions.anchors.defined() ? positions.anchors.const_data_ptr<double>() : ids_;
  }

  double operator()(int64_t text, int64_t visual) const {
    const int64_t query = std::max(text, visual), key = std::min(text, visual);
    double sum = 0;
    for (int64_t row = 0; row < rows_; ++row) {
      const double difference = anchors_[row * tokens_ + query] - ids_[row * tokens_ + key];
      sum += difference * difference;
    }
    return std::sqrt(sum);
  }

 private:
  int64_t rows_, tokens_;
  const double* ids_;
  const double* anchors_;
};

/// Visual tokens of every block, ascending.
std::vector<std::vector<int64_t>> blocks_of(const Layout& layout, const uint8_t* modality) {
  std::vector<std::vector<int64_t>> blocks;
  int64_t first = 0;
  for (const Segment& segment : layout.segments) {
    std::vector<int64_t> tokens;
    for (int64_t token = first; token < first + segment.tokens(); ++token) {
      if (modality[token] != 0) tokens.push_back(token);
    }
    if (!tokens.empty()) blocks.push_back(std::move(tokens));
    first += segment.tokens();
  }
  return blocks;
}

void add_text(int64_t text, const std::vector<int64_t>& block, const Distances& distance,
              std::vector<double>& scratch, Sum& sum) {
  scratch.clear();
  double total = 0;
  for (const int64_t visual : block) {
    scratch.push_back(distance(text, visual));
    total += scratch.back();
  }
  const auto count = static_cast<int64_t>(block.size());
  const double mean = total / static_cast<double>(count);
  double spread = 0;
  for (const double one : scratch) spread += std::abs(one - mean);
  sum.of_all += spread;
  sum.all += count;
  if (text < block.back()) return;
  sum.of_following += spread;
  sum.following += count;
}

}  // namespace

PerTokenDistance per_token_distance(const Layout& layout, const Positions& positions) {
  const uint8_t* modality = positions.modality.const_data_ptr<uint8_t>();
  std::vector<int64_t> text;
  for (int64_t token = 0; token < positions.tokens(); ++token) {
    if (modality[token] == 0) text.push_back(token);
  }
  const auto texts = static_cast<int64_t>(text.size());
  const int64_t visual = positions.tokens() - texts;
  if (texts == 0 || visual == 0) return {};
  if (texts > kMostPairs / visual) {
    log_warning("PTD: {} text tokens and {} visual ones are more than {} pairs; left out", texts, visual,
                kMostPairs);
    return {};
  }
  const Distances distance(positions);
  const std::vector<std::vector<int64_t>> blocks = blocks_of(layout, modality);
  // One sum a text token, added in order: the same bits with any number of threads.
  std::vector<Sum> sums(text.size());
  at::parallel_for(0, texts, 16, [&](int64_t first, int64_t last) {
    std::vector<double> scratch;
    for (int64_t i = first; i < last; ++i) {
      for (const auto& block : blocks) {
        add_text(text[static_cast<size_t>(i)], block, distance, scratch, sums[static_cast<size_t>(i)]);
      }
    }
  });
  Sum total;
  for (const Sum& sum : sums) {
    total.of_all += sum.of_all;
    total.of_following += sum.of_following;
    total.all += sum.all;
    total.following += sum.following;
  }
  PerTokenDistance result;
  result.all = total.of_all / static_cast<double>(total.all);
  if (total.following > 0) result.following = total.of_following / static_cast<double>(total.following);
  return result;
}

}  // namespace ropescope
