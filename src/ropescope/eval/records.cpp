#include "ropescope/eval/records.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/eval/base64.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/mmbench_columns.h"
#include "ropescope/eval/python_text.h"
#include "ropescope/eval/tsv.h"
#include "ropescope/text/utf8.h"

namespace ropescope::eval {

namespace fs = std::filesystem;

namespace {

constexpr const char *kImageColumn = "image", *kIndexColumn = "index";

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
  TsvRecords(const fs::path& path, const std::string& benchmark) : name_(path.string()), reader_(path) {
    std::set<int64_t> refused;
    if (benchmark == "mmbench") {
      MmbenchCheck check = check_mmbench_file(path);
      if (!check.missing_column.empty()) {
        throw InputError("{}: the header has no column \"{}\"", name_, check.missing_column);
      }
      for (const RejectedRecord& record : check.rejected) refused.insert(record.record);
      rejected_ = std::move(check.rejected);
    }
    if (!reader_.next(header_)) throw InputError("{}: the file has no header", name_);
    use_known_names(header_, find_benchmark(benchmark));
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

  Json doc(int64_t i) override {
    const std::vector<std::string> fields = row(static_cast<size_t>(i));
    Json doc = Json::object();
    for (size_t column = 0; column < header_.size(); ++column) {
      if (header_[column] == kImageColumn || fields[column].empty()) continue;  // (empty: a missing cell)
      doc.emplace(header_[column], replace_broken_utf8(fields[column]));        // (of two columns the first)
    }
    return doc;
  }

  std::vector<std::string> pictures(int64_t i) override {
    const auto own = static_cast<size_t>(i);
    const std::string image = cell(row(own), kImageColumn);
    if (image.empty()) return {};
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

 private:
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
  explicit JsonlRecords(const fs::path& path) : name_(path.string()), folder_(path.parent_path()) {
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

  Json doc(int64_t i) override {
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(offsets_[static_cast<size_t>(i)]));
    std::string line;
    std::getline(stream_, line);
    return parse_record(line, name_);
  }

  std::vector<std::string> pictures(int64_t i) override {
    const Json record = doc(i);
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

  std::string picture(const std::string& key) override { return read_file(folder_ / key, uint64_t{1} << 30); }

 private:
  std::string name_;
  fs::path folder_;
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
  if (!fs::is_regular_file(path)) throw InputError("{}: no such file", path.string());
  const std::string extension = path.extension().string();
  if (extension == ".tsv") return std::make_unique<TsvRecords>(path, benchmark);
  if (extension == ".jsonl") return std::make_unique<JsonlRecords>(path);
  throw InputError("{}: expected .tsv or .jsonl; data/parquet_to_jsonl.py converts .parquet", path.string());
}

}  // namespace ropescope::eval
