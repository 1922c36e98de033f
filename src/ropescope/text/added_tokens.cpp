#include "ropescope/text/added_tokens.h"

#include <algorithm>
#include <cstring>

#include <unicode/uchar.h>

#include "ropescope/text/utf8.h"

namespace ropescope {

namespace {

bool is_word_character(char32_t code) {
  const auto c = static_cast<UChar32>(code);
  const auto mask = U_GET_GC_MASK(c);
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) != 0 ||
         (mask & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

bool is_white_space(char32_t code) { return u_isUWhiteSpace(static_cast<UChar32>(code)) != 0; }

/// Start of the character that ends before `at` (> 0).
size_t previous_character(std::string_view text, size_t at) {
  --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

char32_t character_before(std::string_view text, size_t at) {
  return decode_utf8_char(text.substr(previous_character(text, at))).code;
}

bool inside_word(std::string_view text, size_t begin, size_t end) {
  const bool word_before = begin > 0 && is_word_character(character_before(text, begin));
  const bool word_after = end < text.size() && is_word_character(decode_utf8_char(text.substr(end)).code);
  return word_before || word_after;
}

}  // namespace

Json to_json(const AddedToken& token) {
  return {{"id", token.id},          {"content", token.content}, {"single_word", token.single_word},
          {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
          {"special", token.special}};
}

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens) : starts_(256, false) {
  nodes_.emplace_back();
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    const auto index = static_cast<int32_t>(tokens_.size());
    tokens_.push_back(token);
    int32_t node = 0;
    for (const char byte : token.content) {
      int32_t next = child(node, byte);
      if (next < 0) {
        next = static_cast<int32_t>(nodes_.size());
        nodes_.push_back({-1, nodes_[node].first_child, -1, byte});
        nodes_[node].first_child = next;
      }
      node = next;
    }
    // Two tokens can be the same after normalisation; the first counts.
    if (nodes_[node].token < 0) nodes_[node].token = index;
    starts_[static_cast<unsigned char>(token.content[0])] = true;
  }
  for (int b = 0; b < 256; ++b) {
    if (starts_[b]) distinct_starts_ += static_cast<char>(b);
  }
}

int32_t AddedTokenMatcher::child(int32_t node, char byte) const {
  int32_t next = nodes_[node].first_child;
  while (next >= 0 && nodes_[next].byte != byte) next = nodes_[next].sibling;
  return next;
}

size_t AddedTokenMatcher::next_start(std::string_view text, size_t from) const {
  if (from >= text.size()) return text.size();
  if (distinct_starts_.size() == 1) {
    const void* found = std::memchr(text.data() + from, distinct_starts_[0], text.size() - from);
    return found == nullptr ? text.size() : static_cast<const char*>(found) - text.data();
  }
  while (from < text.size() && !starts_[static_cast<unsigned char>(text[from])]) ++from;
  return from;
}

int32_t AddedTokenMatcher::longest_match(std::string_view text) const {
  int32_t node = 0;
  int32_t best = -1;
  for (const char byte : text) {
    node = child(node, byte);
    if (node < 0) break;
    if (nodes_[node].token >= 0) best = nodes_[node].token;
  }
  return best;
}

void AddedTokenMatcher::split(std::string_view text, bool specials_as_text,
                              std::vector<TextPart>& parts) const {
  size_t done = 0;
  for (size_t at = next_start(text, 0); at < text.size();) {
    const int32_t index = longest_match(text.substr(at));
    if (index < 0) {
      at = next_start(text, at + 1);
      continue;
    }
    const AddedToken& token = tokens_[index];
    size_t begin = at;
    size_t end = at + token.content.size();
    at = next_start(text, end);
    if (specials_as_text && token.special) continue;
    if (token.single_word && inside_word(text, begin, end)) continue;
    // White space that the token before took stays with it.
    while (token.lstrip && begin > done && is_white_space(character_before(text, begin))) {
      begin = previous_character(text, begin);
    }
    while (token.rstrip && end < text.size()) {
      const Utf8Char next = decode_utf8_char(text.substr(end));
      if (!is_white_space(next.code)) break;
      end += next.length;
    }
    begin = std::max(begin, done);
    if (end <= begin) continue;
    if (begin > done) parts.push_back({done, begin, -1});
    parts.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
}

}  // namespace ropescope
