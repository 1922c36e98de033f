// Byte-pair merging: which neighbours join, in what order, and the joining of one word's symbols.
// Source: Sennrich et al. 2016, arXiv 1508.07909.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ropescope {

/// A word's symbols while they merge; reusable, one for each thread.
struct MergeScratch {
  struct Symbol {
    int32_t id;
    int32_t previous;  ///< -1: first
    int32_t next;      ///< -1: last
  };
  struct Candidate {
    uint32_t rank;
    int32_t left;     ///< index of the left symbol
    int32_t left_id;  ///< ids when the candidate was made: it is stale if either symbol has changed since
    int32_t right_id;
    int32_t merged_id;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;

  void clear() { symbols.clear(); }
  void push(int32_t id) {
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1});
  }
};

/// Immutable once filled.
class MergeTable {
 public:
  struct Merge {
    uint64_t pair;  ///< left id << 32 | right id; kNoPair: empty slot
    uint32_t rank;
    int32_t merged_id;
  };

  explicit MergeTable(size_t count = 0);

  /// Adds a merge, one of at most `count`. Returns the one that is already there for this pair, or nullptr.
  const Merge* add(int32_t left, int32_t right, uint32_t rank, int32_t merged);

  /// Joins the pushed symbols: always the pair of the lowest rank, the leftmost of equals. Appends the ids
  /// that remain. O(n log n) in the number of symbols.
  void merge(MergeScratch& scratch, std::vector<int32_t>& ids) const;

 private:
  static constexpr uint64_t kNoPair = ~uint64_t{0};

  const Merge* find(int32_t left, int32_t right) const;
  void push_candidate(MergeScratch& scratch, int32_t left) const;

  std::vector<Merge> slots_;  ///< open addressing, a power of two
};

}  // namespace ropescope
