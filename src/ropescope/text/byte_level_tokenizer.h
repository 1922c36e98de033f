// Byte-level BPE as a Tokenizer: added tokens, normalisation, words, merges.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/text/added_tokens.h"
#include "ropescope/text/bpe_model.h"
#include "ropescope/text/normalizer.h"
#include "ropescope/text/pre_tokenizer.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/text/tokenizer_parts.h"

namespace ropescope {

/// Everything that the files of a byte-level BPE tokenizer say.
struct ByteLevelFiles {
  BpeFiles bpe;
  std::vector<AddedToken> added;
  std::vector<NormalForm> normal_forms;
  PreTokenizer pre_tokenizer;
  SpecialIds special;
  std::string family;  ///< for description(): "qwen2", "tokenizer.json"
};

/// Throws InputError naming files.bpe.what if the parts contradict each other.
std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelFiles files);

}  // namespace ropescope
