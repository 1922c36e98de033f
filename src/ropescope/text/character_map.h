// The compiled replacement rules of a SentencePiece model ("precompiled_charsmap").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ropescope {

/// Throws InputError naming `what` if a lookup could leave `map`; an empty map is no rules.
void check_character_map(const std::string& map, const std::string& what);

/// Immutable once built: share it between threads freely.
class CharacterMap {
 public:
  /// Throws InputError naming `what` for a damaged map.
  CharacterMap(std::string map, const std::string& what);

  /// Appends `text` (valid UTF-8) to `out` with its rules applied as Hugging Face tokenizers apply them: to
  /// what a reader sees as one character if that is short, else to its parts. (SentencePiece itself looks for
  /// the longest rule.)
  void apply(std::string_view text, std::string& out) const;

 private:
  std::optional<std::string_view> replacement(std::string_view text) const;

  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace ropescope
