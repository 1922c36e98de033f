#include "ropescope/text/corpus.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <string_view>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/text/dictd.h"
#include "ropescope/text/text_file.h"
#include "ropescope/text/utf8.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

using Visit = std::function<bool(const Document&)>;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// Lines of a text file with their numbers from 1, without their ends and in valid UTF-8.
class LineReader {
 public:
  explicit LineReader(const fs::path& path) : path_(path), stream_(path, std::ios::binary), text_(path) {
    if (!stream_) throw InputError("{}: cannot be read", path.string());
  }

  bool next(std::string& line) {
    if (!std::getline(stream_, line)) {
      if (stream_.bad()) throw InputError("{}: reading failed after line {}", path_.string(), number_);
      return false;
    }
    if (++number_ == 1 && line.rfind(kByteOrderMark, 0) == 0) line.erase(0, kByteOrderMark.size());
    if (!line.empty() && line.back() == '\r') line.pop_back();
    line = text_.repaired(std::move(line), number_);
    return true;
  }
  /// Tells of broken characters among the lines that were read.
  void report() const { text_.report(); }
  size_t number() const { return number_; }
  std::string where() const { return path_.string() + ":" + std::to_string(number_); }
  /// The same without the folder: for names of documents.
  std::string short_where() const { return path_.filename().string() + ":" + std::to_string(number_); }

 private:
  fs::path path_;
  std::ifstream stream_;
  TextFile text_;
  size_t number_ = 0;
};

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

/// The title of ` = Title = `, empty for any other line (sections have ` = = Title = = `).
std::string_view article_title(std::string_view line) {
  constexpr std::string_view kOpen = "= ";
  constexpr std::string_view kClose = " =";
  const size_t first = line.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  line = line.substr(first, line.find_last_not_of(" \t") + 1 - first);
  if (line.size() < 5 || line.substr(0, 2) != kOpen || line.substr(line.size() - 2) != kClose) return {};
  const std::string_view title = line.substr(2, line.size() - 4);
  const bool section = title.front() == '=' || title.back() == '=';
  return section || is_blank(title) ? std::string_view() : title;
}

bool visit_text_file(const fs::path& path, const Visit& visit) {
  TextFile file(path);
  std::string text = read_file(path);
  if (text.rfind(kByteOrderMark, 0) == 0) text.erase(0, kByteOrderMark.size());
  size_t out = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    text[out++] = text[i];
  }
  text.resize(out);
  text = file.repaired(std::move(text));
  file.report();
  return visit({path.filename().string(), std::move(text)});
}

bool visit_lines(const fs::path& path, const Visit& visit) {
  LineReader lines(path);
  for (std::string line; lines.next(line);) {
    if (is_blank(line)) continue;
    if (visit({lines.short_where(), line})) continue;
    lines.report();
    return false;
  }
  lines.report();
  return true;
}

std::string document_name(const Json& object, const LineReader& lines) {
  for (const char* key : {"title", "name", "id"}) {
    const auto found = object.find(key);
    if (found == object.end()) continue;
    if (found->is_string()) return found->get<std::string>();
    if (found->is_number_integer()) return found->dump();
  }
  return lines.short_where();
}

/// The keys that name pictures and clips; null where there is none.
Json media_of(const Json& object) {
  Json media = nullptr;
  for (const char* key : {"images", "videos", "fps"}) {
    if (const auto found = object.find(key); found != object.end() && !found->is_null()) media[key] = *found;
  }
  const bool some = media.contains("images") || media.contains("videos");
  return some ? media : Json(nullptr);
}

bool visit_jsonl(const fs::path& path, const Visit& visit) {
  LineReader lines(path);
  for (std::string line; lines.next(line);) {
    if (is_blank(line)) continue;
    const Json object = parse_json(line, lines.where());
    const std::string text = json_string(object, "text", lines.where());
    if (visit({document_name(object, lines), text, media_of(object), path,
               static_cast<int64_t>(lines.number())}))
      continue;
    lines.report();
    return false;
  }
  lines.report();
  return true;
}

bool visit_wikitext(const fs::path& path, const Visit& visit) {
  LineReader lines(path);
  Document article{path.filename().string(), ""};
  const auto flush = [&] {
    const bool more = is_blank(article.text) || visit(article);
    article.text.clear();
    return more;
  };
  for (std::string line; lines.next(line);) {
    if (const std::string_view title = article_title(line); !title.empty()) {
      if (!flush()) {
        lines.report();
        return false;
      }
      article.name = title;
    }
    article.text += line;
    article.text += '\n';
  }
  lines.report();
  return flush();
}

bool starts_with_heading(const fs::path& path) {
  LineReader lines(path);
  for (std::string line; lines.next(line);) {
    if (!is_blank(line)) return !article_title(line).empty();
  }
  return false;
}

std::string lower_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

CorpusForm detect_form(const fs::path& path) {
  const std::string extension = lower_extension(path);
  if (extension == ".jsonl" || extension == ".ndjson") return CorpusForm::kJsonl;
  const bool dictd_name = extension == ".dict" || extension == ".dz" || extension == ".index";
  if (dictd_name || !fs::exists(path)) return CorpusForm::kDictd;
  return starts_with_heading(path) ? CorpusForm::kWikitext : CorpusForm::kTextFile;
}

/// Adds the files that it opens to `read`.
bool visit_file(const fs::path& path, CorpusForm form, const Visit& visit, std::vector<fs::path>& read) {
  if (form == CorpusForm::kAuto) form = detect_form(path);
  if (form != CorpusForm::kDictd) read.push_back(path);
  switch (form) {
    case CorpusForm::kTextLines:
      return visit_lines(path, visit);
    case CorpusForm::kJsonl:
      return visit_jsonl(path, visit);
    case CorpusForm::kWikitext:
      return visit_wikitext(path, visit);
    case CorpusForm::kDictd: {
      const auto files = find_dictd(path);
      if (!files) {
        throw InputError(
            "{}: there is no such file, nor a dictionary of that name (.dict.dz or .dict, and .index)",
            path.string());
      }
      read.insert(read.end(), {files->text, files->index});
      return visit_dictd(*files, visit);
    }
    default:
      return visit_text_file(path, visit);
  }
}

/// Says which files of a folder are left out: a corpus must not shrink unseen.
void tell_of_others(const fs::path& folder, std::vector<std::string> names) {
  if (names.empty()) return;
  constexpr size_t kShown = 5;
  std::sort(names.begin(), names.end());
  std::string list;
  for (size_t i = 0; i < names.size() && i < kShown; ++i) list += (i == 0 ? "" : ", ") + names[i];
  log_warning("{}: passed over {} file{} whose name is not one of a text: {}{}", folder.string(),
              names.size(), names.size() == 1 ? "" : "s", list, names.size() > kShown ? ", ..." : "");
}

/// Files of a folder that can be documents, by path.
std::vector<fs::path> corpus_files(const fs::path& folder) {
  constexpr std::array<std::string_view, 8> kKnown = {".txt",   ".text",   ".raw",  ".tokens",
                                                      ".jsonl", ".ndjson", ".dict", ".dz"};
  std::vector<fs::path> files;
  std::vector<std::string> others;
  std::error_code error;
  // Links to folders are not followed: they can lead in a circle.
  for (fs::recursive_directory_iterator place(folder, error), end; !error && place != end;
       place.increment(error)) {
    const fs::path& path = place->path();
    if (!place->is_regular_file() || path.filename().string().front() == '.') continue;
    const std::string extension = lower_extension(path);
    const bool known = std::find(kKnown.begin(), kKnown.end(), extension) != kKnown.end() &&
                       (extension != ".dz" || lower_extension(path.stem()) == ".dict");
    if (known) {
      files.push_back(path);
    } else if (extension != ".index") {  // a dictionary's, read with it
      others.push_back(path.lexically_relative(folder).string());
    }
  }
  if (error) throw InputError("{}: cannot be listed ({})", folder.string(), error.message());
  if (files.empty()) {
    throw InputError(
        "{}: expected files named .txt, .jsonl, .raw, .tokens or .dict.dz in this folder, found none",
        folder.string());
  }
  tell_of_others(folder, std::move(others));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

CorpusForm parse_corpus_form(const std::string& text) {
  static const std::vector<std::pair<std::string, CorpusForm>> forms = {
      {"auto", CorpusForm::kAuto},   {"text", CorpusForm::kTextFile},     {"lines", CorpusForm::kTextLines},
      {"jsonl", CorpusForm::kJsonl}, {"wikitext", CorpusForm::kWikitext}, {"dictd", CorpusForm::kDictd}};
  std::vector<std::string> names;
  for (const auto& [name, form] : forms) {
    if (name == text) return form;
    names.push_back(name);
  }
  const std::string near = nearest_name(text, names);
  throw UsageError("corpus form: expected auto, text, lines, jsonl, wikitext or dictd, found \"{}\"{}", text,
                   near.empty() ? "" : "; did you mean \"" + near + "\"?");
}

std::vector<fs::path> visit_documents(const fs::path& path, CorpusForm form, const Visit& visit) {
  std::vector<fs::path> read;
  if (!fs::is_directory(path)) {
    visit_file(path, form, visit, read);
    return read;
  }
  for (const fs::path& file : corpus_files(path)) {
    if (!visit_file(file, form, visit, read)) break;
  }
  return read;
}

}  // namespace ropescope
