#include <algorithm>
#include <array>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vqa_text.h"

namespace ropescope::eval {

namespace mmniah_rules {
namespace {

const Json& meta_of(const Json& doc, const char* key) {
  static const Json none;
  const auto meta = doc.find("meta");
  if (meta == doc.end() || !meta->is_object()) return none;
  const auto found = meta->find(key);
  return found == meta->end() ? none : *found;
}

Json prompt(const Json& doc, const Rules&) {
  const auto question = doc_cell(doc, "question");
  if (!question) return nullptr;
  Text text;
  if (const auto context = doc_cell(doc, "context")) text = *context + U"\n";
  text += *question;
  std::vector<Text> choices;
  if (const Json& texts = meta_of(doc, "choices"); texts.is_array()) {
    choices = doc_list(doc["meta"], "choices");
  } else if (const Json& pictures = meta_of(doc, "choices_image_path"); pictures.is_array()) {
    choices.assign(pictures.size(), U"<image>");
  }
  if (choices.empty()) {
    if (doc.contains("answer") && doc["answer"].is_number_integer()) {
      throw InputError("doc: the answer is the number of an option, and \"meta\" has no choices");
    }
    return to_utf8(text + U"\n" + Text(kShortAnswerRequest));
  }
  return to_utf8(text + U"\n" + option_lines(lettered(choices)) + U"\n" + Text(kLetterRequest));
}

double score_choice(TextView output, int64_t answer) {
  output = strip_any(output, U".");
  if (!output.empty() && std::all_of(output.begin(), output.end(), is_digit)) {
    const auto index = parse_float(output);
    return index && *index == static_cast<double>(answer) ? 1 : 0;
  }
  Text text = replace_all(replace_all(lower(output), U"the answer is", U""), U"*", U"");
  if (const size_t dot = text.find(U'.'); dot != Text::npos) {
    text = replace_all(TextView(text).substr(0, dot), U",", U"");
  }
  text = Text(strip(text));
  if (contains(text, U"the camera is moving left")) {
    text = U"a";
  } else if (contains(text, U"the camera is moving right")) {
    text = U"b";
  }
  return text.size() == 1 && static_cast<int64_t>(text[0]) - U'a' == answer ? 1 : 0;
}

Text normal(TextView text) {
  return vqa_digits_articles(vqa_punctuation(vqa_one_line(text), VqaPunctuation::kSingleComma),
                             VqaNumbers::kToNinety);
}

/// \bword\b somewhere in the text.
bool has_word(const Text& text, const Text& word) {
  for (size_t at = text.find(word); at != Text::npos; at = text.find(word, at + 1)) {
    if (is_word_boundary(text, at) && is_word_boundary(text, at + word.size())) return true;
  }
  return false;
}

double score_text(TextView output, const Json& doc) {
  const Text text = normal(strip_any(output, U"."));
  const std::vector<Text> golds =
      doc["answer"].is_array() ? doc_list(doc, "answer") : std::vector<Text>{doc_text(doc, "answer")};
  return std::any_of(golds.begin(), golds.end(),
                     [&](const Text& gold) { return has_word(text, normal(gold)); })
             ? 1
             : 0;
}

/// The list of an output in JSON, with or without fences; of an object the lists of its values, joined.
Json counted_list(TextView output) {
  const Text text = replace_all(replace_all(strip_any(output, U"."), U"json", U""), U"```", U"");
  const auto parsed =
      nlohmann::ordered_json::parse(to_utf8(strip(text)), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return parsed.is_array() ? Json(parsed) : Json(nullptr);
  Json joined = Json::array();
  for (const auto& value : parsed) {
    if (!value.is_array()) return nullptr;
    for (const auto& item : value) joined.push_back(Json(item));
  }
  return joined;
}

double score_counting(TextView output, const Json& doc) {
  Json gold = doc["answer"];
  if (gold.is_string()) gold = Json::parse(gold.get<std::string>(), nullptr, /*allow_exceptions=*/false);
  if (!gold.is_array() || gold.empty()) throw InputError("doc: \"answer\": expected a list of counts");
  const Json said = counted_list(output);
  if (!said.is_array()) return 0;
  // (Python takes true for 1)
  const auto plain = [](const Json& value) {
    return value.is_boolean() ? Json(value.get<bool>() ? 1 : 0) : value;
  };
  double right = 0;
  for (size_t i = 0; i < std::min(said.size(), gold.size()); ++i)
    right += plain(said[i]) == plain(gold[i]) ? 1 : 0;
  return right / static_cast<double>(gold.size());
}

std::string task_of(const Json& doc) {
  if (const auto task = doc_cell(doc, "task")) return to_utf8(*task);
  if (!doc.contains("answer")) throw InputError("doc: the column \"answer\" is missing");
  if (doc["answer"].is_number_integer()) return "choice";
  return doc["answer"].is_array() ? "counting" : "text";
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Text text = from_utf8(output);  // (not stripped first: " 0" is no index)
  const std::string task = task_of(doc);
  Reading reading;
  if (task == "choice") {
    reading.score = score_choice(text, doc_integer(doc, "answer"));
  } else if (!doc.contains("answer")) {
    throw InputError("doc: the column \"answer\" is missing");
  } else if (task == "text") {
    reading.score = score_text(text, doc);
  } else if (task == "counting") {
    reading.score = score_counting(text, doc);
  } else {
    throw InputError("doc: \"task\": expected choice, text or counting, found \"{}\"", task);
  }
  return reading;
}

/// Cells of context length and depth of the needle.
class MmniahTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    overall_.add(reading.score);
    tasks_[task_of(doc)].add(reading.score);
    const Json& length = meta_of(doc, "context_length");
    const Json& placed = meta_of(doc, "placed_depth");
    if (!length.is_number() || placed.is_null()) return;
    double depth = depth_of(placed);
    if (depth == 1.0) depth = 0.99;
    if (!(depth >= 0 && depth < 1)) throw InputError("doc: \"placed_depth\": expected 0..1, found {}", depth);
    const auto bin = static_cast<size_t>(
        std::upper_bound(kLengths.begin(), kLengths.end(), length.get<double>()) - kLengths.begin());
    placed_ = true;
    if (bin == 0) return;  // the published map begins at 1000 tokens
    cells_[static_cast<size_t>(depth / 0.2)][bin - 1].add(reading.score);
  }

  Json aggregates() const override {
    Json object = {{"mean", overall_.json()}, {"by_task", json_of(tasks_)}};
    if (!placed_) return object;
    Json map = Json::array(), lengths = Json::array();
    for (const auto& row : cells_) {
      Json cells = Json::array();
      for (const Mean& cell : row) cells.push_back(cell.value());
      map.push_back(cells);
    }
    for (size_t bin = 0; bin < kLengths.size(); ++bin) {
      double sum = 0;
      for (const auto& row : cells_) sum += row[bin].value();
      lengths.push_back(std::nearbyint(sum / static_cast<double>(kDepths) * 1e6) / 1e6);
    }
    object["cell_mean_depth_by_length"] = map;
    object["score_per_length"] = lengths;
    return object;
  }

  /// {"cell_count_depth_by_length", "depth_from", "length_from"}; null without placed needles.
  Json details() const override {
    if (!placed_) return nullptr;
    Json counts = Json::array(), depths = Json::array();
    for (size_t depth = 0; depth < kDepths; ++depth) {
      Json row = Json::array();
      for (const Mean& cell : cells_[depth]) row.push_back(cell.count());
      counts.push_back(row);
      depths.push_back(static_cast<double>(depth) / kDepths);
    }
    return {{"cell_count_depth_by_length", counts}, {"depth_from", depths}, {"length_from", kLengths}};
  }

 private:
  static constexpr size_t kDepths = 5;
  static constexpr std::array<double, 11> kLengths = {1000,  2000,  4000,  8000,  12000, 16000,
                                                      24000, 32000, 40000, 48000, 64000};

  static double depth_of(const Json& placed) {
    if (placed.is_number()) return placed.get<double>();
    double sum = 0;
    const bool list = placed.is_array() && !placed.empty();
    for (const Json& depth : list ? placed : Json::array()) {
      if (!depth.is_number()) throw InputError("doc: \"placed_depth\": expected numbers");
      sum += depth.get<double>();
    }
    if (!list) throw InputError("doc: \"placed_depth\": expected a number or a list of numbers");
    return sum / static_cast<double>(placed.size());
  }

  Mean overall_;
  Means tasks_;
  bool placed_ = false;
  std::array<std::array<Mean, kLengths.size()>, kDepths> cells_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MmniahTally>(); }

}  // namespace
}  // namespace mmniah_rules

Benchmark mmniah() {
  using namespace mmniah_rules;
  return {"mmniah",
          "Needles in long documents of text and pictures; a map of context length and depth.",
          "MM-NIAH, validation split",
          {"context", "question", "answer", "images_list", "meta"},
          32,
          Json::json_pointer("/mean"),
          100,
          prompt,
          read,
          tally,
          {},
          Options::kColumns};
}

}  // namespace ropescope::eval
