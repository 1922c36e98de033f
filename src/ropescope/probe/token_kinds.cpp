#include "ropescope/probe/token_kinds.h"

#include <fmt/format.h>

namespace ropescope {

const char* token_kind_name(int64_t kind) {
  return kind == static_cast<int64_t>(TokenKind::kVisual) ? "visual" : "text";
}

std::string pair_kind_name(int64_t pair) {
  return fmt::format("{}_to_{}", token_kind_name(query_kind(pair)), token_kind_name(key_kind(pair)));
}

std::string pair_kinds_text() {
  std::string text;
  for (int64_t pair = 0; pair < kPairKinds; ++pair) {
    text += fmt::format("{}{} {}", pair == 0 ? "" : ", ", pair, pair_kind_name(pair));
  }
  return text + " (query to key)";
}

}  // namespace ropescope
