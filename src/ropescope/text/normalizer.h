// Unicode normalisation forms, where a tokenizer's file asks for them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ropescope {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// Applies `forms` in order to valid UTF-8. Returns `text` itself if nothing changes, else a view of
/// `buffer`.
std::string_view normalize(std::string_view text, const std::vector<NormalForm>& forms, std::string& buffer);

}  // namespace ropescope
