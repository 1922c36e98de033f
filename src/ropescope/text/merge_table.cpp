#include "ropescope/text/merge_table.h"

#include <algorithm>

namespace ropescope {

namespace {

uint64_t mix(uint64_t key) {
  key *= 0x9E3779B97F4A7C15ULL;
  return key ^ (key >> 32);
}

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

/// For a heap whose front has the lowest rank, the leftmost among equals.
bool later(const MergeScratch::Candidate& a, const MergeScratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
}

}  // namespace

MergeTable::MergeTable(size_t count) {
  size_t slots = 16;
  while (slots < 2 * count) slots *= 2;
  slots_.assign(slots, Merge{kNoPair, 0, 0});
}

const MergeTable::Merge* MergeTable::add(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
  const uint64_t key = pair_key(left, right);
  const size_t mask = slots_.size() - 1;
  size_t slot = mix(key) & mask;
  for (; slots_[slot].pair != kNoPair; slot = (slot + 1) & mask) {
    if (slots_[slot].pair == key) return &slots_[slot];
  }
  slots_[slot] = {key, rank, merged};
  return nullptr;
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  const size_t mask = slots_.size() - 1;
  for (size_t slot = mix(key) & mask;; slot = (slot + 1) & mask) {
    if (slots_[slot].pair == key) return &slots_[slot];
    if (slots_[slot].pair == kNoPair) return nullptr;
  }
}

void MergeTable::push_candidate(MergeScratch& scratch, int32_t left) const {
  const auto& symbol = scratch.symbols[left];
  if (symbol.next < 0) return;
  const int32_t right_id = scratch.symbols[symbol.next].id;
  const Merge* merge = find(symbol.id, right_id);
  if (merge == nullptr) return;
  scratch.heap.push_back({merge->rank, left, symbol.id, right_id, merge->merged_id});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), later);
}

void MergeTable::merge(MergeScratch& scratch, std::vector<int32_t>& ids) const {
  auto& symbols = scratch.symbols;
  if (symbols.empty()) return;
  symbols.back().next = -1;
  scratch.heap.clear();
  for (size_t i = 0; i < symbols.size(); ++i) push_candidate(scratch, static_cast<int32_t>(i));
  while (!scratch.heap.empty()) {
    const MergeScratch::Candidate best = scratch.heap.front();
    std::pop_heap(scratch.heap.begin(), scratch.heap.end(), later);
    scratch.heap.pop_back();
    auto& left = symbols[best.left];
    if (left.id != best.left_id || left.next < 0 || symbols[left.next].id != best.right_id) continue;
    auto& right = symbols[left.next];
    left.id = best.merged_id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = best.left;
    if (left.previous >= 0) push_candidate(scratch, left.previous);
    push_candidate(scratch, best.left);
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace ropescope
