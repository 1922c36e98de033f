#include "ropescope/text/character_bpe.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/text/utf8.h"

namespace ropescope {

namespace {

constexpr std::string_view kSpaceText = "\xE2\x96\x81";
constexpr char32_t kSpaceCode = 0x2581;

bool starts_with_space(std::string_view text) { return text.substr(0, kSpaceText.size()) == kSpaceText; }

bool is_all_spaces(std::string_view text) {
  while (starts_with_space(text)) text.remove_prefix(kSpaceText.size());
  return text.empty();
}

}  // namespace

std::string byte_token(uint8_t byte) { return fmt::format("<0x{:02X}>", byte); }

std::optional<uint8_t> byte_of_token(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return std::nullopt;
  uint8_t byte = 0;
  const char* end = token.data() + 5;
  const auto [stopped, code] = std::from_chars(token.data() + 3, end, byte, 16);
  return code == std::errc() && stopped == end ? std::optional(byte) : std::nullopt;
}

CharacterBpe::CharacterBpe(const BpeFiles& files)
    : tokens_(tokens_by_id(files)), fuse_unknown_(files.fuse_unknown), merges_(merges_of(files, tokens_)) {
  bytes_.fill(-1);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& token = tokens_[i];
    const auto id = static_cast<int32_t>(i);
    if (token.empty()) continue;
    if (!is_valid_utf8(token)) throw InputError("{}: the token with id {} is not UTF-8", files.what, id);
    const Utf8Char first = decode_utf8_char(token);
    if (first.length == token.size()) characters_.emplace(first.code, id);
    if (files.unknown_token && token == *files.unknown_token) unknown_id_ = id;
    if (files.ignore_merges) words_.emplace(token, id);
  }
  if (files.unknown_token && !unknown_id_) {
    throw InputError("{}: the unknown token \"{}\" is not in the vocabulary", files.what,
                     *files.unknown_token);
  }
  if (files.byte_fallback) {
    std::unordered_map<std::string_view, int32_t> ids;
    for (size_t id = 0; id < tokens_.size(); ++id) ids.emplace(tokens_[id], static_cast<int32_t>(id));
    for (int b = 0; b < 256; ++b) {
      const auto found = ids.find(byte_token(static_cast<uint8_t>(b)));
      if (found != ids.end()) bytes_[b] = found->second;
    }
  }
  find_cuts(files);
}

void CharacterBpe::find_cuts(const BpeFiles& files) {
  // A whole word that is a token must be seen whole, and unknown characters must not fuse across the cut.
  cuts_before_spaces_ = !files.ignore_merges && characters_.count(kSpaceCode) > 0 &&
                        std::none_of(files.merges.begin(), files.merges.end(), [](const auto& merge) {
                          return starts_with_space(merge.second) && !is_all_spaces(merge.first);
                        });
}

size_t CharacterBpe::independent_length(std::string_view word) const {
  if (!cuts_before_spaces_) return word.size();
  size_t at = 0;
  while (starts_with_space(word.substr(at))) at += kSpaceText.size();
  return std::min(word.find(kSpaceText, at), word.size());
}

bool CharacterBpe::push_bytes(std::string_view character, MergeScratch& merges) const {
  const auto id_of = [&](char c) { return bytes_[static_cast<uint8_t>(c)]; };
  if (!std::all_of(character.begin(), character.end(), [&](char c) { return id_of(c) >= 0; })) return false;
  for (const char c : character) merges.push(id_of(c));
  return true;
}

void CharacterBpe::encode_word(std::string_view word, SubwordScratch& scratch,
                               std::vector<int32_t>& ids) const {
  if (const auto whole = words_.find(word); whole != words_.end()) {
    ids.push_back(whole->second);
    return;
  }
  MergeScratch& merges = scratch.merges;
  merges.clear();
  // An unknown token waits for the next known character, and so comes after the bytes of characters between
  // them: the reference does it so where only some bytes have tokens.
  bool unknown_waits = false;
  for (size_t at = 0; at < word.size();) {
    const Utf8Char next = decode_utf8_char(word.substr(at));
    const std::string_view character = word.substr(at, next.length);
    at += next.length;
    if (const auto found = characters_.find(next.code); found != characters_.end()) {
      if (unknown_waits) merges.push(*unknown_id_);
      unknown_waits = false;
      merges.push(found->second);
    } else if (!push_bytes(character, merges) && unknown_id_) {
      if (unknown_waits && !fuse_unknown_) merges.push(*unknown_id_);
      unknown_waits = true;
    }
  }
  if (unknown_waits) merges.push(*unknown_id_);
  merges_.merge(merges, ids);
}

}  // namespace ropescope
