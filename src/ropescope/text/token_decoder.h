// From tokens back to a text, for vocabularies of characters: the "decoder" of a tokenizer.json.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "ropescope/text/normalizer.h"

namespace ropescope {

/// Runs of tokens <0x00> to <0xFF> become the text of these bytes, or one U+FFFD a byte if they are no UTF-8.
struct ByteFallbackStep {};

/// All tokens become one.
struct FuseStep {};

/// Up to so many `content`s go from the ends of each token.
struct StripEndsStep {
  std::string content;
  size_t left = 0;
  size_t right = 0;
};

/// The sign becomes a space; in the first token, nothing if `drop_first`.
struct MetaspaceDecodeStep {
  std::string sign;
  bool drop_first = true;
};

using DecoderStep = std::variant<ReplaceStep, ByteFallbackStep, FuseStep, StripEndsStep, MetaspaceDecodeStep>;

/// Applies `steps` in order and joins what remains.
std::string decode_tokens(std::vector<std::string> tokens, const std::vector<DecoderStep>& steps);

}  // namespace ropescope
