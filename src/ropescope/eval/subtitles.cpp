#include "ropescope/eval/subtitles.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "ropescope/core/errors.h"

namespace ropescope::eval {

namespace {

std::vector<std::string> split_at(const std::string& text, std::string_view mark) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t at; (at = text.find(mark, begin)) != std::string::npos; begin = at + mark.size()) {
    parts.push_back(text.substr(begin, at - begin));
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::string stripped(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

/// 00:01:02,500
std::optional<double> seconds_of(const std::string& time) {
  const std::string text = stripped(time);
  std::array<int64_t, 4> numbers{};
  const char* at = text.data();
  const char* const end = at + text.size();
  constexpr std::array<char, 4> kBehind = {':', ':', ',', '\0'};
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto [next, code] = std::from_chars(at, end, numbers[i]);
    if (code != std::errc() || numbers[i] < 0) return std::nullopt;
    if (kBehind[i] == '\0' ? next != end : (next == end || *next != kBehind[i])) return std::nullopt;
    at = next + 1;
  }
  constexpr int64_t kMostHours = 1'000'000;
  if (numbers[0] > kMostHours) return std::nullopt;
  return static_cast<double>(numbers[0] * 3600 + numbers[1] * 60 + numbers[2]) +
         static_cast<double>(numbers[3]) / 1000;
}

}  // namespace

std::vector<SubtitleLine> parse_subtitles(const std::string& srt, const std::string& what) {
  std::string text;
  for (const char c : srt) {
    if (c != '\r') text += c;
  }
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.compare(0, kByteOrderMark.size(), kByteOrderMark) == 0) text.erase(0, kByteOrderMark.size());
  std::vector<SubtitleLine> entries;
  for (const std::string& block : split_at(text, "\n\n")) {
    const std::vector<std::string> lines = split_at(stripped(block), "\n");
    if (lines.size() < 3) continue;
    const std::vector<std::string> times = split_at(lines[1], " --> ");
    const auto start = seconds_of(times.front()),
               end = times.size() > 1 ? seconds_of(times[1]) : std::nullopt;
    if (!start || !end) {
      throw InputError("{}: expected times as 00:01:02,500 --> 00:01:04,000, found \"{}\"", what, lines[1]);
    }
    SubtitleLine entry{*start, *end, lines[2]};
    for (size_t i = 3; i < lines.size(); ++i) entry.text += " " + lines[i];
    const auto same = std::find_if(entries.begin(), entries.end(), [&](const SubtitleLine& known) {
      return known.start == entry.start && known.end == entry.end;
    });
    if (same == entries.end()) {
      entries.push_back(std::move(entry));
    } else {
      same->text = std::move(entry.text);
    }
  }
  return entries;
}

namespace {

/// A table of places, of which there are 2^n: a number lies at its lowest n bits, or in one of the nine places behind, or where
/// the next probe leads.
class SetTable {
 public:
  void add(size_t number) {
    if (!put(number)) return;
    ++used_;
    if (used_ * 5 >= (places_.size() - 1) * 3) grow();
  }
  std::vector<size_t> numbers() const {
    std::vector<size_t> all;
    for (const auto& place : places_) {
      if (place) all.push_back(*place);
    }
    return all;
  }

 private:
  /// False where it is there already.
  bool put(size_t number) {
    constexpr size_t kInARow = 9;
    const size_t mask = places_.size() - 1;
    size_t at = number & mask, rest = number;
    while (true) {
      const size_t last = at + kInARow <= mask ? at + kInARow : at;
      for (size_t place = at; place <= last; ++place) {
        if (!places_[place]) {
          places_[place] = number;
          return true;
        }
        if (*places_[place] == number) return false;
      }
      rest >>= 5;
      at = (at * 5 + 1 + rest) & mask;
    }
  }
  void grow() {
    const std::vector<size_t> before = numbers();
    size_t places = 8;
    while (places <= used_ * 4) places *= 2;
    places_.assign(places, std::nullopt);
    for (const size_t number : before) put(number);
  }

  std::vector<std::optional<size_t>> places_ = std::vector<std::optional<size_t>>(8);
  size_t used_ = 0;
};

}  // namespace

std::vector<size_t> python_set_order(const std::vector<size_t>& numbers) {
  SetTable table;
  for (const size_t number : numbers) table.add(number);
  return table.numbers();
}

std::string shown_subtitles(const std::vector<SubtitleLine>& lines, int64_t frames, double fps) {
  constexpr int64_t kAsked = 32;
  constexpr std::string_view kOpen = "<font color=\"white\" size=\".72c\">", kClose = "</font>";
  const auto frame_of = [&](double seconds) { return std::floor(seconds * fps); };
  const double last = static_cast<double>(frames - 1), step = last / static_cast<double>(kAsked - 1);
  std::vector<size_t> shown;
  for (int64_t i = 0; i < kAsked; ++i) {
    const double frame = i + 1 == kAsked ? last : std::floor(static_cast<double>(i) * step);
    for (size_t line = 0; line < lines.size(); ++line) {
      if (frame_of(lines[line].start) <= frame && frame < frame_of(lines[line].end)) shown.push_back(line);
    }
  }
  std::string text;
  bool any = false;
  for (const size_t line : python_set_order(shown)) {
    const std::string& said = lines[line].text;
    const size_t open = said.find(kOpen);
    const size_t close = open == std::string::npos ? open : said.find(kClose, open + kOpen.size());
    if (close == std::string::npos) continue;
    text += (any ? "\n" : "") + said.substr(open + kOpen.size(), close - open - kOpen.size());
    any = true;
  }
  return text;
}

}  // namespace ropescope::eval
