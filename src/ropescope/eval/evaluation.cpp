#include "ropescope/eval/evaluation.h"

#include <algorithm>
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/text/chat_template.h"

namespace ropescope::eval {

namespace {

Question question_about(const Json& doc, Records& records, const Benchmark& benchmark, const Rules& rules,
                        int64_t item, bool pictures) {
  const Json prompt = benchmark.prompt(doc, rules);
  if (!prompt.is_string()) throw InputError("doc: the column \"question\" is missing");
  Question question{item, prompt.get<std::string>(), {}, 0};
  if (pictures) {
    question.pictures = records.pictures(item);
    question.clips = clips_of(doc, records.folder());
  }
  return question;
}

}  // namespace

Question question_of(Records& records, const Benchmark& benchmark, const Rules& rules, int64_t item,
                     bool pictures) {
  return question_about(records.doc(item), records, benchmark, rules, item, pictures);
}

Question checked_question(Records& records, const Benchmark& benchmark, const Rules& rules, int64_t item,
                          bool pictures) {
  const Json doc = records.doc(item);
  Question question = question_about(doc, records, benchmark, rules, item, pictures);
  check_doc(benchmark, doc);
  check_question(benchmark, doc);
  benchmark.tally(rules)->add(doc, benchmark.read(doc, "", rules));
  return question;
}

namespace {

/// Consecutive items as long as `cost(rows, longest)` stays within the batch.
void add_batches(const std::vector<std::pair<int64_t, int64_t>>& length_item, int64_t batch_tokens,
                 std::vector<Batch>& batches) {
  Batch batch;
  int64_t longest = 0;
  for (const auto& [length, item] : length_item) {
    longest = std::max(longest, length);
    if (!batch.empty() && longest * static_cast<int64_t>(batch.size() + 1) > batch_tokens) {
      batches.push_back(std::move(batch));
      batch.clear();
      longest = length;
    }
    batch.push_back(item);
  }
  if (!batch.empty()) batches.push_back(std::move(batch));
}

}  // namespace

Plan plan_questions(Records& records, const Benchmark& benchmark, const Rules& rules,
                    const PlanOptions& options) {
  Plan plan;
  const int64_t count = options.limit > 0 ? std::min(options.limit, records.size()) : records.size();
  std::vector<std::pair<int64_t, int64_t>> text;  // length, item
  std::vector<std::vector<std::pair<int64_t, int64_t>>> by_picture;
  std::unordered_map<std::string, size_t> group_of_pictures;
  for (int64_t item = 0; item < count; ++item) {
    try {
      const Question question = checked_question(records, benchmark, rules, item, options.pictures);
      const bool names_media = question.prompt.find(kImageText) != std::string::npos ||
                               question.prompt.find(kVideoText) != std::string::npos;
      if (options.pictures_first && names_media) {
        throw InputError("the question names its pictures itself: no text can stand between them and it");
      }
      const int64_t length = options.count_tokens(question.prompt);
      ++plan.questions;
      if (question.pictures.empty() && question.clips.empty()) {
        text.emplace_back(length, item);
        continue;
      }
      std::string key;
      for (const std::string& picture : question.pictures) key += picture + '\n';
      for (const ClipPart& clip : question.clips) key += clip.key() + '\n';
      const auto [found, fresh] = group_of_pictures.emplace(key, by_picture.size());
      if (fresh) by_picture.emplace_back();
      by_picture[found->second].emplace_back(length, item);
      plan.with_pictures += question.pictures.empty() ? 0 : 1;
      plan.with_clips += question.clips.empty() ? 0 : 1;
    } catch (const InputError& error) {
      plan.rejected.push_back({records.number(item), error.what()});
    }
  }
  std::stable_sort(text.begin(), text.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  add_batches(text, options.batch_tokens, plan.batches);
  for (auto& group : by_picture) {
    std::stable_sort(group.begin(), group.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    add_batches(group, options.batch_tokens, plan.batches);
  }
  return plan;
}

std::optional<double> headline_percent(const Benchmark& benchmark, const Json& aggregates) {
  if (!aggregates.is_object() || !aggregates.contains(benchmark.headline)) return std::nullopt;
  const Json& value = aggregates.at(benchmark.headline);
  if (!value.is_number()) return std::nullopt;
  return value.get<double>() * benchmark.headline_scale;
}

}  // namespace ropescope::eval
