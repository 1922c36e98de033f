#include "evaluate_run.h"

#include <chrono>
#include <fstream>
#include <set>
#include <thread>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"

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

void settle_run(const fs::path& folder, const Json& settings, bool resume, bool force, const Launch& launch) {
  const fs::path file = folder / "run.json";
  if (launch.world > 1 && !resume) {
    if (force) throw UsageError("--force: not in several processes; remove {} first", folder.string());
    while (launch.rank > 0 && !fs::exists(file)) std::this_thread::sleep_for(kPollInterval);
    if (launch.rank > 0) return;
  }
  if (fs::exists(file) && resume) {
    const Json before = read_json_file(file);
    std::set<std::string> keys;
    for (const Json* side : {&settings, &before}) {
      for (const auto& [key, value] : side->items()) keys.insert(key);
    }
    for (const std::string& key : keys) {
      const Json was = before.value(key, Json()), is = settings.value(key, Json());
      if (was == is) continue;
      throw UsageError("--resume: {} was made with {} = {}, now it is {}; use another --output",
                       folder.string(), key, was.dump(), is.dump());
    }
    return;
  }
  if (fs::exists(file) && !force) {
    throw UsageError("{}: there is a run already; --resume continues it, --force begins anew",
                     folder.string());
  }
  fs::create_directories(folder);
  for (const char* name : {"samples.jsonl", "summary.json", "result.h5"}) fs::remove(folder / name);
  if (force) {
    eval::merge_samples(folder);  // (clears the files of an unfinished run in several processes)
    fs::remove(folder / "samples.jsonl");
  }
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
  if (!answered.empty()) log_info("{} questions are answered already", answered.size());
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
    if (read != now && static_cast<int64_t>(eval::answered(run.folder).size()) >= run.samples()) return;
    read = now;
    std::this_thread::sleep_for(kPollInterval);
  }
}

Json rejected_records(const EvaluateRun& run) {
  Json rejected = Json::array();
  for (const auto* list : {&run.records->rejected(), &run.plan.rejected}) {
    for (const auto& record : *list) rejected.push_back({{"record", record.record}, {"error", record.error}});
  }
  return rejected;
}

}  // namespace ropescope::app::evaluate
