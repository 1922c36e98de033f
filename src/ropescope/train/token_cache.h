// Conversations that were tokenized before, in a safetensors file: reading half a million takes seconds in
// place of minutes. The file holds ids, labels and names of all rows and images, the bad rows with their
// reasons, and a key: SHA-256 of the data, the tokenizer's files and the options. With another key, or
// damaged, it is made anew.
#pragma once

#include <filesystem>
#include <vector>

#include "ropescope/train/conversation_rows.h"

namespace ropescope {

/// read_conversation_rows through `cache`, which is written where it does not serve. `model`: the folder or
/// file that `tokenizer` comes from. An image that vanished since is found when it is read.
std::vector<ConversationRow> read_cached_rows(const std::filesystem::path& cache,
                                              const std::filesystem::path& data,
                                              const std::filesystem::path& model, const Tokenizer& tokenizer,
                                              const ConversationRowOptions& options, BadRows& bad);

}  // namespace ropescope
