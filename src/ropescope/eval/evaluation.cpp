#include "ropescope/eval/evaluation.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <unordered_map>

#include <fcntl.h>
#include <unistd.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

namespace ropescope::eval {

namespace fs = std::filesystem;

Question question_of(Records& records, const Benchmark& benchmark, const Rules& rules, int64_t item,
                     bool pictures) {
  const Json doc = records.doc(item);
  const Json prompt = benchmark.prompt(doc, rules);
  if (!prompt.is_string()) throw InputError("doc: the column \"question\" is missing");
  Question question{item, prompt.get<std::string>(), {}, 0};
  if (pictures) question.pictures = records.pictures(item);
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
      const Question question = question_of(records, benchmark, rules, item, options.pictures);
      benchmark.read(records.doc(item), "", rules);  // (a record without its answer is found now)
      const int64_t length = options.count_tokens(question.prompt);
      ++plan.questions;
      if (question.pictures.empty()) {
        text.emplace_back(length, item);
        continue;
      }
      std::string key;
      for (const std::string& picture : question.pictures) key += picture + '\n';
      const auto [found, fresh] = group_of_pictures.emplace(key, by_picture.size());
      if (fresh) by_picture.emplace_back();
      by_picture[found->second].emplace_back(length, item);
      ++plan.with_pictures;
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

struct Samples::Impl {
  int file = -1;
  std::set<int64_t> records;
};

Samples::Samples(const fs::path& path, bool resume) : impl_(std::make_unique<Impl>()) {
  std::error_code code;
  if (fs::exists(path, code)) {
    if (!resume) throw UsageError("{}: the run exists already; --resume continues it", path.string());
    std::ifstream stream(path, std::ios::binary);
    uint64_t whole = 0;
    for (std::string line; std::getline(stream, line);) {
      if (stream.eof()) break;  // no newline: the process was stopped while it wrote
      const Json sample = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!sample.is_object() || !sample.contains("record") || !sample["record"].is_number_integer()) {
        throw InputError("{}: line {} is no sample", path.string(), impl_->records.size() + 1);
      }
      impl_->records.insert(sample["record"].get<int64_t>());
      whole += line.size() + 1;
    }
    stream.close();
    fs::resize_file(path, whole, code);
    if (code) throw EnvironmentError("{}: cannot be written ({})", path.string(), code.message());
  }
  impl_->file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (impl_->file < 0) throw EnvironmentError("{}: cannot be written", path.string());
}

Samples::~Samples() { close(impl_->file); }
bool Samples::done(int64_t record) const { return impl_->records.count(record) > 0; }
int64_t Samples::count() const { return static_cast<int64_t>(impl_->records.size()); }

void Samples::append(const Json& sample) {
  const std::string line = sample.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n";
  for (size_t written = 0; written < line.size();) {
    const ssize_t bytes = write(impl_->file, line.data() + written, line.size() - written);
    if (bytes <= 0) throw EnvironmentError("samples.jsonl: writing failed; is the disk full?");
    written += static_cast<size_t>(bytes);
  }
  impl_->records.insert(sample["record"].get<int64_t>());
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

/// Calls f(record, offset, length) for the whole lines of a file.
template <typename F>
void for_each_sample(const fs::path& file, F&& f) {
  std::ifstream stream(file, std::ios::binary);
  std::streamoff offset = 0;
  for (std::string line; std::getline(stream, line) && !stream.eof();
       offset += static_cast<std::streamoff>(line.size()) + 1) {
    const Json sample = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!sample.is_object() || !sample.contains("record") || !sample["record"].is_number_integer()) continue;
    f(sample["record"].get<int64_t>(), offset, line.size());
  }
}

}  // namespace

std::set<int64_t> answered_records(const fs::path& folder) {
  std::set<int64_t> records;
  std::vector<fs::path> files = rank_files(folder);
  files.push_back(folder / "samples.jsonl");
  for (const fs::path& file : files) {
    for_each_sample(file, [&](int64_t record, std::streamoff, size_t) { records.insert(record); });
  }
  return records;
}

void merge_samples(const fs::path& folder) {
  const std::vector<fs::path> ranks = rank_files(folder);
  if (ranks.empty()) return;
  std::vector<fs::path> files = ranks;
  files.push_back(folder / "samples.jsonl");
  struct Place {
    size_t file = 0, length = 0;
    std::streamoff offset = 0;
  };
  std::map<int64_t, Place> places;
  for (size_t i = 0; i < files.size(); ++i) {
    for_each_sample(files[i], [&](int64_t record, std::streamoff offset, size_t length) {
      places[record] = {i, length, offset};
    });
  }
  AtomicFile target(folder / "samples.jsonl", /*force=*/true);
  std::ofstream out(target.temporary_path(), std::ios::binary);
  std::vector<std::ifstream> streams;
  for (const fs::path& file : files) streams.emplace_back(file, std::ios::binary);
  for (const auto& [record, place] : places) {
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
}

Json make_sample(const Benchmark& benchmark, const Rules& rules, int64_t record, const Json& doc,
                 const Question& question, const Answer& answer) {
  const Reading reading = benchmark.read(doc, answer.output, rules);
  Json sample = {{"record", record},          {"doc", doc},
                 {"prompt", question.prompt}, {"output", answer.output},
                 {"tokens", answer.tokens},   {"extracted", reading.extracted},
                 {"score", reading.score}};
  if (reading.processed) sample["processed"] = *reading.processed;
  if (!answer.error.empty()) sample["error"] = answer.error;
  return sample;
}

Scores score_samples(const fs::path& path, const Benchmark& benchmark, const Rules& rules) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError("{}: cannot be read", path.string());
  std::map<int64_t, std::streamoff> offsets;
  std::streamoff offset = 0;
  for (std::string line; std::getline(stream, line); offset = stream.tellg()) {
    const Json sample = parse_json(line, path.string());
    offsets[json_integer(sample, "record", path.string())] = offset;
    if (stream.eof()) break;
  }
  Scores scores;
  const auto tally = benchmark.tally(rules);
  for (const auto& [record, place] : offsets) {
    stream.clear();
    stream.seekg(place);
    std::string line;
    std::getline(stream, line);
    const Json sample = parse_json(line, path.string());
    const Json& doc = sample.at("doc");
    const Reading reading = benchmark.read(doc, json_string(sample, "output", path.string()), rules);
    tally->add(doc, reading);
    ++scores.items;
    scores.failed += sample.contains("error") ? 1 : 0;
    scores.no_answer += reading.extracted.is_null() && sample.at("extracted").is_null() ? 1 : 0;
    scores.records.push_back(record);
    scores.scores.push_back(reading.score);
    scores.tokens.push_back(json_integer_or(sample, "tokens", 0, path.string()));
    scores.generated_tokens += scores.tokens.back();
  }
  try {
    scores.aggregates = tally->aggregates();
  } catch (const InputError& error) {
    scores.aggregates_error = error.what();
  }
  return scores;
}

std::optional<double> headline_percent(const Benchmark& benchmark, const Json& aggregates) {
  if (!aggregates.is_object() || !aggregates.contains(benchmark.headline)) return std::nullopt;
  const Json& value = aggregates.at(benchmark.headline);
  if (!value.is_number()) return std::nullopt;
  return value.get<double>() * benchmark.headline_scale;
}

}  // namespace ropescope::eval
