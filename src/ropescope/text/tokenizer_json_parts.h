// The parts of a tokenizer.json around its vocabulary. All throw InputError naming `what` for a part that is not
// supported: the ids would not be the reference's.
#pragma once

#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/text/normalizer.h"
#include "ropescope/text/pre_tokenizer.h"
#include "ropescope/text/token_decoder.h"
#include "ropescope/text/tokenizer_parts.h"

namespace ropescope {

const Json& json_list(const Json& object, const char* key, const std::string& what);

/// True if `part` (may be nullptr), or a part inside it, is a ByteLevel.
bool mentions_byte_level(const Json* part);

std::vector<NormalizerStep> read_normalizer(const Json* part, const std::string& what);

struct ReadPreTokenizer {
  PreTokenizer pre_tokenizer;
  bool bytes = false;  ///< it ends with ByteLevel: words are looked up in the byte alphabet
};
ReadPreTokenizer read_pre_tokenizer(const Json* part, const std::string& what);

/// Of a vocabulary of characters.
std::vector<DecoderStep> read_decoder(const Json* part, const std::string& what);

/// The tokens that a post-processor puts around a text; false if it does not say.
bool read_post_processor(const Json* part, const std::string& what, SpecialIds& special);

}  // namespace ropescope
