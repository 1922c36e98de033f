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
#include "ropescope/text/subword_model.h"

namespace ropescope {

/// What the files say, as they say it.
struct BpeFiles {
  std::string what;                                         ///< names the file in errors
  std::vector<std::pair<std::string, int64_t>> vocabulary;  ///< token as stored, id
  std::vector<std::pair<std::string, std::string>> merges;  ///< most important first
  bool ignore_merges = false;  ///< a word that is a token is that token, whatever the merges say (Llama-3)
  std::optional<std::string> unknown_token;  ///< stands for a byte, or a character, that has no token
  bool fuse_unknown = false;                 ///< one unknown token for a run of such bytes
  bool byte_fallback = false;  ///< a character without a token is written in <0x00> to <0xFF>; not for bytes
};

/// Tokens by id. Throws InputError: an id below 0, used twice or far beyond the number of tokens; an empty
/// token; a token given twice (readers disagree which one counts).
std::vector<std::string> tokens_by_id(const BpeFiles& files);

/// Throws InputError: a merge of or into tokens that `tokens` does not have; a merge given twice.
MergeTable merges_of(const BpeFiles& files, const std::vector<std::string>& tokens);

/// Of a vocabulary in the byte alphabet; words are raw bytes.
class BpeModel final : public SubwordModel {
 public:
  /// Throws InputError for what tokens_by_id and merges_of refuse, and where no byte has a token.
  explicit BpeModel(const BpeFiles& files);

  /// O(n log n) in the length of the word. A byte that has no token becomes the unknown token, or nothing if
  /// the files name none (as Hugging Face tokenizers and llama.cpp do).
  void encode_word(std::string_view word, SubwordScratch& scratch, std::vector<int32_t>& ids) const override;

  int64_t size() const override { return static_cast<int64_t>(tokens_.size()); }
  const std::string& token(int64_t id) const override { return tokens_[id]; }
  /// The stored text itself if it is not written in the byte alphabet.
  const std::string& bytes(int64_t id) const override { return bytes_[id]; }
  std::string kind() const override { return "byte-level BPE"; }

 private:
  void find_bytes(const BpeFiles& files);
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
