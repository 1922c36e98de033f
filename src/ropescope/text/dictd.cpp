#include "ropescope/text/dictd.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <string_view>
#include <vector>

#include <zlib.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/text/utf8.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kLargestIndex = uint64_t{1} << 30;
constexpr uint64_t kLongestEntry = uint64_t{1} << 26;
constexpr uint64_t kLargestOffset = uint64_t{1} << 48;

struct Entry {
  uint64_t offset;
  uint64_t length;
  std::string headword;
};

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// dictd's numbers: digits of base 64, most important first.
uint64_t parse_base64_number(std::string_view digits, const std::string& where) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint64_t value = 0;
  for (const char c : digits) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos || value >= kLargestOffset) {
      throw InputError("{}: expected a base-64 number below 2^48, found \"{}\"", where, digits);
    }
    value = value * 64 + digit;
  }
  if (digits.empty()) throw InputError("{}: expected a base-64 number, found nothing", where);
  return value;
}

/// Entries by offset, each once, headers left out.
std::vector<Entry> read_index(const fs::path& path) {
  std::istringstream stream(read_file(path, kLargestIndex));
  std::vector<Entry> entries;
  std::set<uint64_t> headers;
  size_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const std::string where = path.string() + ":" + std::to_string(number);
    const size_t first = line.find('\t');
    const size_t second = first == std::string::npos ? first : line.find('\t', first + 1);
    if (second == std::string::npos) {
      throw InputError("{}: expected headword, offset and length with tabs between them", where);
    }
    // A fourth column repeats the headword in its original spelling.
    const size_t third = std::min(line.find('\t', second + 1), line.size());
    Entry entry{parse_base64_number(std::string_view(line).substr(first + 1, second - first - 1), where),
                parse_base64_number(std::string_view(line).substr(second + 1, third - second - 1), where),
                replace_broken_utf8(line.substr(0, first))};
    if (entry.length > kLongestEntry) {
      throw InputError("{}: the entry has {} bytes; expected at most {}", where, entry.length, kLongestEntry);
    }
    const bool header =
        entry.headword.rfind("00-database", 0) == 0 || entry.headword.rfind("00database", 0) == 0;
    if (header) {
      headers.insert(entry.offset);
    } else {
      entries.push_back(std::move(entry));
    }
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.offset < b.offset; });
  std::vector<Entry> unique;
  for (Entry& entry : entries) {
    if (headers.count(entry.offset) > 0) continue;
    if (unique.empty() || unique.back().offset != entry.offset) unique.push_back(std::move(entry));
  }
  return unique;
}

/// Reads ranges whose starts do not decrease; keeps only what later ranges may still need.
class TextStream {
 public:
  explicit TextStream(const fs::path& path) : path_(path), file_(gzopen(path.c_str(), "rb")) {
    if (file_ == nullptr) throw InputError("{}: cannot be read", path.string());
    gzbuffer(file_, 1 << 17);
  }
  ~TextStream() { gzclose_r(file_); }
  TextStream(const TextStream&) = delete;
  TextStream& operator=(const TextStream&) = delete;

  std::string_view range(uint64_t offset, uint64_t length) {
    while (start_ + window_.size() < offset) {
      start_ += window_.size();
      window_.clear();
      read_more(std::min<uint64_t>(offset - start_, kStep), offset, length);
    }
    window_.erase(0, offset - start_);
    start_ = offset;
    while (window_.size() < length) read_more(length - window_.size(), offset, length);
    return std::string_view(window_).substr(0, length);
  }

 private:
  static constexpr uint64_t kStep = 1 << 20;

  void read_more(uint64_t count, uint64_t offset, uint64_t length) {
    const size_t before = window_.size();
    window_.resize(before + std::min(count, kStep));
    const int got = gzread(file_, window_.data() + before, static_cast<unsigned>(window_.size() - before));
    if (got <= 0) {
      int code = Z_OK;
      const std::string reason = gzerror(file_, &code);
      throw InputError("{}: the entry at {} needs {} bytes; {}", path_.string(), offset, length,
                       code == Z_OK ? "the text ends before" : "unpacking failed (" + reason + ")");
    }
    window_.resize(before + got);
  }

  fs::path path_;
  gzFile file_;
  std::string window_;
  uint64_t start_ = 0;  ///< offset of the window's first byte
};

}  // namespace

std::optional<DictdFiles> find_dictd(const fs::path& path) {
  std::string base = path.string();
  for (const std::string_view end : {".dict.dz", ".dict", ".index"}) {
    if (!ends_with(base, end)) continue;
    base.resize(base.size() - end.size());
    break;
  }
  DictdFiles files{base + ".dict.dz", base + ".index"};
  if (ends_with(path.string(), ".dict") || !fs::exists(files.text)) files.text = base + ".dict";
  if (!fs::exists(files.text) || !fs::exists(files.index)) return std::nullopt;
  return files;
}

bool visit_dictd(const DictdFiles& files, const std::function<bool(const Document&)>& visit) {
  TextStream stream(files.text);
  Document document;
  for (Entry& entry : read_index(files.index)) {
    document.name = std::move(entry.headword);
    document.text = replace_broken_utf8(stream.range(entry.offset, entry.length));
    if (!visit(document)) return false;
  }
  return true;
}

}  // namespace ropescope
