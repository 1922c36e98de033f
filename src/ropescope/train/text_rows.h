// Rows to train a language model on: pieces of plain documents, or conversations in LLaVA's JSON form.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ropescope/text/corpus.h"
#include "ropescope/text/tokenizer.h"
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
  int64_t max_bad_rows = 0;
};

/// Rows of a file or folder. A .json or .jsonl file whose rows have `conversations` is read as LLaVA's form
/// ([{"id", "conversations":[{"from","value"},...]},...], or one object a line), everything else as
/// documents, of which pieces of fewer than two tokens are left out. Conversations without an answer, with an
/// image, or malformed are bad: they are warned of by name and left out; more than `max_bad_rows` are an
/// InputError.
std::vector<TextRow> read_text_rows(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                    const TextRowOptions& options);

/// SHA-256 over ids and labels of all rows in order.
std::string fingerprint(const std::vector<TextRow>& rows);

TextBatch batch_rows(const std::vector<TextRow>& rows, const std::vector<int64_t>& chosen, int64_t pad_id);

}  // namespace ropescope
