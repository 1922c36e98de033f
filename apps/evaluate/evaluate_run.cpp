#include "evaluate/evaluate_run.h"

#include <algorithm>
#include <set>
#include <system_error>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json_difference.h"
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"

namespace ropescope::app::evaluate {

namespace fs = std::filesystem;

namespace {

/// samples.jsonl, and those of several processes.
bool is_samples_file(const fs::path& path) {
  return path.filename().string().rfind("samples.", 0) == 0 && path.extension() == ".jsonl";
}

/// Whether a process of a run has written anything that is worth keeping.
bool has_answers(const fs::path& folder) {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    if (entry.path().filename() == "summary.json") return true;
    if (is_samples_file(entry.path()) && entry.file_size(none) > 0) return true;
  }
  return false;
}

}  // namespace

RunFolder::RunFolder(fs::path folder, bool resume, bool force, bool leads)
    : folder_(std::move(folder)), resume_(resume), leads_(leads) {
  if (!leads) return;
  made_.emplace(folder_);
  if (fs::exists(folder_ / "run.json") && has_answers(folder_) && !resume && !force) {
    throw UsageError("{}: there is a run already; --resume continues it, --force begins anew",
                     folder_.string());
  }
}

bool RunFolder::goes_on() const {
  // Without an answer there is nothing to go on with: what was asked for now counts.
  return leads_ && resume_ && fs::exists(folder_ / "run.json") && has_answers(folder_);
}

void RunFolder::check(const Json& settings) const {
  if (!goes_on()) return;
  Json before = read_json_file(folder_ / "run.json");
  if (!settings.contains("model_files")) before.erase("model_files");
  if (const auto other = first_difference(before, settings)) {
    throw UsageError("--resume: {} was made with {} = {}, now it is {}; use another --output",
                     folder_.string(), other->key, other->was, other->is);
  }
}

void RunFolder::begin(const Json& settings) {
  if (!leads_) return;
  made_->keep();
  if (goes_on()) {
    if (eval::has_rank_files(folder_)) eval::merge_samples(folder_);
    return;
  }
  std::vector<fs::path> stale;  // (of an unfinished run in several processes too)
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (is_samples_file(entry.path()) || name == "summary.json" || name == "result.h5" ||
        name == "judge.jsonl")
      stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) fs::remove(path);
  replace_text_file(folder_ / "run.json", settings.dump(2) + "\n");
}

namespace {

using Questions = std::vector<eval::Question>;

/// Asks questions in one way and keeps what comes.
void ask_batch(EvaluateRun& run, eval::Answerer& answerer, const Questions& questions, const Way& way,
               eval::Samples& samples) {
  const auto answers = answerer.answer(questions, way.manner,
                                       [&](const std::string& key) { return run.records->picture(key); });
  for (size_t i = 0; i < questions.size(); ++i) {
    const int64_t item = questions[i].item, record = run.records->number(item);
    if (!answers[i].error.empty()) log_warning("record {}: {}", record, answers[i].error);
    samples.append(eval::make_sample(run.benchmark, run.rules, record, run.records->doc(item), questions[i],
                                     answers[i], run.named_ways ? &way.condition : nullptr));
  }
}

/// The questions of a batch that are not answered yet in this way.
Questions open_questions(const EvaluateRun& run, const eval::Batch& batch, const Way& way,
                         const std::set<eval::SampleKey>& answered) {
  Questions questions;
  for (const int64_t item : batch) {
    if (answered.count({run.records->number(item), way.condition}) > 0) continue;
    questions.push_back(eval::question_of(*run.records, run.benchmark, run.rules, item, run.pictures));
  }
  return questions;
}

/// Batches that hold a question which is not answered yet in some way.
std::vector<int64_t> open_batches(const EvaluateRun& run, const std::set<eval::SampleKey>& answered) {
  std::vector<int64_t> open;
  for (size_t b = 0; b < run.plan.batches.size(); ++b) {
    const eval::Batch& batch = run.plan.batches[b];
    const auto unanswered = [&](int64_t item) {
      return std::any_of(run.ways.begin(), run.ways.end(), [&](const Way& way) {
        return answered.count({run.records->number(item), way.condition}) == 0;
      });
    };
    if (std::any_of(batch.begin(), batch.end(), unanswered)) open.push_back(static_cast<int64_t>(b));
  }
  return open;
}

/// This process's share; its file is closed when it returns.
int64_t ask_share(EvaluateRun& run, eval::Answerer& answerer, const std::set<eval::SampleKey>& answered) {
  eval::Samples samples(eval::samples_file(run.folder, run.work.rank(), run.work.world()), /*resume=*/true);
  const int64_t open = run.samples() - static_cast<int64_t>(answered.size());
  Progress progress(run.benchmark.name, "questions", std::max<int64_t>(open / run.work.world(), 1));
  int64_t asked = 0;
  // (batches are the same in any number of processes, and so are the answers)
  while (const auto number = run.work.next()) {
    const eval::Batch& batch = run.plan.batches.at(static_cast<size_t>(*number));
    for (const Way& way : run.ways) {
      const Questions questions = open_questions(run, batch, way, answered);
      if (questions.empty()) continue;
      ask_batch(run, answerer, questions, way, samples);
      asked += static_cast<int64_t>(questions.size());
      progress.advance(static_cast<int64_t>(questions.size()));
    }
  }
  return asked;
}

}  // namespace

int64_t ask(EvaluateRun& run, eval::Answerer& answerer, const Json& settings) {
  std::set<eval::SampleKey> answered;
  std::vector<int64_t> open;
  if (run.work.leads()) {
    answered = eval::answered(run.folder);
    open = open_batches(run, answered);
    if (!answered.empty())
      log_info("answered already: {}", counted(static_cast<int64_t>(answered.size()), "question"));
  }
  run.work.deal(open, settings);
  // (whoever answers meanwhile has another batch)
  if (!run.work.leads()) answered = eval::answered(run.folder);
  const int64_t asked = ask_share(run, answerer, answered);
  run.work.finish();
  if (!run.work.leads()) return asked;
  const int64_t there = eval::merge_samples(run.folder);
  if (there < run.samples()) {
    throw EnvironmentError("{}: expected {}, found {}. Try: an --output that all machines see",
                           (run.folder / "samples.jsonl").string(), counted(run.samples(), "answer"), there);
  }
  return asked;
}

std::vector<eval::RejectedRecord> rejected_records(const EvaluateRun& run) {
  std::vector<eval::RejectedRecord> rejected = run.records->rejected();
  rejected.insert(rejected.end(), run.plan.rejected.begin(), run.plan.rejected.end());
  return rejected;
}

}  // namespace ropescope::app::evaluate
