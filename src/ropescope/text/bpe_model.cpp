#include "ropescope/text/bpe_model.h"

#include <algorithm>
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/text/byte_alphabet.h"

namespace ropescope {

namespace {

using IdOfToken = std::unordered_map<std::string_view, int32_t>;

uint64_t mix(uint64_t key) {
  key *= 0x9E3779B97F4A7C15ULL;
  return key ^ (key >> 32);
}

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

/// A heap whose front has the lowest rank, the leftmost among equals.
bool later(const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
}

int32_t known_id(const IdOfToken& ids, std::string_view token, size_t merge, const std::string& what) {
  const auto found = ids.find(token);
  if (found == ids.end()) {
    throw InputError("{}: merge {} needs the token \"{}\", which the vocabulary does not have", what, merge,
                     token);
  }
  return found->second;
}

}  // namespace

BpeModel::BpeModel(const BpeFiles& files) : fuse_unknown_(files.fuse_unknown) {
  add_tokens(files);
  add_merges(files);
  if (files.ignore_merges) add_whole_words();
}

void BpeModel::add_tokens(const BpeFiles& files) {
  // Ids may have gaps, but a file of a few tokens must not make us allocate for 2^60.
  const auto limit = static_cast<int64_t>(4 * files.vocabulary.size() + 65536);
  int64_t largest = -1;
  for (const auto& [token, id] : files.vocabulary) {
    if (id < 0 || id >= limit) {
      throw InputError("{}: token \"{}\" has id {}; expected 0 to {} for {} tokens", files.what, token, id,
                       limit - 1, files.vocabulary.size());
    }
    if (token.empty()) throw InputError("{}: the token with id {} is empty", files.what, id);
    largest = std::max(largest, id);
  }
  tokens_.resize(largest + 1);
  bytes_.resize(largest + 1);
  byte_ids_.fill(-1);
  bool any_byte = false;
  for (const auto& [token, id] : files.vocabulary) {
    if (!tokens_[id].empty()) {
      throw InputError("{}: id {} belongs to \"{}\" and to \"{}\"", files.what, id, tokens_[id], token);
    }
    tokens_[id] = token;
    const auto bytes = token_bytes(token);
    bytes_[id] = bytes.value_or(token);
    if (bytes && bytes->size() == 1) {
      byte_ids_[static_cast<uint8_t>((*bytes)[0])] = static_cast<int32_t>(id);
      any_byte = true;
    }
    if (files.unknown_token && token == *files.unknown_token) unknown_id_ = static_cast<int32_t>(id);
  }
  if (!any_byte) {
    throw InputError("{}: expected a byte-level vocabulary, found no token for any single byte", files.what);
  }
}

void BpeModel::add_merges(const BpeFiles& files) {
  IdOfToken ids;
  ids.reserve(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].empty()) continue;
    const auto [place, fresh] = ids.emplace(tokens_[id], static_cast<int32_t>(id));
    if (!fresh) {
      throw InputError("{}: the token \"{}\" has two ids, {} and {}", files.what, tokens_[id], place->second,
                       id);
    }
  }
  size_t slots = 16;
  while (slots < 2 * files.merges.size()) slots *= 2;
  merges_.assign(slots, Merge{kNoPair, 0, 0});
  std::string merged;
  for (size_t rank = 0; rank < files.merges.size(); ++rank) {
    const auto& [left, right] = files.merges[rank];
    merged.assign(left).append(right);
    const uint64_t key =
        pair_key(known_id(ids, left, rank, files.what), known_id(ids, right, rank, files.what));
    const int32_t merged_id = known_id(ids, merged, rank, files.what);
    size_t slot = mix(key) & (slots - 1);
    while (merges_[slot].pair != kNoPair) {
      if (merges_[slot].pair == key) {
        throw InputError("{}: merges {} and {} are both \"{} {}\"", files.what, merges_[slot].rank, rank,
                         left, right);
      }
      slot = (slot + 1) & (slots - 1);
    }
    merges_[slot] = {key, static_cast<uint32_t>(rank), merged_id};
  }
}

void BpeModel::add_whole_words() {
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (token_bytes(tokens_[id])) words_.emplace_back(bytes_[id], static_cast<int32_t>(id));
  }
  std::sort(words_.begin(), words_.end());
}

int32_t BpeModel::find_whole_word(std::string_view word) const {
  const auto found = std::lower_bound(words_.begin(), words_.end(), std::pair(word, int32_t{-1}));
  return found != words_.end() && found->first == word ? found->second : -1;
}

const BpeModel::Merge* BpeModel::find_merge(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t slot = mix(key) & mask;; slot = (slot + 1) & mask) {
    if (merges_[slot].pair == key) return &merges_[slot];
    if (merges_[slot].pair == kNoPair) return nullptr;
  }
}

void BpeModel::push_candidate(BpeScratch& scratch, int32_t left) const {
  const auto& symbol = scratch.symbols[left];
  if (symbol.next < 0) return;
  const int32_t right_id = scratch.symbols[symbol.next].id;
  const Merge* merge = find_merge(symbol.id, right_id);
  if (merge == nullptr) return;
  scratch.heap.push_back({merge->rank, left, symbol.id, right_id, merge->merged_id});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), later);
}

void BpeModel::encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  if (const int32_t whole = find_whole_word(word); whole >= 0) {
    ids.push_back(whole);
    return;
  }
  auto& symbols = scratch.symbols;
  symbols.clear();
  bool after_unknown = false;
  for (const char c : word) {
    int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    const bool unknown = id < 0;
    if (unknown) {
      if (!unknown_id_ || (fuse_unknown_ && after_unknown)) continue;
      id = *unknown_id_;
    }
    after_unknown = unknown;
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  scratch.heap.clear();
  for (size_t i = 0; i < symbols.size(); ++i) push_candidate(scratch, static_cast<int32_t>(i));
  while (!scratch.heap.empty()) {
    const BpeScratch::Candidate best = scratch.heap.front();
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
