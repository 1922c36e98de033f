#include "ropescope/train/text_rows.h"

#include <algorithm>
#include <sstream>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"
#include "ropescope/core/sha256.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

bool has_target(const LabeledIds& text) {
  return std::any_of(text.labels.begin() + 1, text.labels.end(), [](int64_t label) { return label != -100; });
}

/// Objects of a .json list or a .jsonl file, with what names each in messages.
std::vector<std::pair<std::string, Json>> read_objects(const fs::path& path) {
  std::vector<std::pair<std::string, Json>> objects;
  if (path.extension() == ".json") {
    Json all = read_json_file(path);
    if (!all.is_array()) throw InputError("{}: expected a list of conversations", path.string());
    for (size_t i = 0; i < all.size(); ++i) {
      objects.emplace_back(fmt::format("row {}", i), std::move(all[i]));
    }
    return objects;
  }
  std::istringstream stream(read_file(path));
  int64_t line = 0;
  for (std::string text; std::getline(stream, text);) {
    ++line;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string what = fmt::format("{}:{}", path.filename().string(), line);
    objects.emplace_back(fmt::format("line {}", line), parse_json(text, what));
  }
  return objects;
}

bool holds_conversations(const fs::path& path) {
  if (path.extension() == ".json") return true;
  if (path.extension() != ".jsonl" || !fs::is_regular_file(path)) return false;
  std::istringstream stream(read_file(path));
  for (std::string text; std::getline(stream, text);) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json first = parse_json(text, path.string());
    return first.is_object() && first.contains("conversations");
  }
  return false;
}

std::string row_name(const Json& object, const std::string& fallback) {
  if (!object.is_object() || !object.contains("id")) return fallback;
  const Json& id = object.at("id");
  return id.is_string() ? id.get<std::string>() : id.dump();
}

std::vector<ChatTurn> read_turns(const Json& object, const std::string& what) {
  if (!object.is_object() || !object.contains("conversations") || !object.at("conversations").is_array()) {
    throw InputError("{}: expected a list `conversations`", what);
  }
  if (object.contains("image") && !object.at("image").is_null()) {
    throw InputError("{}: expected a text, found an image; the model has no vision tower", what);
  }
  std::vector<ChatTurn> turns;
  for (const Json& turn : object.at("conversations")) {
    const std::string from = json_string(turn, "from", what);
    if (from != "human" && from != "gpt") {
      throw InputError("{}: expected `from` to be \"human\" or \"gpt\", found \"{}\"", what, from);
    }
    turns.push_back({from == "human", json_string(turn, "value", what)});
  }
  return turns;
}

std::vector<TextRow> read_conversations(const fs::path& path, const Tokenizer& tokenizer,
                                        const TextRowOptions& options) {
  std::vector<TextRow> rows;
  int64_t bad = 0;
  for (const auto& [place, object] : read_objects(path)) {
    const std::string name = row_name(object, place);
    const std::string what = fmt::format("{}, {} (id {})", path.filename().string(), place, name);
    try {
      TextRow row{name, label_conversation(tokenizer, read_turns(object, what), options.conversation)};
      if (std::count(row.text.ids.begin(), row.text.ids.end(), kImageId) > 0) {
        throw InputError("{}: <image> without an image", what);
      }
      if (row.text.ids.size() < 2 || !has_target(row.text)) throw InputError("{}: no answer to learn", what);
      rows.push_back(std::move(row));
    } catch (const InputError& error) {
      if (++bad > options.max_bad_rows) {
        throw InputError("{}. Bad rows: {}, --max-bad-rows allows {}", error.what(), bad,
                         options.max_bad_rows);
      }
      log_warning("{}: left out", error.what());
    }
  }
  return rows;
}

}  // namespace

std::vector<TextRow> read_text_rows(const fs::path& path, const Tokenizer& tokenizer,
                                    const TextRowOptions& options) {
  if (options.form == CorpusForm::kAuto && holds_conversations(path)) {
    return read_conversations(path, tokenizer, options);
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
