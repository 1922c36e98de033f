// Texts with pictures: tokens of two kinds, and pairs of them of four. A pair's kind is that of its query and of its key;
// what is measured of all pairs is measured of each kind too.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace ropescope {

/// Separators between the tiles of a picture are text.
enum class TokenKind : int64_t { kText = 0, kVisual = 1 };
constexpr int64_t kTokenKinds = 2, kPairKinds = 4;

/// "text", "visual"
const char* token_kind_name(int64_t kind);

/// 0 text to text, 1 text to visual, 2 visual to text, 3 visual to visual: first the query, then the key.
constexpr int64_t pair_kind(int64_t query, int64_t key) { return kTokenKinds * query + key; }
constexpr int64_t query_kind(int64_t pair) { return pair / kTokenKinds; }
constexpr int64_t key_kind(int64_t pair) { return pair % kTokenKinds; }

/// "text_to_visual": the query is text.
std::string pair_kind_name(int64_t pair);
/// The numbers and what they stand for, for an attribute.
std::string pair_kinds_text();

}  // namespace ropescope
