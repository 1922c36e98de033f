// A vocabulary of pieces with log probabilities; a word is cut into the likeliest pieces. Source: Kudo 2018,
// arXiv 1804.10959, section 3.2; byte fallback and the unknown piece as in Hugging Face tokenizers.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ropescope/text/subword_model.h"

namespace ropescope {

struct UnigramFiles {
  std::string what;                                    ///< names the file in errors
  std::vector<std::pair<std::string, double>> pieces;  ///< by id: the piece and its log probability
  std::optional<int64_t> unknown_id;
  bool byte_fallback =
      false;  ///< what no piece covers is written in <0x00> to <0xFF> if all its bytes are pieces
};

/// Immutable once built.
class UnigramModel final : public SubwordModel {
 public:
  /// Throws InputError: no pieces; an empty piece, one given twice or not UTF-8; a score that is no number; an
  /// unknown id outside the vocabulary.
  explicit UnigramModel(UnigramFiles files);

  /// `word` must be valid UTF-8. Throws InputError for a character that nothing covers if there is no unknown
  /// piece.
  void encode_word(std::string_view word, SubwordScratch& scratch, std::vector<int32_t>& ids) const override;

  int64_t size() const override { return static_cast<int64_t>(tokens_.size()); }
  const std::string& token(int64_t id) const override { return tokens_[id]; }
  std::string kind() const override { return "unigram"; }

 private:
  int32_t find(std::string_view piece) const;
  void find_paths(std::string_view word, std::vector<SubwordScratch::Arrival>& arrivals) const;
  void append_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  std::string what_;
  std::vector<std::string> tokens_;
  std::vector<double> scores_;
  std::vector<int32_t> sorted_;  ///< ids by the bytes of their pieces
  std::optional<int32_t> unknown_id_;
  double unknown_score_ = 0;
  std::array<int32_t, 256> bytes_{};  ///< -1: no piece, or none is to be used
};

}  // namespace ropescope
