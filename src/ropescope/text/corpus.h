// Plain documents from the file forms that researchers have: .txt, .jsonl, WikiText, dictd, folders of these.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace ropescope {

struct Document {
  std::string name;  ///< title, or "file:line"
  std::string text;  ///< UTF-8
};

/// auto-detected by kForm::kAuto: .jsonl (key `text`), .dict/.dict.dz with .index, WikiText (lines ` = Title
/// = `), else plain text with one document a file; kTextLines = one document a line.
enum class CorpusForm { kAuto, kTextFile, kTextLines, kJsonl, kWikitext, kDictd };

/// "auto", "text", "lines", "jsonl", "wikitext", "dictd"; throws UsageError.
CorpusForm parse_corpus_form(const std::string& text);

/// Calls `visit` for each document in a fixed order (folders: sorted by path; dictd: by offset, each entry
/// once, headers left out) until it returns false. Memory is proportional to one file or one document, not to
/// the corpus. Throws InputError naming file and line.
void visit_documents(const std::filesystem::path& path, CorpusForm form,
                     const std::function<bool(const Document&)>& visit);

}  // namespace ropescope
