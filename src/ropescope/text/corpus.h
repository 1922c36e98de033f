// Plain documents from the file forms that researchers have: .txt, .jsonl, WikiText, dictd, folders of these.
//
// Everywhere broken UTF-8 becomes U+FFFD (one warning a file counts them), files that are no text are refused
// (text_file.h), a byte order mark at the start of a file is dropped, and a line
// that ends in CR LF ends in LF (in .jsonl the text is what JSON says, untouched).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope {

struct Document {
  std::string name;  ///< title, or "file:line"
  std::string text;  ///< UTF-8
  /// What a line of kJsonl says of pictures and clips beside its text, as it stands there: an object of those of its keys
  /// `images`, `videos` and `fps` that it has; else null. Not checked here.
  Json media = nullptr;
  std::filesystem::path file = {};  ///< of a document with media
  int64_t line = 0;
};

/// kAuto goes by the name, then by the content: .jsonl, .ndjson; .dict, .dict.dz, .index or the name without
/// them (dictd); WikiText if the first line with text is a heading ` = Title = `; else one document a file.
/// kTextLines: one document a line, blank lines left out. kJsonl: one object a line, key `text` (its `title`,
/// `name` or `id` gives the name). kWikitext: an article reaches from its heading, which belongs to it, to
/// the next one; sections ` = = Title = = ` stay inside.
enum class CorpusForm { kAuto, kTextFile, kTextLines, kJsonl, kWikitext, kDictd };

/// "auto", "text", "lines", "jsonl", "wikitext", "dictd"; throws UsageError.
CorpusForm parse_corpus_form(const std::string& text);

/// Calls `visit` for each document in a fixed order until it returns false. A folder is read with all folders
/// in it, sorted by path: its files named .txt, .text, .raw, .tokens, .jsonl, .ndjson, .dict, .dict.dz;
/// others are passed over, with a warning that names them. dictd goes by offset: each entry once, whatever number of headwords it has, named
/// by the first of them; headers (00-database-...) left out. Memory is proportional to one file (kTextFile),
/// to one document (others) and to the index (dictd), not to the corpus; compressed files are read as a
/// stream, so a small file that unpacks to much costs time only. Returns the files that were opened, in that order.
/// Throws InputError naming file and line.
std::vector<std::filesystem::path> visit_documents(const std::filesystem::path& path, CorpusForm form,
                                                   const std::function<bool(const Document&)>& visit);

}  // namespace ropescope
