// The texts of a measurement: documents of a corpus, tokenised, cut and filtered by length.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ropescope/text/corpus.h"
#include "ropescope/text/tokenizer.h"

namespace ropescope {

struct TextLimits {
  int64_t max_texts = 100;
  int64_t max_tokens = 512;  ///< later tokens of a document are cut off
  int64_t min_tokens = 32;   ///< shorter documents are skipped and counted
};

struct TokenizedText {
  std::string name;
  std::vector<int64_t> ids;
};

struct TextSet {
  std::vector<TokenizedText> texts;
  std::vector<std::filesystem::path> files;  ///< that were read, in that order
  int64_t skipped_short = 0;                 ///< documents before the last used one that were too short

  std::vector<int64_t> lengths() const;
};

/// The first `max_texts` documents that are long enough, in the corpus's own order. Start and end tokens are
/// added as the tokenizer's files say; an end token is cut off like any other token beyond max_tokens. Throws
/// InputError if no document is long enough.
TextSet load_texts(const std::filesystem::path& corpus, CorpusForm form, const Tokenizer& tokenizer,
                   const TextLimits& limits);

/// Consecutive texts that share a forward pass: at most `budget` tokens, or one longer text alone.
std::vector<std::vector<int64_t>> pack_texts(const std::vector<int64_t>& lengths, int64_t budget);

}  // namespace ropescope
