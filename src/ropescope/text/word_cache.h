// Words seen before, and their ids.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ropescope {

/// Bounded in size: two generations of tables. A full table becomes the old one, and words that are met again
/// move from there to the new one, so that frequent words stay. Not for use by two threads at a time.
class WordCache {
 public:
  static constexpr size_t kLongestWord = 64;  ///< longer words are rare and cheap beside their own length

  /// Appends the ids of `word` and returns true if the word is known.
  bool find(std::string_view word, std::vector<int32_t>& ids) {
    const uint64_t hash = hash_of(word);
    if (const Entry* entry = young_.find(word, hash)) {
      append(young_, *entry, ids);
      return true;
    }
    const Entry* entry = old_.find(word, hash);
    if (entry == nullptr) return false;
    append(old_, *entry, ids);
    insert(word, ids.data() + ids.size() - entry->id_count, entry->id_count);
    return true;
  }

  /// `word` must be one that find() has just missed, of at most kLongestWord bytes.
  void insert(std::string_view word, const int32_t* ids, size_t count) {
    if (young_.used >= kSlots / 2) {
      std::swap(young_, old_);
      young_.clear();
    }
    young_.insert(word, hash_of(word), ids, count);
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

  /// Open addressing; texts and ids lie one after another.
  struct Table {
    std::vector<Entry> entries;
    std::string bytes;
    std::vector<int32_t> ids;
    size_t used = 0;

    Table() { clear(); }

    void clear() {
      entries.assign(kSlots, Entry{0, 0, 0, 0, kEmpty});
      bytes.clear();
      ids.clear();
      used = 0;
    }

    const Entry* find(std::string_view word, uint64_t hash) const {
      for (size_t slot = hash & kMask;; slot = (slot + 1) & kMask) {
        const Entry& entry = entries[slot];
        if (entry.id_count == kEmpty) return nullptr;
        if (entry.hash != static_cast<uint32_t>(hash >> 32) || entry.length != word.size()) continue;
        if (std::memcmp(bytes.data() + entry.bytes, word.data(), word.size()) == 0) return &entry;
      }
    }

    void insert(std::string_view word, uint64_t hash, const int32_t* word_ids, size_t count) {
      size_t slot = hash & kMask;
      while (entries[slot].id_count != kEmpty) slot = (slot + 1) & kMask;
      entries[slot] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(bytes.size()),
                       static_cast<uint32_t>(ids.size()), static_cast<uint16_t>(word.size()),
                       static_cast<uint16_t>(count)};
      bytes.append(word);
      ids.insert(ids.end(), word_ids, word_ids + count);
      ++used;
    }
  };

  static void append(const Table& table, const Entry& entry, std::vector<int32_t>& ids) {
    const auto first = table.ids.begin() + entry.ids;
    ids.insert(ids.end(), first, first + entry.id_count);
  }

  static uint64_t hash_of(std::string_view word) {
    const auto stir = [](uint64_t hash, uint64_t block) {
      hash = (hash ^ block) * 0xFF51AFD7ED558CCDULL;
      return hash ^ (hash >> 32);
    };
    uint64_t hash = 0x9E3779B97F4A7C15ULL ^ word.size();
    const char* data = word.data();
    size_t left = word.size();
    uint64_t block = 0;
    for (; left >= 8; left -= 8, data += 8) {
      std::memcpy(&block, data, 8);
      hash = stir(hash, block);
    }
    block = 0;
    std::memcpy(&block, data, left);
    hash = stir(hash, block) * 0xC4CEB9FE1A85EC53ULL;
    return hash ^ (hash >> 29);
  }

  Table young_;
  Table old_;
};

}  // namespace ropescope
