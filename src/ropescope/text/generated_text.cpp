#include "ropescope/text/generated_text.h"

#include <algorithm>
#include <iterator>
#include <vector>

namespace ropescope {

std::string decode_generated(const Tokenizer& tokenizer, std::span<const int64_t> ids, bool skip_special) {
  std::vector<int64_t> known;
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(known),
               [&](int64_t id) { return id < tokenizer.vocab_size(); });
  return tokenizer.decode(known, skip_special);
}

}  // namespace ropescope
