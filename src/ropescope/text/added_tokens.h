// Tokens that are found in a text before it is cut into words: special tokens and tokens added later.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope {

/// Fields as in Hugging Face's tokenizer files.
struct AddedToken {
  std::string content;
  int64_t id = 0;
  bool special = false;      ///< can be read as text, and skipped when decoding
  bool normalized = false;   ///< found in the normalised text
  bool single_word = false;  ///< not found inside a word
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space after it
};

/// As tokenizer.json lists it.
Json to_json(const AddedToken& token);

/// Part of a text: an added token, or (token < 0) text between such tokens.
struct TextPart {
  size_t begin = 0;
  size_t end = 0;
  int64_t token = -1;
};

/// Finds tokens from left to right, the longest at each place. Immutable once built.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(const std::vector<AddedToken>& tokens);

  bool empty() const { return tokens_.empty(); }

  /// Appends the parts of `text` (valid UTF-8), which cover it without gaps. With `specials_as_text` a
  /// special token that is found stays text.
  void split(std::string_view text, bool specials_as_text, std::vector<TextPart>& parts) const;

  /// Appends the ids of the tokens that are found, and has plain(text, begin) append those of the text
  /// between them, which starts at byte `begin`. `parts` is working memory.
  template <class Plain>
  void encode(std::string_view text, bool specials_as_text, std::vector<TextPart>& parts,
              std::vector<int32_t>& ids, const Plain& plain) const {
    parts.clear();
    split(text, specials_as_text, parts);
    for (const TextPart& part : parts) {
      if (part.token >= 0) {
        ids.push_back(static_cast<int32_t>(part.token));
      } else {
        plain(text.substr(part.begin, part.end - part.begin), part.begin);
      }
    }
  }

 private:
  struct Node {
    int32_t first_child = -1;
    int32_t sibling = -1;
    int32_t token = -1;  ///< index into tokens_
    char byte = 0;
  };

  int32_t child(int32_t node, char byte) const;
  size_t next_start(std::string_view text, size_t from) const;
  int32_t longest_match(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::vector<bool> starts_;     ///< by first byte
  std::string distinct_starts_;  ///< the same as a list
};

}  // namespace ropescope
