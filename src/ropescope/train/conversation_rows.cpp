#include "ropescope/train/conversation_rows.h"

#include <algorithm>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"
#include "ropescope/core/parallel.h"
#include "ropescope/core/sha256.h"
#include "ropescope/text/chat_template.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSpace = " \t\r\n";
// Rows that a thread takes at a time.
constexpr int64_t kRowsAtOnce = 64;
constexpr unsigned kMostThreads = 16;

/// The text of one row, and where it stands.
struct Place {
  std::string_view text;
  std::string where;  // "row 3", "line 7"
};

std::vector<Place> split_lines(std::string_view all) {
  std::vector<Place> places;
  int64_t line = 0;
  for (size_t first = 0; first < all.size();) {
    const size_t end = std::min(all.find('\n', first), all.size());
    const std::string_view text = all.substr(first, end - first);
    ++line;
    if (text.find_first_not_of(kSpace) != std::string_view::npos) {
      places.push_back({text, fmt::format("line {}", line)});
    }
    first = end + 1;
  }
  return places;
}

/// The end of the JSON value that begins at `at`: the comma or bracket that follows it in its list.
size_t end_of_value(std::string_view all, size_t at) {
  int64_t depth = 0;
  bool quoted = false;
  for (; at < all.size(); ++at) {
    const char c = all[at];
    if (quoted) {
      if (c == '\\') ++at;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (depth == 0 && (c == ',' || c == ']')) {
      break;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return std::min(at, all.size());
}

/// The rows of one large list, each parsed by itself later: whole files of this form are too big to hold as
/// objects.
std::vector<Place> split_list(std::string_view all, const std::string& what) {
  const auto skip = [&](size_t at) { return std::min(all.find_first_not_of(kSpace, at), all.size()); };
  size_t at = skip(all.rfind("\xEF\xBB\xBF", 0) == 0 ? 3 : 0);
  if (at == all.size() || all[at] != '[') throw InputError("{}: expected a list of conversations", what);
  std::vector<Place> places;
  at = skip(at + 1);
  if (at < all.size() && all[at] == ']') return places;
  for (;;) {
    const size_t end = end_of_value(all, at);
    if (end == all.size()) throw InputError("{}: expected a list of conversations that ends with ]", what);
    places.push_back({all.substr(at, end - at), fmt::format("row {}", places.size())});
    at = skip(end + 1);
    if (all[end] == ']') break;
  }
  if (at != all.size()) throw InputError("{}: expected nothing after the list of conversations", what);
  return places;
}

std::string_view view_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
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
  std::vector<ChatTurn> turns;
  bool answered = false;
  for (const Json& turn : object.at("conversations")) {
    const std::string from = json_string(turn, "from", what);
    if (from != "human" && from != "gpt") {
      throw InputError("{}: expected `from` to be \"human\" or \"gpt\", found \"{}\"", what, from);
    }
    turns.push_back({from == "human", json_string(turn, "value", what)});
    answered = answered || (turns.size() > 1 && from == "gpt");
  }
  if (!answered) throw InputError("{}: no answer to learn", what);
  return turns;
}

std::vector<std::string> read_images(const Json& object, const ConversationRowOptions& options,
                                     const std::string& what) {
  std::vector<std::string> images;
  if (json_has(object, "video") && !object.at("video").is_null()) {
    throw InputError("{}: expected pictures, found a video; clips are not trained here", what);
  }
  const auto found = object.find("image");
  if (found == object.end() || found->is_null()) return images;
  for (const Json& name : found->is_array() ? *found : Json::array({*found})) {
    if (!name.is_string() || name.get<std::string>().empty()) {
      throw InputError("{}: image: expected the name of a file, or a list of names", what);
    }
    const fs::path file = options.image_folder / name.get<std::string>();
    std::error_code ignored;
    if (options.images && !fs::is_regular_file(file, ignored)) {
      throw InputError("{}: image {}: there is no such file", what, file.string());
    }
    images.push_back(name.get<std::string>());
  }
  if (!images.empty() && !options.images) {
    throw InputError("{}: expected a text, found an image; the model has no vision tower", what);
  }
  return images;
}

/// None: a checkpoint's own template says where pictures stand.
std::optional<ImageMove> move_of(const std::vector<ChatTurn>& turns, const ConversationRowOptions& options) {
  if (options.move || options.conversation.own != nullptr) return options.move;
  const bool several = std::any_of(turns.begin(), turns.end(),
                                   [](const ChatTurn& turn) { return count_images(turn.text) > 1; });
  return several || options.conversation.chat == ChatTemplate::kQwen ? ImageMove::kSingle
                                                                     : ImageMove::kAlways;
}

ConversationRow read_row(const Json& object, const std::string& name, const std::string& what,
                         const Tokenizer& tokenizer, const ConversationRowOptions& options) {
  ConversationRow row;
  row.name = name;
  std::vector<ChatTurn> turns = read_turns(object, what);
  row.images = read_images(object, options, what);
  if (!row.images.empty()) {
    const std::optional<ImageMove> move = move_of(turns, options);  // first: arguments are made in any order
    if (move) turns = move_images(std::move(turns), *move);
  }
  size_t marks = 0;
  for (const ChatTurn& turn : turns) marks += static_cast<size_t>(count_images(turn.text));
  if (marks != row.images.size()) {
    throw InputError("{}: expected one <image> for each of {} images, found {}", what, row.images.size(),
                     marks);
  }
  row.text = label_conversation(tokenizer, turns, options.conversation);
  if (row.text.ids.size() < 2) throw InputError("{}: no answer to learn", what);
  // (what was cut off at max_length may have held images)
  const auto left = std::count(row.text.ids.begin(), row.text.ids.end(), kImageId);
  row.images.resize(static_cast<size_t>(left));
  return row;
}

/// A row, or why there is none.
struct Outcome {
  ConversationRow row;
  std::string reason;
};

Outcome outcome_of(const Place& place, const std::string& file, const Tokenizer& tokenizer,
                   const ConversationRowOptions& options) {
  Outcome outcome;
  outcome.row.name = place.where;
  std::string what = fmt::format("{}, {}", file, place.where);
  try {
    const Json object = parse_json(place.text, what);
    outcome.row.name = row_name(object, place.where);
    what += fmt::format(" (id {})", outcome.row.name);
    outcome.row = read_row(object, outcome.row.name, what, tokenizer, options);
  } catch (const InputError& error) {
    outcome.reason = error.what();
    if (outcome.reason.rfind(file, 0) != 0) outcome.reason.insert(0, what + ": ");
  }
  return outcome;
}

bool has_target(const LabeledIds& text) {
  return std::any_of(text.labels.begin() + 1, text.labels.end(), [](int64_t label) { return label >= 0; });
}

}  // namespace

bool holds_conversations(const fs::path& path) {
  if (path.extension() == ".json") return true;
  std::error_code ignored;
  if (path.extension() != ".jsonl" || !fs::is_regular_file(path, ignored)) return false;
  const MappedFile file(path);
  for (const Place& place : split_lines(view_of(file).substr(0, size_t{1} << 24))) {
    // A broken line says nothing.
    const Json first = Json::parse(place.text, nullptr, /*allow_exceptions=*/false);
    if (first.is_object()) return first.contains("conversations");
  }
  return false;
}

std::vector<ConversationRow> read_conversation_rows(const fs::path& path, const Tokenizer& tokenizer,
                                                    const ConversationRowOptions& options, BadRows& bad) {
  const MappedFile file(path);
  const std::string name = path.filename().string();
  const std::vector<Place> places =
      path.extension() == ".json" ? split_list(view_of(file), path.string()) : split_lines(view_of(file));
  std::vector<Outcome> outcomes(places.size());
  const auto threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads));
  parallel_chunks(static_cast<int64_t>(places.size()), kRowsAtOnce, threads, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      outcomes[i] = outcome_of(places[i], name, tokenizer, options);
    }
  });
  std::vector<ConversationRow> rows;
  int64_t without = 0;
  for (Outcome& outcome : outcomes) {
    if (!outcome.reason.empty()) {
      bad.add(outcome.row.name, outcome.reason);
      continue;
    }
    without += has_target(outcome.row.text) ? 0 : 1;
    rows.push_back(std::move(outcome.row));
  }
  if (without > 0) {
    log_warning(
        "{}: {} of {} rows have no target (answers beyond --max-length, or lost by --labels upstream)", name,
        without, rows.size());
  }
  return rows;
}

std::string fingerprint(const std::vector<ConversationRow>& rows) {
  Sha256 sha;
  const auto add = [&](const void* data, uint64_t size, uint64_t bytes) {
    sha.add(&size, sizeof size);
    sha.add(data, size * bytes);
  };
  for (const ConversationRow& row : rows) {
    add(row.text.ids.data(), row.text.ids.size(), sizeof(int64_t));
    sha.add(row.text.labels.data(), row.text.labels.size() * sizeof(int64_t));
    for (const std::string& image : row.images) add(image.data(), image.size(), 1);
  }
  return sha.finish();
}

}  // namespace ropescope
