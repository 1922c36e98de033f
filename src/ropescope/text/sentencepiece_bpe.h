// SentencePiece's BPE without SentencePiece, for models as Llama's: several times faster on words not seen
// before.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ropescope/text/merge_table.h"
#include "ropescope/text/sentencepiece_model.h"

namespace ropescope {

/// Gives the library's ids exactly (the tests compare both). Immutable once built.
class SentencePieceBpe {
 public:
  /// True for BPE models with byte fallback, without normalisation, user-defined or unused pieces, in which
  /// every character of a piece is a piece itself: then a character without a piece cannot merge with
  /// anything.
  static bool applies(const SentencePieceModel& model);

  /// `model` must be one to which this applies.
  explicit SentencePieceBpe(const SentencePieceModel& model);

  /// Appends the ids of `text` (valid UTF-8) without a dummy prefix.
  void encode(std::string_view text, MergeScratch& scratch, std::vector<int32_t>& ids) const;

  /// No merge joins a space to what stands before it: a text may be cut before spaces.
  bool cuts_before_spaces() const { return cuts_before_spaces_; }
  /// No merge joins a newline to anything.
  bool cuts_around_newlines() const { return cuts_around_newlines_; }

 private:
  void add_merges(const SentencePieceModel& model);
  void find_cuts(const SentencePieceModel& model);

  std::unordered_map<char32_t, int32_t> characters_;
  std::array<int32_t, 128> ascii_{};  ///< the same for the first characters; -1: none
  std::array<int32_t, 256> bytes_{};
  MergeTable merges_;
  bool cuts_before_spaces_ = true;
  bool cuts_around_newlines_ = true;
};

}  // namespace ropescope
