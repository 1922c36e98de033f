#include "evaluate/evaluate_run.h"

#include <chrono>
#include <fstream>
#include <set>
#include <system_error>
#include <thread>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"

namespace ropescope::app::evaluate {

namespace {

namespace fs = std::filesystem;

constexpr auto kPollInterval = std::chrono::milliseconds(200);

}  // namespace

void write_text_file(const fs::path& path, const std::string& text) {
  AtomicFile file(path, /*force=*/true);
  std::ofstream stream(file.temporary_path(), std::ios::binary);
  stream << text;
  stream.close();
  if (!stream) throw EnvironmentError("{}: writing failed", path.string());
  file.commit();
}

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

void compare(const Json& was, const Json& is, const std::string& key, const fs::path& folder) {
  if (was == is) return;
  if (was.is_object() && is.is_object()) {
    std::set<std::string> names;
    for (const Json* side : {&was, &is}) {
      for (const auto& [name, value] : side->items()) names.insert(name);
    }
    for (const std::string& name : names) {
      compare(was.value(name, Json()), is.value(name, Json()), key.empty() ? name : key + ": " + name,
              folder);
    }
    return;
  }
  throw UsageError("--resume: {} was made with {} = {}, now it is {}; use another --output", folder.string(),
                   key, was.dump(), is.dump());
}

}  // namespace

RunFolder::RunFolder(fs::path folder, bool resume, bool force, const Launch& launch)
    : folder_(std::move(folder)), resume_(resume), force_(force), launch_(launch) {
  if (launch.world > 1 && force && !resume) {
    throw UsageError("--force: not in several processes; remove {} first", folder_.string());
  }
  if (launch.rank > 0) return;
  made_.emplace(folder_);
  const bool run = fs::exists(folder_ / "run.json") && (launch.world > 1 || has_answers(folder_));
  if (run && !resume && !force) {
    throw UsageError("{}: there is a run already; --resume continues it, --force begins anew",
                     folder_.string());
  }
}

bool RunFolder::goes_on() const {
  // Without an answer there is nothing to go on with: what was asked for now counts.
  return resume_ && fs::exists(folder_ / "run.json") && (launch_.world > 1 || has_answers(folder_));
}

void RunFolder::check(const Json& settings) const {
  if (!goes_on()) return;
  Json before = read_json_file(folder_ / "run.json");
  if (!settings.contains("model_files")) before.erase("model_files");
  compare(before, settings, "", folder_);
}

void RunFolder::begin(const Json& settings) {
  const fs::path file = folder_ / "run.json";
  if (made_) made_->keep();
  if (launch_.rank > 0) {
    while (!fs::exists(file)) std::this_thread::sleep_for(kPollInterval);
    return;
  }
  if (goes_on()) {
    if (launch_.world == 1) eval::merge_samples(folder_);
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
  write_text_file(file, settings.dump(2) + "\n");
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

}  // namespace

int64_t ask(EvaluateRun& run, eval::Answerer& answerer) {
  eval::Samples samples(eval::samples_file(run.folder, run.launch.rank, run.launch.world), /*resume=*/true);
  const std::set<eval::SampleKey> answered = eval::answered(run.folder);
  if (!answered.empty())
    log_info("answered already: {}", counted(static_cast<int64_t>(answered.size()), "question"));
  const int64_t open = run.samples() - static_cast<int64_t>(answered.size());
  Progress progress(run.benchmark.name, "questions", std::max<int64_t>(open / run.launch.world, 1));
  int64_t asked = 0, number = 0;
  for (const eval::Batch& batch : run.plan.batches) {
    // (batches are the same in any number of processes, and so are the answers)
    if (number++ % run.launch.world != run.launch.rank) continue;
    for (const Way& way : run.ways) {
      Questions questions;
      for (const int64_t item : batch) {
        if (answered.count({run.records->number(item), way.condition}) > 0) continue;
        questions.push_back(eval::question_of(*run.records, run.benchmark, run.rules, item, run.pictures));
      }
      if (questions.empty()) continue;
      ask_batch(run, answerer, questions, way, samples);
      asked += static_cast<int64_t>(questions.size());
      progress.advance(static_cast<int64_t>(questions.size()));
    }
  }
  return asked;
}

void wait_for_others(const EvaluateRun& run) {
  const auto bytes = [&] {
    uintmax_t sum = 0;
    for (int64_t rank = 0; rank < run.launch.world; ++rank) {
      std::error_code none;
      const uintmax_t size = fs::file_size(eval::samples_file(run.folder, rank, run.launch.world), none);
      sum += none ? 0 : size;
    }
    return sum;
  };
  std::optional<uintmax_t> read;  // (files may be large: they are read again only where they grew)
  while (true) {
    const uintmax_t now = bytes();
    if (read != now &&
        static_cast<int64_t>(eval::answered_or_failed(run.folder, run.launch.world).size()) >= run.samples())
      return;
    read = now;
    std::this_thread::sleep_for(kPollInterval);
  }
}

std::vector<eval::RejectedRecord> rejected_records(const EvaluateRun& run) {
  std::vector<eval::RejectedRecord> rejected = run.records->rejected();
  rejected.insert(rejected.end(), run.plan.rejected.begin(), run.plan.rejected.end());
  return rejected;
}

}  // namespace ropescope::app::evaluate
