// Byte-pair merging on bytes, as in GPT-2 (Radford et al. 2019, section 2.2): a vocabulary and its merges.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ropescope/text/merge_table.h"

namespace ropescope {

/// What the files say, as they say it.
struct BpeFiles {
  std::string what;                                         ///< names the file in errors
  std::vector<std::pair<std::string, int64_t>> vocabulary;  ///< token as stored (byte alphabet), id
  std::vector<std::pair<std::string, std::string>> merges;  ///< most important first
  bool ignore_merges = false;  ///< a word that is a token is that token, whatever the merges say (Llama-3)
  std::optional<std::string> unknown_token;  ///< stands for a byte that has no token
  bool fuse_unknown = false;                 ///< one unknown token for a run of such bytes
};

/// Immutable once built.
class BpeModel {
 public:
  /// Throws InputError: an id below 0, used twice or far beyond the number of tokens; a token or merge given
  /// twice (readers disagree which one counts); a merge of or into tokens that the vocabulary does not have;
  /// no token for any byte.
  explicit BpeModel(const BpeFiles& files);
  BpeModel(const BpeModel&) = delete;
  BpeModel& operator=(const BpeModel&) = delete;

  /// Appends the ids of `word` (raw bytes). O(n log n) in its length. A byte that has no token becomes the
  /// unknown token, or nothing if the files name none (as Hugging Face tokenizers and llama.cpp do).
  void encode_word(std::string_view word, MergeScratch& scratch, std::vector<int32_t>& ids) const;

  /// Largest id + 1.
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  /// As stored; empty where no token has this id. `id` must lie in [0, size()).
  const std::string& token(int64_t id) const { return tokens_[id]; }
  /// Raw bytes (the stored text itself if it is not written in the byte alphabet).
  const std::string& bytes(int64_t id) const { return bytes_[id]; }

 private:
  void add_tokens(const BpeFiles& files);
  void add_merges(const BpeFiles& files);
  void add_whole_words();
  int32_t find_whole_word(std::string_view word) const;

  std::vector<std::string> tokens_;
  std::vector<std::string> bytes_;
  std::array<int32_t, 256> byte_ids_{};  ///< -1: no token
  std::optional<int32_t> unknown_id_;
  bool fuse_unknown_ = false;
  MergeTable merges_;
  std::vector<std::pair<std::string_view, int32_t>>
      words_;  ///< sorted views into bytes_; empty unless needed
};

}  // namespace ropescope
