#include "ropescope/text/character_map.h"

#include <cstring>
#include <memory>

#include <unicode/brkiter.h>
#include <unicode/utext.h>

#include "ropescope/core/errors.h"
#include "ropescope/text/utf8.h"

namespace ropescope {

namespace {

/// The longest character, in bytes, that the reference looks up as a whole.
constexpr size_t kLongestWhole = 5;

// The map is a double-array trie (Darts) and the texts that its leaves point to, as
//   uint32 size of the trie in bytes | trie | texts, each ended by a zero byte.
// Fields of a unit: label in bits 0-7 and 31, has_leaf bit 8, offset bits 10-30, shifted by 8 if bit 9 is set; of a
// leaf: the place of its text in bits 0-30.
constexpr uint32_t kLabelBits = 0x800000FFU;
constexpr uint32_t kLeafBits = 0x7FFFFFFFU;

uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); }
bool has_leaf(uint32_t unit) { return (unit & (1U << 8)) != 0; }

struct Parts {
  std::vector<uint32_t> units;
  std::string_view texts;
};

Parts parts_of(const std::string& map, const std::string& what) {
  const auto fail = [&] { throw InputError("{}: the character map of the normaliser is damaged", what); };
  uint32_t trie_bytes = 0;
  if (map.size() < 4) fail();
  std::memcpy(&trie_bytes, map.data(), 4);
  if (trie_bytes < 1024 || trie_bytes % 4 != 0 || trie_bytes >= map.size() - 4 || map.back() != '\0') fail();
  Parts parts;
  parts.units.resize(trie_bytes / 4);
  std::memcpy(parts.units.data(), map.data() + 4, trie_bytes);
  parts.texts = std::string_view(map).substr(4 + trie_bytes);
  const std::vector<uint32_t>& units = parts.units;
  // Offsets are followed unchecked later, so every node that can be reached is checked here.
  std::vector<bool> seen(units.size(), false);
  std::vector<size_t> open = {0};
  seen[0] = true;
  while (!open.empty()) {
    const size_t node = open.back();
    open.pop_back();
    const uint32_t unit = units[node];
    const size_t base = node ^ offset_of(unit);
    // A lookup flips any of the low eight bits.
    if ((base | 0xFF) >= units.size()) fail();
    if (has_leaf(unit) && (units[base] & kLeafBits) >= parts.texts.size()) fail();
    for (uint32_t label = 1; label < 256; ++label) {
      const size_t child = base ^ label;
      if ((units[child] & kLabelBits) != label || seen[child]) continue;
      seen[child] = true;
      open.push_back(child);
    }
  }
  return parts;
}

struct CloseText {
  void operator()(UText* text) const { utext_close(text); }
};

/// Calls visit(begin, end) for what a reader sees as one character each.
template <typename Visit>
void for_each_seen_character(std::string_view text, const Visit& visit) {
  UErrorCode error = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> breaks(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), error));
  const std::unique_ptr<UText, CloseText> view(
      utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &error));
  if (U_SUCCESS(error) != 0) breaks->setText(view.get(), error);
  if (U_FAILURE(error) != 0) throw EnvironmentError("ICU: its rules for characters are missing");
  int32_t begin = breaks->first();
  for (int32_t end = breaks->next(); end != icu::BreakIterator::DONE; begin = end, end = breaks->next()) {
    visit(static_cast<size_t>(begin), static_cast<size_t>(end));
  }
}

}  // namespace

void check_character_map(const std::string& map, const std::string& what) {
  if (!map.empty()) parts_of(map, what);
}

CharacterMap::CharacterMap(std::string map, const std::string& what) {
  if (map.empty()) return;
  Parts parts = parts_of(map, what);
  units_ = std::move(parts.units);
  texts_ = parts.texts;
  if (!is_valid_utf8(texts_)) throw InputError("{}: the character map of the normaliser is not UTF-8", what);
}

/// Of the shortest rule that `text` begins with, whatever follows in `text` (as the reference takes it).
std::optional<std::string_view> CharacterMap::replacement(std::string_view text) const {
  if (units_.empty()) return std::nullopt;
  size_t node = offset_of(units_[0]);
  for (const char c : text) {
    node ^= static_cast<uint8_t>(c);
    const uint32_t unit = units_[node];
    if ((unit & kLabelBits) != static_cast<uint8_t>(c)) return std::nullopt;
    node ^= offset_of(unit);
    if (has_leaf(unit)) {
      const std::string_view found = std::string_view(texts_).substr(units_[node] & kLeafBits);
      return found.substr(0, found.find('\0'));
    }
  }
  return std::nullopt;
}

void CharacterMap::apply(std::string_view text, std::string& out) const {
  for_each_seen_character(text, [&](size_t begin, size_t end) {
    const std::string_view seen = text.substr(begin, end - begin);
    if (seen.size() <= kLongestWhole) {
      if (const auto whole = replacement(seen)) {
        out.append(*whole);
        return;
      }
    }
    for (size_t at = 0; at < seen.size();) {
      const std::string_view part = seen.substr(at, decode_utf8_char(seen.substr(at)).length);
      out.append(replacement(part).value_or(part));
      at += part.size();
    }
  });
}

}  // namespace ropescope
