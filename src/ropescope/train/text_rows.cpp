#include "ropescope/train/text_rows.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "ropescope/core/sha256.h"
#include "ropescope/train/conversation_rows.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

std::vector<TextRow> read_conversations(const fs::path& path, const Tokenizer& tokenizer,
                                        const TextRowOptions& options, BadRows& bad) {
  ConversationRowOptions without_images;
  without_images.conversation = options.conversation;
  std::vector<TextRow> rows;
  for (ConversationRow& row : read_conversation_rows(path, tokenizer, without_images, bad)) {
    rows.push_back({std::move(row.name), std::move(row.text)});
  }
  return rows;
}

}  // namespace

std::vector<TextRow> read_text_rows(const fs::path& path, const Tokenizer& tokenizer,
                                    const TextRowOptions& options, BadRows& bad) {
  if (options.form == CorpusForm::kAuto && holds_conversations(path)) {
    return read_conversations(path, tokenizer, options, bad);
  }
  std::vector<TextRow> rows;
  visit_documents(path, options.form, [&](const Document& document) {
    const std::vector<int64_t> ids = tokenizer.encode(document.text, EncodeOptions{});
    const auto longest = static_cast<size_t>(options.conversation.max_length);
    const size_t piece = longest == 0 ? std::max<size_t>(ids.size(), 1) : longest;
    for (size_t first = 0; first + 1 < ids.size(); first += piece) {
      const size_t last = std::min(first + piece, ids.size());
      if (last - first < 2) break;
      TextRow row{fmt::format("{}#{}", document.name, first / piece), {}};
      row.text.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(first),
                          ids.begin() + static_cast<std::ptrdiff_t>(last));
      row.text.labels = row.text.ids;
      rows.push_back(std::move(row));
    }
    return true;
  });
  return rows;
}

std::string fingerprint(const std::vector<TextRow>& rows) {
  Sha256 sha;
  for (const TextRow& row : rows) {
    const uint64_t size = row.text.ids.size();
    sha.add(&size, sizeof size);
    sha.add(row.text.ids.data(), size * sizeof(int64_t));
    sha.add(row.text.labels.data(), size * sizeof(int64_t));
  }
  return sha.finish();
}

TextBatch batch_rows(const std::vector<TextRow>& rows, const std::vector<int64_t>& chosen, int64_t pad_id) {
  std::vector<std::vector<int64_t>> ids, labels;
  std::vector<std::string> names;
  for (const int64_t index : chosen) {
    const TextRow& row = rows[static_cast<size_t>(index)];
    ids.push_back(row.text.ids);
    labels.push_back(row.text.labels);
    names.push_back(row.name);
  }
  return pad_rows(ids, labels, std::move(names), pad_id);
}

}  // namespace ropescope
