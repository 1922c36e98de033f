// SentencePiece as a Tokenizer, with special tokens around it as Hugging Face's LlamaTokenizer has them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ropescope/text/added_tokens.h"
#include "ropescope/text/sentencepiece_model.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/text/tokenizer_parts.h"

namespace ropescope {

struct SentencePieceFiles {
  std::string what;  ///< names the file in errors
  SentencePieceModel model;
  std::vector<AddedToken>
      added;  ///< beyond the control pieces and the unknown piece, or instead of their flags
  /// true: each part of a text after a special token gets a leading space piece; false: only the start of the
  /// text does.
  bool legacy = true;
  SpecialIds special;
};

/// Encoding is SentencePiece's own, exactly; where no piece can span a space the text is cut before spaces
/// and words are remembered. Decoding follows SentencePiece too: control pieces never show, an unknown piece
/// shows as " ⁇ ", the leading space of the first piece is dropped, every broken byte becomes one U+FFFD.
/// Other added tokens show as they are unless special ones are skipped. Throws InputError.
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(SentencePieceFiles files);

}  // namespace ropescope
