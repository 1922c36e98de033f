// A tokenizer of Hugging Face's parts: added tokens, normalisation, words, a vocabulary, decoding.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/text/added_tokens.h"
#include "ropescope/text/bpe_model.h"
#include "ropescope/text/normalizer.h"
#include "ropescope/text/pre_tokenizer.h"
#include "ropescope/text/token_decoder.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/text/tokenizer_parts.h"
#include "ropescope/text/unigram_model.h"

namespace ropescope {

/// What the files say besides the vocabulary.
struct PipelineParts {
  std::string what;  ///< names the file in errors
  std::vector<AddedToken> added;
  std::vector<NormalizerStep> normalizer;
  PreTokenizer pre_tokenizer;
  /// None: the tokens stand for bytes, which are joined. Without steps, tokens are joined by spaces.
  std::optional<std::vector<DecoderStep>> decoder;
  SpecialIds special;
  std::string family;  ///< for description(): "qwen2", "tokenizer.json"
};

/// Everything that the files of a byte-level BPE tokenizer say.
struct ByteLevelFiles {
  BpeFiles bpe;
  PipelineParts parts;
};

/// Throws InputError naming parts.what if the parts contradict each other or the vocabulary.
std::unique_ptr<Tokenizer> make_pipeline_tokenizer(std::unique_ptr<const SubwordModel> model,
                                                   PipelineParts parts);
std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelFiles files);

}  // namespace ropescope
