// The text of tokens that a model made.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ropescope/text/tokenizer.h"

namespace ropescope {

/// As Tokenizer::decode, but ids beyond the vocabulary have no text: embeddings often have more rows than the
/// tokenizer has tokens, and a model may choose any of them. Throws InputError for a negative id.
std::string decode_generated(const Tokenizer& tokenizer, std::span<const int64_t> ids, bool skip_special);

}  // namespace ropescope
