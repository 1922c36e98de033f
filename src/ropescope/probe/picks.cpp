#include "ropescope/probe/picks.h"

#include <array>
#include <charconv>
#include <string>
#include <string_view>

#include <boost/random/uniform_int_distribution.hpp>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/random.h"

namespace ropescope {

namespace {

constexpr uint64_t kPairStream =
    0x7061697273ULL;  // "pairs": keeps this stream apart from other uses of a seed
constexpr std::array<std::string_view, 5> kColumns = {"text", "layer", "head", "query", "key"};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t' || text.front() == '"')) {
    text.remove_prefix(1);
  }
  while (!text.empty() &&
         (text.back() == ' ' || text.back() == '\t' || text.back() == '\r' || text.back() == '"')) {
    text.remove_suffix(1);
  }
  return text;
}

std::vector<std::string_view> split_fields(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const size_t comma = line.find(',');
    fields.push_back(trimmed(line.substr(0, comma)));
    if (comma == std::string_view::npos) return fields;
    line.remove_prefix(comma + 1);
  }
}

int64_t parse_index(std::string_view text, std::string_view column, const std::string& where) {
  int64_t value = -1;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || value < 0) {
    throw InputError("{}: column {}: expected an index from 0, found \"{}\"", where, column, text);
  }
  return value;
}

}  // namespace

std::vector<Pick> draw_picks(const DrawRule& rule, int64_t text, int64_t layer, int64_t tokens,
                             const std::vector<int64_t>& heads) {
  if (tokens <= rule.skip_first || heads.empty()) {
    throw InternalError("text {}: no token or head to draw pairs from", text);
  }
  Rng rng = make_rng(rule.seed, {kPairStream, static_cast<uint64_t>(text), static_cast<uint64_t>(layer)});
  boost::random::uniform_int_distribution<int64_t> any_head(0, static_cast<int64_t>(heads.size()) - 1);
  boost::random::uniform_int_distribution<int64_t> any_token(rule.skip_first, tokens - 1);
  std::vector<Pick> picks;
  picks.reserve(static_cast<size_t>(rule.pairs));
  for (int64_t i = 0; i < rule.pairs; ++i) {
    Pick pick{text, layer, heads[static_cast<size_t>(any_head(rng))], any_token(rng), any_token(rng)};
    // Rejection keeps every causal pair equally likely; a key drawn below its query would favour near pairs.
    while (rule.causal && pick.key > pick.query) {
      pick.query = any_token(rng);
      pick.key = any_token(rng);
    }
    picks.push_back(pick);
  }
  return picks;
}

PickList read_picks(const std::filesystem::path& path) {
  const std::string content = read_file(path);
  std::string_view rest = content;
  if (rest.substr(0, 3) == "\xEF\xBB\xBF") rest.remove_prefix(3);
  PickList list;
  list.file = path.string();
  std::array<size_t, kColumns.size()> position{};
  size_t columns = 0;
  for (int64_t line_number = 1; !rest.empty(); ++line_number) {
    const size_t end = rest.find('\n');
    const std::string_view line = trimmed(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (line.empty()) continue;
    const std::string where = fmt::format("{} line {}", path.string(), line_number);
    const auto fields = split_fields(line);
    if (columns == 0) {
      for (size_t c = 0; c < kColumns.size(); ++c) {
        size_t at = 0;
        while (at < fields.size() && fields[at] != kColumns[c]) ++at;
        if (at == fields.size()) {
          throw InputError("{}: expected the header text,layer,head,query,key; column {} is missing", where,
                           kColumns[c]);
        }
        position[c] = at;
      }
      columns = fields.size();
      continue;
    }
    if (fields.size() != columns) {
      throw InputError("{}: expected {} fields as in the header, found {}", where, columns, fields.size());
    }
    std::array<int64_t, kColumns.size()> values{};
    for (size_t c = 0; c < kColumns.size(); ++c) {
      values[c] = parse_index(fields[position[c]], kColumns[c], where);
    }
    list.picks.push_back({values[0], values[1], values[2], values[3], values[4]});
    list.lines.push_back(line_number);
  }
  if (list.picks.empty()) {
    throw InputError("{}: expected a header text,layer,head,query,key and at least one pick, found none",
                     list.file);
  }
  return list;
}

void check_picks(const PickList& list, const std::vector<int64_t>& text_tokens, int64_t layers,
                 int64_t heads) {
  const int64_t texts = static_cast<int64_t>(text_tokens.size());
  for (size_t i = 0; i < list.picks.size(); ++i) {
    const Pick& pick = list.picks[i];
    const auto check = [&](const char* column, int64_t value, int64_t end, const char* remedy) {
      if (value >= 0 && value < end) return;
      throw InputError("{} line {}: {} {}: expected 0 to {}{}", list.file, list.lines[i], column, value,
                       end - 1, remedy);
    };
    check("text", pick.text, texts,
          " (texts are counted after skipping short ones; see --min-tokens and --max-texts)");
    check("layer", pick.layer, layers, "");
    check("head", pick.head, heads, " (query heads)");
    const int64_t tokens = text_tokens[static_cast<size_t>(pick.text)];
    check("query", pick.query, tokens, ", the tokens of its text (see --max-tokens)");
    check("key", pick.key, tokens, ", the tokens of its text (see --max-tokens)");
  }
}

}  // namespace ropescope
