// Words seen before, and their ids.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace ropescope {

/// Bounded in size: when it is full it starts afresh (text has few frequent words, they are back at once).
/// Not for use by two threads at a time.
class WordCache {
 public:
  static constexpr size_t kLongestWord = 64;  ///< longer words are rare and cheap beside their own length

  WordCache() { clear(); }

  /// Appends the ids of `word` and returns true if the word is known.
  bool find(std::string_view word, std::vector<int32_t>& ids) const {
    const uint64_t hash = hash_of(word);
    for (size_t slot = hash & kMask;; slot = (slot + 1) & kMask) {
      const Entry& entry = entries_[slot];
      if (entry.id_count == kEmpty) return false;
      if (entry.hash != static_cast<uint32_t>(hash >> 32) || entry.length != word.size()) continue;
      if (std::memcmp(bytes_.data() + entry.bytes, word.data(), word.size()) != 0) continue;
      ids.insert(ids.end(), ids_.begin() + entry.ids, ids_.begin() + entry.ids + entry.id_count);
      return true;
    }
  }

  /// `word` must not be known yet, nor longer than kLongestWord.
  void insert(std::string_view word, const int32_t* ids, size_t count) {
    if (used_ >= kSlots / 2) clear();
    const uint64_t hash = hash_of(word);
    size_t slot = hash & kMask;
    while (entries_[slot].id_count != kEmpty) slot = (slot + 1) & kMask;
    entries_[slot] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(bytes_.size()),
                      static_cast<uint32_t>(ids_.size()), static_cast<uint16_t>(word.size()),
                      static_cast<uint16_t>(count)};
    bytes_.append(word);
    ids_.insert(ids_.end(), ids, ids + count);
    ++used_;
  }

 private:
  static constexpr size_t kSlots = size_t{1} << 16;
  static constexpr size_t kMask = kSlots - 1;
  static constexpr uint16_t kEmpty = 0xFFFF;

  struct Entry {
    uint32_t hash;
    uint32_t bytes;
    uint32_t ids;
    uint16_t length;
    uint16_t id_count;
  };

  static uint64_t hash_of(std::string_view word) {
    uint64_t hash = 0x9E3779B97F4A7C15ULL ^ word.size();
    const char* data = word.data();
    size_t left = word.size();
    for (; left >= 8; left -= 8, data += 8) {
      uint64_t block;
      std::memcpy(&block, data, 8);
      hash = (hash ^ block) * 0xFF51AFD7ED558CCDULL;
      hash ^= hash >> 32;
    }
    uint64_t block = 0;
    std::memcpy(&block, data, left);
    hash = (hash ^ block) * 0xFF51AFD7ED558CCDULL;
    hash ^= hash >> 32;
    hash *= 0xC4CEB9FE1A85EC53ULL;
    return hash ^ (hash >> 29);
  }

  void clear() {
    entries_.assign(kSlots, Entry{0, 0, 0, 0, kEmpty});
    bytes_.clear();
    ids_.clear();
    used_ = 0;
  }

  std::vector<Entry> entries_;
  std::string bytes_;
  std::vector<int32_t> ids_;
  size_t used_ = 0;
};

}  // namespace ropescope
