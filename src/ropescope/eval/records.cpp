#include "ropescope/eval/records.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <set>
#include <span>
#include <unordered_map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/eval/base64.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/mmbench_columns.h"
#include "ropescope/eval/python_text.h"
#include "ropescope/eval/tsv.h"
#include "ropescope/text/utf8.h"
#include "ropescope/vision/image.h"

namespace ropescope::eval {

namespace fs = std::filesystem;

namespace {

constexpr const char *kImageColumn = "image", *kIndexColumn = "index", *kPathColumn = "image_path";
/// In front of the key of a picture that is a file beside a table.
constexpr const char* kFileKey = "file:";
constexpr uint64_t kMostPictureBytes = uint64_t{1} << 30;

/// Header names whose case does not count become those that the benchmark's rules read.
void use_known_names(std::vector<std::string>& header, const Benchmark& benchmark) {
  std::vector<std::string> known = benchmark.columns;
  known.emplace_back(kIndexColumn);
  for (std::string& name : header) {
    const auto same = [&](const std::string& column) { return ascii_lower(column) == ascii_lower(name); };
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto found = std::find_if(known.begin(), known.end(), same);
    if (found != known.end()) name = *found;
  }
}

class TsvRecords : public Records {
 public:
  TsvRecords(const fs::path& path, const Benchmark& benchmark)
      : Records(benchmark, path), name_(path.string()), reader_(path) {
    std::set<int64_t> refused;
    if (is_mmbench(benchmark)) {
      MmbenchCheck check = check_mmbench_file(path);
      if (!check.missing_column.empty()) {
        throw InputError("{}: the header has no column \"{}\"", name_, check.missing_column);
      }
      for (const RejectedRecord& record : check.rejected) refused.insert(record.record);
      rejected_ = std::move(check.rejected);
    }
    if (!reader_.next(header_)) throw InputError("{}: the file has no header", name_);
    use_known_names(header_, benchmark);
    std::vector<std::string> fields;
    for (int64_t number = 1; reader_.next(fields); ++number) {
      if (refused.count(number) > 0) continue;
      if (fields.size() != header_.size()) {
        rejected_.push_back({number, "field_count"});
        continue;
      }
      const std::string index = cell(fields, kIndexColumn);
      if (!index.empty()) row_of_index_.emplace(row_name(index), offsets_.size());
      offsets_.push_back(reader_.record_offset());
      numbers_.push_back(number);
    }
    if (reader_.unclosed_quote())
      throw InputError("{}: a quote is not closed before the end of the file", name_);
  }

  int64_t size() const override { return static_cast<int64_t>(offsets_.size()); }
  int64_t number(int64_t i) const override { return numbers_[static_cast<size_t>(i)]; }

  std::vector<std::string> pictures(int64_t i) override {
    const auto own = static_cast<size_t>(i);
    const std::vector<std::string> fields = row(own);
    const std::string image = cell(fields, kImageColumn);
    if (image.empty()) {
      if (std::count(header_.begin(), header_.end(), kImageColumn) > 0) return {};
      return picture_files(cell(fields, kPathColumn));
    }
    size_t row_number = own;
    if (image.size() <= kLongestReference) {
      const auto found = row_of_index_.find(row_name(image));
      if (found == row_of_index_.end()) throw InputError("dangling_image_ref");
      row_number = found->second;
    }
    const std::string held = cell(row(row_number), kImageColumn);
    if (held.size() <= kLongestReference) throw InputError("dangling_image_ref");
    size_t count = 1;
    if (held.front() == '[') {
      const auto list = parse_string_list(from_utf8(held));
      if (!list) throw InputError("bad_base64");
      count = list->size();
    }
    std::vector<std::string> keys;
    for (size_t picture = 0; picture < count; ++picture) {
      keys.push_back(std::to_string(row_number) + ":" + std::to_string(picture));
    }
    return keys;
  }

  std::string picture(const std::string& key) override {
    if (key.rfind(kFileKey, 0) == 0) {
      return read_file(folder_ / key.substr(std::string_view(kFileKey).size()), kMostPictureBytes);
    }
    const size_t colon = key.find(':');
    std::string text = cell(row(std::stoull(key.substr(0, colon))), kImageColumn);
    if (!text.empty() && text.front() == '[') {
      const auto list = parse_string_list(from_utf8(text));
      text = list ? to_utf8(list->at(std::stoull(key.substr(colon + 1)))) : "";
    }
    auto bytes = decode_base64(text);
    if (!bytes) throw InputError("bad_base64");
    return std::move(*bytes);
  }

 protected:
  Json record(int64_t i) override {
    const std::vector<std::string> fields = row(static_cast<size_t>(i));
    Json doc = Json::object();
    for (size_t column = 0; column < header_.size(); ++column) {
      if (header_[column] == kImageColumn || fields[column].empty()) continue;  // (empty: a missing cell)
      doc.emplace(header_[column], replace_broken_utf8(fields[column]));        // (of two columns the first)
    }
    return doc;
  }

 private:
  /// A table without pictures that names their files.
  std::vector<std::string> picture_files(const std::string& named) const {
    if (named.empty()) return {};
    std::vector<std::string> names = {named};
    if (named.front() == '[') {
      names.clear();
      for (const Text& name : parse_string_list(from_utf8(named)).value_or(std::vector<Text>())) {
        names.push_back(to_utf8(name));
      }
    }
    for (std::string& name : names) {
      if (!fs::is_regular_file(folder_ / name)) {
        throw InputError("{}: no such picture file, and the table has no column \"image\"",
                         (folder_ / name).string());
      }
      name = kFileKey + name;
    }
    return names;
  }

  /// 7 and 007 name the same row.
  static std::string row_name(const std::string& index) {
    const auto number = parse_row_index(index);
    return number ? std::to_string(*number) : index;
  }

  std::string cell(const std::vector<std::string>& fields, const std::string& column) const {
    for (size_t i = 0; i < header_.size(); ++i) {
      if (header_[i] == column) return fields[i];
    }
    return {};
  }

  std::vector<std::string> row(size_t i) {
    std::vector<std::string> fields;
    reader_.seek(offsets_[i]);
    if (!reader_.next(fields) || fields.size() != header_.size()) {
      throw InputError("{}: the file has changed", name_);
    }
    return fields;
  }

  std::string name_;
  TsvReader reader_;
  std::vector<std::string> header_;
  std::vector<uint64_t> offsets_;
  std::vector<int64_t> numbers_;
  std::unordered_map<std::string, size_t> row_of_index_;
};

class JsonlRecords : public Records {
 public:
  JsonlRecords(const fs::path& path, const Benchmark& benchmark)
      : Records(benchmark, path), name_(path.string()) {
    stream_.open(path, std::ios::binary);
    if (!stream_) throw InputError("{}: cannot be read", name_);
    int64_t number = 0;
    uint64_t offset = 0;
    for (std::string line; std::getline(stream_, line); offset += line.size() + 1) {
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      ++number;
      try {
        if (!parse_record(line, name_).is_object()) throw InputError("expected an object");
        offsets_.push_back(offset);
        numbers_.push_back(number);
      } catch (const InputError& error) {
        rejected_.push_back({number, error.what()});
      }
    }
    if (stream_.bad()) throw InputError("{}: reading failed", name_);
  }

  int64_t size() const override { return static_cast<int64_t>(offsets_.size()); }
  int64_t number(int64_t i) const override { return numbers_[static_cast<size_t>(i)]; }

  std::vector<std::string> pictures(int64_t i) override {
    const Json record = this->record(i);
    std::vector<std::string> names;
    const auto add = [&](const Json& value) {
      for (const Json& item : value.is_array() ? value : Json::array({value})) {
        if (item.is_null()) continue;
        if (!item.is_string()) throw InputError("pictures: expected file names");
        names.push_back(item.get<std::string>());
      }
    };
    for (const char* column : {"image", "images", "images_list", "image_1", "image_2", "image_3", "image_4",
                               "image_5", "image_6", "image_7"}) {
      if (record.contains(column)) add(record[column]);
    }
    if (record.contains("meta") && record["meta"].is_object() &&
        record["meta"].contains("choices_image_path")) {
      add(record["meta"]["choices_image_path"]);
    }
    return names;
  }

  std::string picture(const std::string& key) override { return read_file(folder_ / key, kMostPictureBytes); }

 protected:
  Json record(int64_t i) override {
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(offsets_[static_cast<size_t>(i)]));
    std::string line;
    std::getline(stream_, line);
    return parse_record(line, name_);
  }

 private:
  std::string name_;
  std::ifstream stream_;
  std::vector<uint64_t> offsets_;
  std::vector<int64_t> numbers_;
};

/// NaN, Infinity and -Infinity outside of strings become null.
std::string without_non_finite(const std::string& json) {
  static constexpr std::array<std::string_view, 3> kNames = {"-Infinity", "Infinity", "NaN"};
  std::string plain;
  bool quoted = false;
  for (size_t at = 0; at < json.size();) {
    const auto name = std::find_if(kNames.begin(), kNames.end(), [&](std::string_view one) {
      return !quoted && json.compare(at, one.size(), one) == 0;
    });
    if (name != kNames.end()) {
      plain += "null";
      at += name->size();
      continue;
    }
    if (json[at] == '"') quoted = !quoted;
    if (quoted && json[at] == '\\' && at + 1 < json.size()) plain += json[at++];
    plain += json[at++];
  }
  return plain;
}

}  // namespace

std::array<int64_t, 2> Records::picture_size(const std::string& key) {
  const auto known = size_of_picture_.find(key);
  if (known != size_of_picture_.end()) return known->second;
  const std::string bytes = picture(key);
  const at::Tensor rgb = decode_image(std::as_bytes(std::span(bytes)), "picture " + key).rgb_HW3;
  const std::array<int64_t, 2> size = {rgb.size(1), rgb.size(0)};
  size_of_picture_.emplace(key, size);
  return size;
}

Json Records::doc(int64_t i) {
  Json doc = own_columns(benchmark_, record(i));
  if (benchmark_.lacks_image_size != nullptr && benchmark_.lacks_image_size(doc)) {
    const std::vector<std::string> keys = pictures(i);
    if (!keys.empty()) doc["image_size"] = picture_size(keys.front());
  }
  if (complete_) complete_(i, doc);
  return doc;
}

std::string rejection_text(const std::string& error) {
  static const std::map<std::string, std::string> sentences = {
      {"field_count", "another number of fields than the header has"},
      {"bad_index", "\"index\" is no integer"},
      {"duplicate_index", "an earlier record has the same \"index\""},
      {"missing_question", "\"question\" is empty"},
      {"too_few_options", "fewer than two of the options A, B, ... are there"},
      {"bad_answer", "\"answer\" is not the letter of an option that is there"},
      {"missing_image", "\"image\" is empty"},
      {"bad_base64", "\"image\" is no base64"},
      {"bad_image", "the picture cannot be decoded"},
      {"dangling_image_ref",
       "\"image\" names a row that is absent, rejected, or without a picture of its own"},
  };
  const auto found = sentences.find(error);
  return found == sentences.end() ? error : found->second;
}

std::vector<std::string> rejection_reasons(const std::vector<RejectedRecord>& rejected, size_t most) {
  constexpr size_t kNamed = 3;
  std::map<std::string, std::vector<int64_t>> records;
  for (const RejectedRecord& record : rejected)
    records[rejection_text(record.error)].push_back(record.record);
  std::vector<std::pair<std::string, std::vector<int64_t>>> reasons(records.begin(), records.end());
  std::stable_sort(reasons.begin(), reasons.end(),
                   [](const auto& a, const auto& b) { return a.second.size() > b.second.size(); });
  std::vector<std::string> lines;
  for (const auto& [text, numbers] : reasons) {
    if (lines.size() == most) {
      const size_t others = reasons.size() - most;
      lines.push_back(fmt::format("{} other reason{}", others, others == 1 ? "" : "s"));
      break;
    }
    const std::vector<int64_t> named(
        numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(std::min(kNamed, numbers.size())));
    const char* const plural = numbers.size() == 1 ? "" : "s";
    lines.push_back(fmt::format("{} record{}: {} (record{} {}{})", numbers.size(), plural, text, plural,
                                fmt::join(named, ", "), numbers.size() > kNamed ? ", ..." : ""));
  }
  return lines;
}

Json parse_record(const std::string& line, const std::string& what) {
  const std::string text = is_valid_utf8(line) ? line : replace_broken_utf8(line);
  try {
    return parse_json(text, what);
  } catch (const InputError&) {
    const std::string plain = without_non_finite(text);
    if (plain == text) throw;
    return parse_json(plain, what);
  }
}

std::unique_ptr<Records> open_records(const fs::path& path, const std::string& benchmark) {
  return open_records(path, find_benchmark(benchmark));
}

std::unique_ptr<Records> open_records(const fs::path& path, const Benchmark& benchmark) {
  if (!fs::is_regular_file(path)) throw InputError("{}: no such file", path.string());
  const std::string extension = path.extension().string();
  if (extension == ".tsv") return std::make_unique<TsvRecords>(path, benchmark);
  if (extension == ".jsonl") return std::make_unique<JsonlRecords>(path, benchmark);
  throw InputError("{}: expected .tsv or .jsonl; data/parquet_to_jsonl.py converts .parquet", path.string());
}

}  // namespace ropescope::eval
