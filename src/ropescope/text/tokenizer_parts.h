// What every kind of tokenizer does before and after its own work.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ropescope/text/added_tokens.h"

namespace ropescope {

/// Tokens around a text, as the files say.
struct SpecialIds {
  std::vector<int64_t> start;  ///< put before a text when special tokens are added
  std::vector<int64_t> end;    ///< put after it
  std::optional<int64_t> bos;
  std::optional<int64_t> eos;
};

/// Throws InputError naming `what` if one of them does not lie in [0, size).
void check_special_ids(const SpecialIds& special, int64_t size, const std::string& what);

/// Throws InputError if the content is not UTF-8 of a sane length, or the id is negative or far beyond a
/// vocabulary of `size` ids (ids may have gaps, but a small file must not make us allocate for 2^60).
void check_added_token(const AddedToken& token, int64_t size, const std::string& what);

/// `text` itself, or `buffer` with broken bytes replaced. Throws InputError beyond 1 GiB.
std::string_view readable_text(std::string_view text, std::string& buffer);

/// `ids` between start and end tokens.
std::vector<int64_t> surround(const std::vector<int32_t>& ids, const SpecialIds& special, bool add_special);

}  // namespace ropescope
