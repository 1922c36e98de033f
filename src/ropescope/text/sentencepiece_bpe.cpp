#include "ropescope/text/sentencepiece_bpe.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>

#include "ropescope/text/utf8.h"

namespace ropescope {

namespace {

using Type = SentencePiece::Type;

constexpr char32_t kSpaceSign = 0x2581;

/// Calls visit(position, character) until it returns false.
template <typename Visit>
void for_each_character(std::string_view text, const Visit& visit) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char next = decode_utf8_char(text.substr(at));
    if (!visit(at, next.code)) return;
    at += next.length;
  }
}

bool is_one_character(std::string_view text) { return decode_utf8_char(text).length == text.size(); }

std::unordered_map<std::string_view, int32_t> normal_pieces(const SentencePieceModel& model) {
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (model.pieces[id].type == Type::kNormal) ids.emplace(model.pieces[id].text, static_cast<int32_t>(id));
  }
  return ids;
}

}  // namespace

bool SentencePieceBpe::applies(const SentencePieceModel& model) {
  const bool plain = model.kind == SentencePieceModel::Kind::kBpe && model.byte_fallback &&
                     model.character_map.empty() && model.escape_whitespaces &&
                     !model.remove_extra_whitespaces;
  if (!plain) return false;
  const auto ids = normal_pieces(model);
  return std::all_of(model.pieces.begin(), model.pieces.end(), [&](const SentencePiece& piece) {
    if (piece.type == Type::kUserDefined || piece.type == Type::kUnused) return false;
    if (piece.type != Type::kNormal) return true;
    bool known = true;
    for_each_character(piece.text, [&](size_t, char32_t code) {
      std::string character;
      append_utf8(character, code);
      // The library turns spaces into U+2581 before it looks, so a piece with a space would never be found.
      known = code != ' ' && ids.count(character) > 0;
      return known;
    });
    return known;
  });
}

SentencePieceBpe::SentencePieceBpe(const SentencePieceModel& model) {
  ascii_.fill(-1);
  bytes_.fill(-1);
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    if (piece.type == Type::kByte) {
      unsigned byte = 0;
      std::from_chars(piece.text.data() + 3, piece.text.data() + 5, byte, 16);
      bytes_[byte] = static_cast<int32_t>(id);
    }
    if (piece.type != Type::kNormal || !is_one_character(piece.text)) continue;
    const char32_t code = decode_utf8_char(piece.text).code;
    characters_.emplace(code, static_cast<int32_t>(id));
    if (code < ascii_.size()) ascii_[code] = static_cast<int32_t>(id);
  }
  // A space in a text is read as U+2581.
  if (const auto sign = characters_.find(kSpaceSign); sign != characters_.end()) ascii_[' '] = sign->second;
  add_merges(model);
  find_cuts(model);
}

/// Two symbols merge if their joint text is a piece; the best score first. Equal scores get equal ranks, so
/// that the leftmost wins, as in the library.
void SentencePieceBpe::add_merges(const SentencePieceModel& model) {
  const auto ids = normal_pieces(model);
  std::map<float, uint32_t, std::greater<>> ranks;
  for (const SentencePiece& piece : model.pieces) ranks.emplace(piece.score, 0);
  uint32_t next_rank = 0;
  for (auto& [score, rank] : ranks) rank = next_rank++;

  struct Found {
    int32_t left;
    int32_t right;
    uint32_t rank;
    int32_t merged;
  };
  std::vector<Found> found;
  for (const auto& [text, id] : ids) {
    for_each_character(text, [&, whole = text, merged = id](size_t at, char32_t) {
      if (at == 0) return true;
      const auto left = ids.find(whole.substr(0, at));
      const auto right = left == ids.end() ? left : ids.find(whole.substr(at));
      if (right != ids.end())
        found.push_back({left->second, right->second, ranks.at(model.pieces[merged].score), merged});
      return true;
    });
  }
  merges_ = MergeTable(found.size());
  for (const Found& merge : found) merges_.add(merge.left, merge.right, merge.rank, merge.merged);
}

void SentencePieceBpe::find_cuts(const SentencePieceModel& model) {
  for (const SentencePiece& piece : model.pieces) {
    if (piece.type != Type::kNormal) continue;
    bool after_word = false;
    for_each_character(piece.text, [&](size_t, char32_t code) {
      if (code == kSpaceSign && after_word) cuts_before_spaces_ = false;
      after_word = after_word || code != kSpaceSign;
      if (code == '\n' && piece.text.size() > 1) cuts_around_newlines_ = false;
      return true;
    });
  }
}

void SentencePieceBpe::encode(std::string_view text, MergeScratch& scratch, std::vector<int32_t>& ids) const {
  scratch.clear();
  for (size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    size_t length = 1;
    int32_t id = -1;
    if (lead < ascii_.size()) {
      id = ascii_[lead];
    } else {
      const Utf8Char next = decode_utf8_char(text.substr(at));
      length = next.length;
      if (const auto found = characters_.find(next.code); found != characters_.end()) id = found->second;
    }
    if (id >= 0) {
      scratch.push(id);
    } else if (lead == ' ') {
      for (const char c : std::string_view("\xE2\x96\x81"))
        scratch.push(bytes_[static_cast<unsigned char>(c)]);
    } else {
      for (const char c : text.substr(at, length)) scratch.push(bytes_[static_cast<unsigned char>(c)]);
    }
    at += length;
  }
  merges_.merge(scratch, ids);
}

}  // namespace ropescope
