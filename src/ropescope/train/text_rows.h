// Rows to train a language model on: pieces of plain documents, or conversations in LLaVA's JSON form.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ropescope/text/corpus.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/train/bad_rows.h"
#include "ropescope/train/conversation.h"
#include "ropescope/train/text_model.h"

namespace ropescope {

struct TextRow {
  std::string name;  ///< "document#piece", or the conversation's id
  LabeledIds text;
};

struct TextRowOptions {
  CorpusForm form = CorpusForm::kAuto;
  ConversationOptions conversation;  ///< its max_length also cuts documents into pieces; 0: whole
};

/// Rows of a file or folder. A .json or .jsonl file of conversations is read as conversation_rows.h says (a
/// row with an image is bad), everything else as documents, of which pieces of fewer than two tokens are left
/// out. Throws InputError.
std::vector<TextRow> read_text_rows(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                    const TextRowOptions& options, BadRows& bad);

/// SHA-256 over ids and labels of all rows in order.
std::string fingerprint(const std::vector<TextRow>& rows);

TextBatch batch_rows(const std::vector<TextRow>& rows, const std::vector<int64_t>& chosen, int64_t pad_id);

}  // namespace ropescope
