#include "ropescope/text/tokenizer_parts.h"

#include "ropescope/core/errors.h"
#include "ropescope/text/utf8.h"

namespace ropescope {

void check_special_ids(const SpecialIds& special, int64_t size, const std::string& what) {
  const auto check = [&](int64_t id, const char* role) {
    if (id < 0 || id >= size)
      throw InputError("{}: the {} has id {}; expected 0 to {}", what, role, id, size - 1);
  };
  for (const int64_t id : special.start) check(id, "start token");
  for (const int64_t id : special.end) check(id, "end token");
  if (special.bos) check(*special.bos, "start token");
  if (special.eos) check(*special.eos, "end token");
}

void check_added_token(const AddedToken& token, int64_t size, const std::string& what) {
  // Matching looks as far ahead at every place of a text.
  constexpr size_t kLongest = 1024;
  if (token.content.size() > kLongest || !is_valid_utf8(token.content)) {
    throw InputError("{}: the added token with id {} is not UTF-8 of at most {} bytes", what, token.id,
                     kLongest);
  }
  const int64_t limit = 4 * size + 65536;
  if (token.id < 0 || token.id >= limit) {
    throw InputError("{}: added token \"{}\" has id {}; expected 0 to {}", what, token.content, token.id,
                     limit - 1);
  }
}

std::string_view readable_text(std::string_view text, std::string& buffer) {
  // Positions in a text are 32-bit inside.
  constexpr size_t kLongest = size_t{1} << 30;
  if (text.size() > kLongest) {
    throw InputError("text: expected at most {} bytes, found {}; cut it into parts", kLongest, text.size());
  }
  if (is_valid_utf8(text)) return text;
  buffer = replace_broken_utf8(text);
  return buffer;
}

std::vector<int64_t> surround(const std::vector<int32_t>& ids, const SpecialIds& special, bool add_special) {
  std::vector<int64_t> all;
  all.reserve(ids.size() + special.start.size() + special.end.size());
  if (add_special) all.insert(all.end(), special.start.begin(), special.start.end());
  all.insert(all.end(), ids.begin(), ids.end());
  if (add_special) all.insert(all.end(), special.end.begin(), special.end.end());
  return all;
}

}  // namespace ropescope
