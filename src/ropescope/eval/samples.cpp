#include "ropescope/eval/samples.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>

#include <fcntl.h>
#include <unistd.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/eval/judge.h"
#include "ropescope/eval/reasoning.h"

namespace ropescope::eval {

namespace fs = std::filesystem;

namespace {

Condition condition_of(const Json& sample) {
  Condition condition;
  const auto scheme = sample.find("scheme"), tokens = sample.find("distractor_tokens");
  if (scheme != sample.end() && scheme->is_string()) condition.scheme = scheme->get<std::string>();
  if (tokens != sample.end() && tokens->is_number_integer()) {
    condition.distractor_tokens = tokens->get<int64_t>();
  }
  return condition;
}

/// None for a line that is no sample.
std::optional<SampleKey> key_of(const Json& sample) {
  if (!sample.is_object() || !sample.contains("record") || !sample["record"].is_number_integer()) return {};
  return SampleKey{sample["record"].get<int64_t>(), condition_of(sample)};
}

}  // namespace

namespace {

bool is_failed(const Json& sample) { return sample.contains("error"); }

/// Leaves the whole lines of answers in the file and puts their keys into `keys`.
void keep_answers(const fs::path& path, std::set<SampleKey>& keys) {
  std::ifstream stream(path, std::ios::binary);
  AtomicFile kept(path, /*force=*/true);
  std::ofstream out(kept.temporary_path(), std::ios::binary);
  int64_t number = 0;
  bool all = true;
  for (std::string line; std::getline(stream, line);) {
    if (stream.eof()) {  // no newline: the process was stopped while it wrote
      all = false;
      break;
    }
    const Json sample = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const auto key = key_of(sample);
    ++number;
    if (!key) throw InputError("{}: line {} is no sample", path.string(), number);
    if (is_failed(sample)) {
      all = false;
      continue;
    }
    keys.insert(*key);
    out << line << '\n';
  }
  out.close();
  if (!out) throw EnvironmentError("{}: writing failed", path.string());
  if (!all) kept.commit();
}

}  // namespace

struct Samples::Impl {
  int file = -1;
  std::set<SampleKey> keys;
};

Samples::Samples(const fs::path& path, bool resume) : impl_(std::make_unique<Impl>()) {
  std::error_code code;
  if (fs::exists(path, code)) {
    if (!resume) throw UsageError("{}: the run exists already; --resume continues it", path.string());
    keep_answers(path, impl_->keys);
  }
  impl_->file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (impl_->file < 0) throw EnvironmentError("{}: cannot be written", path.string());
}

Samples::~Samples() { close(impl_->file); }
bool Samples::done(const SampleKey& key) const { return impl_->keys.count(key) > 0; }
int64_t Samples::count() const { return static_cast<int64_t>(impl_->keys.size()); }

void Samples::append(const Json& sample) {
  const std::string line = sample.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n";
  for (size_t written = 0; written < line.size();) {
    const ssize_t bytes = write(impl_->file, line.data() + written, line.size() - written);
    if (bytes <= 0) throw EnvironmentError("samples.jsonl: writing failed; is the disk full?");
    written += static_cast<size_t>(bytes);
  }
  impl_->keys.insert(key_of(sample).value());
}

fs::path samples_file(const fs::path& folder, int64_t rank, int64_t world) {
  return folder /
         (world == 1 ? std::string("samples.jsonl") : "samples.rank-" + std::to_string(rank) + ".jsonl");
}

namespace {

std::vector<fs::path> rank_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("samples.rank-", 0) == 0 && entry.path().extension() == ".jsonl")
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Calls f(key, failed, offset, length) for the whole lines of a file.
template <typename F>
void for_each_sample(const fs::path& file, F&& f) {
  std::ifstream stream(file, std::ios::binary);
  std::streamoff offset = 0;
  for (std::string line; std::getline(stream, line) && !stream.eof();
       offset += static_cast<std::streamoff>(line.size()) + 1) {
    const Json sample = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (const auto key = key_of(sample)) f(*key, is_failed(sample), offset, line.size());
  }
}

}  // namespace

std::set<SampleKey> answered(const fs::path& folder) {
  std::set<SampleKey> keys;
  std::vector<fs::path> files = rank_files(folder);
  files.push_back(folder / "samples.jsonl");
  for (const fs::path& file : files) {
    for_each_sample(file, [&](const SampleKey& key, bool failed, std::streamoff, size_t) {
      if (!failed) keys.insert(key);
    });
  }
  return keys;
}

bool has_rank_files(const fs::path& folder) { return !rank_files(folder).empty(); }

int64_t merge_samples(const fs::path& folder) {
  const std::vector<fs::path> ranks = rank_files(folder);
  std::vector<fs::path> files = {folder / "samples.jsonl"};
  files.insert(files.end(), ranks.begin(), ranks.end());
  struct Place {
    size_t file = 0, length = 0;
    std::streamoff offset = 0;
    bool failed = false;
  };
  std::map<SampleKey, Place> places;
  for (size_t i = 0; i < files.size(); ++i) {
    for_each_sample(files[i], [&](const SampleKey& key, bool failed, std::streamoff offset, size_t length) {
      const auto known = places.find(key);
      if (failed && known != places.end() && !known->second.failed) return;
      places[key] = {i, length, offset, failed};
    });
  }
  AtomicFile target(folder / "samples.jsonl", /*force=*/true);
  std::ofstream out(target.temporary_path(), std::ios::binary);
  std::vector<std::ifstream> streams;
  for (const fs::path& file : files) streams.emplace_back(file, std::ios::binary);
  for (const auto& [key, place] : places) {
    std::string line(place.length, '\0');
    streams[place.file].clear();
    streams[place.file].seekg(place.offset);
    streams[place.file].read(line.data(), static_cast<std::streamsize>(line.size()));
    out << line << '\n';
  }
  out.close();
  if (!out) throw EnvironmentError("{}: writing failed", target.target_path().string());
  target.commit();
  for (const fs::path& file : ranks) fs::remove(file);
  return static_cast<int64_t>(places.size());
}

Json make_sample(const Benchmark& benchmark, const Rules& rules, int64_t record, const Json& doc,
                 const Question& question, const Answer& answer, const Condition* condition) {
  const Reading reading = read_answer(benchmark, doc, answer.output, rules);
  Json sample = {{"record", record},          {"doc", doc},
                 {"prompt", question.prompt}, {"output", answer.output},
                 {"tokens", answer.tokens},   {"extracted", reading.extracted},
                 {"score", reading.score}};
  if (reading.processed) sample["processed"] = *reading.processed;
  if (!answer.error.empty()) sample["error"] = answer.error;
  if (condition != nullptr) {
    sample["scheme"] = condition->scheme.empty() ? Json(nullptr) : Json(condition->scheme);
    sample["distractor_tokens"] = condition->distractor_tokens;
  }
  if (answer.attention) {
    sample["visual_share"] = answer.attention->share;
    sample["visual_tokens"] = answer.attention->visual_tokens;
    sample["prompt_tokens"] = answer.attention->prompt_tokens;
  }
  return sample;
}

namespace {

/// Lines of a file by what they answer; of lines for the same the last one counts.
std::map<Condition, std::map<int64_t, std::streamoff>> places_of(std::ifstream& stream,
                                                                 const std::string& name) {
  std::map<Condition, std::map<int64_t, std::streamoff>> places;
  std::streamoff offset = 0;
  for (std::string line; std::getline(stream, line); offset = stream.tellg()) {
    const Json sample = parse_json(line, name);
    places[condition_of(sample)][json_integer(sample, "record", name)] = offset;
    if (stream.eof()) break;
  }
  return places;
}

class ConditionScores {
 public:
  /// `hands_over`: what is undecided becomes lines for a judge, who knows answers by record: of one way of asking only.
  ConditionScores(const Benchmark& benchmark, const Rules& rules, std::string name, bool hands_over)
      : benchmark_(benchmark),
        rules_(rules),
        name_(std::move(name)),
        hands_over_(hands_over && benchmark.judge.question != nullptr),
        tally_(benchmark.tally(rules)),
        units_(benchmark) {}

  void add(int64_t record, const Json& sample) {
    const Json& doc = sample.at("doc");
    const std::string output = json_string(sample, "output", name_);
    const Reading reading = read_answer(benchmark_, doc, output, rules_);
    tally_->add(doc, reading);
    units_.add(record, doc, reading.score);
    ++scores_.items;
    scores_.failed += is_failed(sample) ? 1 : 0;
    scores_.no_answer += reading.unreadable ? 1 : 0;
    if (reading.undecided && !is_failed(sample)) {
      ++scores_.undecided;
      if (hands_over_) scores_.for_judge.push_back(judge_line(benchmark_, record, doc, output, rules_));
    }
    if (scores_.first.size() < kFirstAnswers) scores_.first.push_back(sample);
    scores_.records.push_back(record);
    scores_.scores.push_back(reading.score);
    scores_.tokens.push_back(json_integer_or(sample, "tokens", 0, name_));
    scores_.generated_tokens += scores_.tokens.back();
    scores_.visual_share.push_back(json_number_or(sample, "visual_share", std::nan(""), name_));
    scores_.uniform_share.push_back(json_number_or(sample, "visual_tokens", std::nan(""), name_) /
                                    json_number_or(sample, "prompt_tokens", std::nan(""), name_));
  }

  Scores take() {
    try {
      scores_.aggregates = tally_->aggregates();
      scores_.details = tally_->details();
    } catch (const InputError& error) {
      scores_.aggregates_error = error.what();
    }
    scores_.units = units_.scores();
    return std::move(scores_);
  }

 private:
  const Benchmark& benchmark_;
  const Rules& rules_;
  std::string name_;
  bool hands_over_;
  std::unique_ptr<Tally> tally_;
  UnitCollector units_;
  Scores scores_;
};

}  // namespace

std::map<Condition, Scores> score_conditions(const fs::path& path, const Benchmark& benchmark,
                                             const Rules& rules) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError("{}: cannot be read", path.string());
  std::map<Condition, Scores> result;
  for (const auto& [condition, places] : places_of(stream, path.string())) {
    ConditionScores scores(benchmark, rules, path.string(), /*hands_over=*/condition == Condition());
    for (const auto& [record, place] : places) {
      stream.clear();
      stream.seekg(place);
      std::string line;
      std::getline(stream, line);
      scores.add(record, parse_json(line, path.string()));
    }
    result.emplace(condition, scores.take());
  }
  return result;
}

Scores score_samples(const fs::path& path, const Benchmark& benchmark, const Rules& rules) {
  std::map<Condition, Scores> all = score_conditions(path, benchmark, rules);
  if (all.size() > 1 || (!all.empty() && all.begin()->first != Condition())) {
    throw InputError("{}: expected the answers of a run that asks in one way, found {} ways", path.string(),
                     all.size());
  }
  return all.empty() ? ConditionScores(benchmark, rules, path.string(), true).take()
                     : std::move(all.begin()->second);
}

}  // namespace ropescope::eval
