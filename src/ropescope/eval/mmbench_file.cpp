#include "ropescope/eval/mmbench_file.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include <ATen/core/Tensor.h>
#include <ATen/ops/mean.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/sha256.h"
#include "ropescope/eval/base64.h"
#include "ropescope/eval/circular_groups.h"
#include "ropescope/eval/mmbench_columns.h"
#include "ropescope/eval/python_text.h"
#include "ropescope/eval/tsv.h"
#include "ropescope/text/utf8.h"
#include "ropescope/vision/image.h"

namespace ropescope::eval {

namespace {

Json cell_or_null(const std::string& cell) {
  return cell.empty() ? Json(nullptr) : Json(replace_broken_utf8(cell));
}

/// Size, format and statistics of a picture; throws InputError if it does not decode.
Json describe_picture(const std::string& bytes) {
  DecodeOptions options;
  options.alpha = AlphaRule::kDrop;
  const DecodedImage image = decode_image(std::as_bytes(std::span(bytes)), "image", options);
  const at::Tensor rgb = image.rgb_HW3.contiguous();
  const at::Tensor mean = at::mean(rgb.to(at::kDouble), {0, 1});
  Json means = Json::array();
  for (int64_t i = 0; i < 3; ++i) {
    means.push_back(std::nearbyint(mean[i].item<double>() * 1000) / 1000);
  }
  Json picture = {
      {"width", rgb.size(1)}, {"height", rgb.size(0)}, {"format", image.format}, {"mean_rgb", means}};
  // Decoders of lossy formats differ in the last bit.
  if (image.format != "JPEG") {
    Sha256 sha;
    sha.add(rgb.data_ptr(), static_cast<size_t>(rgb.numel()));
    picture["sha256_rgb"] = sha.finish();
  }
  return picture;
}

class Checker {
 public:
  explicit Checker(const MmbenchColumns& columns) : columns_(columns) {}

  void add(int64_t number, const std::vector<std::string>& record) {
    Candidate candidate;
    candidate.record = number;
    candidate.error = examine(record, candidate);
    if (candidate.error.empty()) {
      row_of_index_[candidate.item["index"].get<int64_t>()] = candidates_.size();
    } else {
      candidate.item = nullptr;
    }
    candidates_.push_back(std::move(candidate));
  }

  void finish(MmbenchCheck& check) {
    for (Candidate& candidate : candidates_) {
      if (candidate.error.empty() && candidate.is_reference) resolve(candidate);
      if (!candidate.error.empty()) check.rejected.push_back({candidate.record, candidate.error});
    }
    for (Candidate& candidate : candidates_) {
      if (!candidate.error.empty()) continue;
      if (candidate.item["index"].get<int64_t>() < kRotationStep) ++check.circular_groups;
      check.items.push_back(std::move(candidate.item));
    }
  }

 private:
  struct Candidate {
    int64_t record = 0;
    std::string error;
    Json item;
    bool is_reference = false;
    std::optional<int64_t> reference;  // none: not an integer
  };

  /// The first reason against the record; empty if there is none so far.
  std::string examine(const std::vector<std::string>& record, Candidate& candidate) {
    if (record.size() != columns_.count()) return "field_count";
    const auto index = parse_row_index(columns_.cell(record, "index"));
    if (!index) return "bad_index";
    if (!row_seen_.emplace(*index, true).second) return "duplicate_index";
    const std::string question = columns_.cell(record, "question");
    if (question.empty()) return "missing_question";
    Json options = Json::object();
    for (const auto& [letter, column] : columns_.options()) {
      if (!record[column].empty()) options[letter] = replace_broken_utf8(record[column]);
    }
    if (options.size() < 2) return "too_few_options";
    const std::string answer = columns_.cell(record, "answer"), split = columns_.cell(record, "split");
    if (answer.empty() ? split != "test" : !options.contains(answer)) return "bad_answer";
    candidate.item = {{"index", *index},
                      {"question", replace_broken_utf8(question)},
                      {"hint", cell_or_null(columns_.cell(record, "hint"))},
                      {"options", options},
                      {"answer", cell_or_null(answer)},
                      {"category", cell_or_null(columns_.cell(record, "category"))},
                      {"l2_category", cell_or_null(columns_.cell(record, "l2-category"))},
                      {"split", cell_or_null(split)}};
    for (const char* name : {"source", "comment"}) {
      if (columns_.find(name)) candidate.item[name] = cell_or_null(columns_.cell(record, name));
    }
    return examine_image(columns_.cell(record, "image"), candidate);
  }

  std::string examine_image(const std::string& cell, Candidate& candidate) {
    if (cell.empty()) return "missing_image";
    if (cell.size() <= kLongestReference) {
      candidate.is_reference = true;
      candidate.reference = parse_row_index(cell);
      return {};
    }
    std::vector<std::string> encoded = {cell};
    if (cell.front() == '[') {
      const auto list = parse_string_list(from_utf8(cell));
      if (!list || list->empty()) return "bad_base64";
      encoded.clear();
      for (const Text& text : *list) encoded.push_back(to_utf8(text));
    }
    Json pictures = Json::array();
    for (const std::string& text : encoded) {
      const auto bytes = decode_base64(text);
      if (!bytes) return "bad_base64";
      try {
        Json picture = describe_picture(*bytes);
        picture["ref"] = nullptr;
        pictures.push_back(std::move(picture));
      } catch (const InputError&) {
        return "bad_image";
      }
    }
    candidate.item["image"] = pictures.size() == 1 ? pictures[0] : pictures;
    return {};
  }

  void resolve(Candidate& candidate) {
    const auto found = candidate.reference ? row_of_index_.find(*candidate.reference) : row_of_index_.end();
    if (found == row_of_index_.end() || candidates_[found->second].is_reference) {
      candidate.error = "dangling_image_ref";
      return;
    }
    Json image = candidates_[found->second].item["image"];
    if (image.is_array()) {
      for (Json& picture : image) picture["ref"] = *candidate.reference;
    } else {
      image["ref"] = *candidate.reference;
    }
    candidate.item["image"] = std::move(image);
  }

  const MmbenchColumns& columns_;
  std::vector<Candidate> candidates_;
  std::unordered_map<int64_t, bool> row_seen_;
  std::unordered_map<int64_t, size_t> row_of_index_;
};

}  // namespace

MmbenchCheck check_mmbench_file(const std::filesystem::path& path) {
  TsvReader reader(path);
  MmbenchCheck check;
  std::vector<std::string> record;
  reader.next(record);
  const MmbenchColumns columns(record);
  if (reader.unclosed_quote()) {
    check.file_error = "unclosed_quote";
    return check;
  }
  if (const auto missing = columns.missing()) {
    check.file_error = "missing_column";
    check.missing_column = *missing;
    return check;
  }
  Checker checker(columns);
  for (int64_t number = 1; reader.next(record); ++number) checker.add(number, record);
  if (reader.unclosed_quote()) check.file_error = "unclosed_quote";
  checker.finish(check);
  return check;
}

}  // namespace ropescope::eval
