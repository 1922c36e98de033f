// Conversations in LLaVA's JSON form as rows of token ids, labels and image files.
//   [{"id", "image": "a.jpg" or ["a.jpg", ...], "conversations": [{"from": "human"|"gpt", "value"}, ...]},
//   ...]
// or one such object a line. Source: LLaVA (arXiv 2304.08485), its 558K and instruction mixtures.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/text/tokenizer.h"
#include "ropescope/train/bad_rows.h"
#include "ropescope/train/conversation.h"

namespace ropescope {

struct ConversationRow {
  std::string name;
  LabeledIds text;                  ///< kImageId stands for an image
  std::vector<std::string> images;  ///< as the data names them, in the order of their placeholders
};

struct ConversationRowOptions {
  ConversationOptions conversation;
  /// How images are moved to the front of their turn. None: as the template's original code does (ChatML
  /// kSingle, others kAlways), but a turn with several images keeps them all; under a checkpoint's own template they stay.
  std::optional<ImageMove> move;
  bool images = false;                 ///< whether the model sees
  std::filesystem::path image_folder;  ///< what relative names of images start from
};

/// Whether a .json or .jsonl file holds conversations (and not plain documents).
bool holds_conversations(const std::filesystem::path& path);

/// All good rows in the file's order. Bad are rows that are malformed, have no answer, an image that is not
/// there, more or fewer images than `<image>` marks, or an image where the model sees none. Rows whose
/// answers lie beyond max_length, or lose their labels under kUpstream, stay: they only take their place in a
/// batch. Throws InputError for a file that is no such list.
std::vector<ConversationRow> read_conversation_rows(const std::filesystem::path& path,
                                                    const Tokenizer& tokenizer,
                                                    const ConversationRowOptions& options, BadRows& bad);

/// SHA-256 over ids, labels and names of images of all rows in order.
std::string fingerprint(const std::vector<ConversationRow>& rows);

}  // namespace ropescope
