// Byte-pair merging on characters, as in files converted from SentencePiece: a space is written U+2581, and a
// character that has no token is written in tokens <0x00> to <0xFF>, one for each byte.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ropescope/text/bpe_model.h"
#include "ropescope/text/merge_table.h"
#include "ropescope/text/subword_model.h"

namespace ropescope {

/// "<0x0A>".
std::string byte_token(uint8_t byte);
/// The byte that "<0x0A>" stands for; none for any other token.
std::optional<uint8_t> byte_of_token(std::string_view token);

/// Gives the ids of Hugging Face tokenizers exactly. Immutable once built.
class CharacterBpe final : public SubwordModel {
 public:
  /// Throws InputError for what tokens_by_id and merges_of refuse, and for an unknown token that is no token.
  explicit CharacterBpe(const BpeFiles& files);

  /// `word` must be valid UTF-8. O(n log n) in its length. A character without a token becomes its bytes, where
  /// all of them have tokens, else the unknown token, else nothing.
  void encode_word(std::string_view word, SubwordScratch& scratch, std::vector<int32_t>& ids) const override;
  /// Where no merge joins a space to what stands before it: up to the next space.
  size_t independent_length(std::string_view word) const override;

  int64_t size() const override { return static_cast<int64_t>(tokens_.size()); }
  const std::string& token(int64_t id) const override { return tokens_[id]; }
  std::string kind() const override { return "BPE on characters"; }

 private:
  void find_cuts(const BpeFiles& files);
  bool push_bytes(std::string_view character, MergeScratch& merges) const;

  std::vector<std::string> tokens_;
  std::unordered_map<char32_t, int32_t> characters_;
  std::array<int32_t, 256> bytes_{};  ///< -1: no token, or none is to be used
  std::optional<int32_t> unknown_id_;
  bool fuse_unknown_ = false;
  bool cuts_before_spaces_ = false;
  MergeTable merges_;
  std::unordered_map<std::string_view, int32_t> words_;  ///< views into tokens_; empty unless needed
};

}  // namespace ropescope
