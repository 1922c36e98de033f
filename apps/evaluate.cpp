// ropescope evaluate: a model's answers to a benchmark, under any position encoding.
#include <chrono>
#include <fstream>
#include <optional>
#include <set>
#include <thread>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/eval/answerer.h"
#include "ropescope/eval/evaluation.h"
#include "ropescope/io/result_file.h"
#include "ropescope/train/launch.h"

#include "chat_input.h"
#include "evaluation_flags.h"
#include "loaded_model.h"
#include "trace_tensors.h"

namespace ropescope::app {

namespace {

namespace fs = std::filesystem;

constexpr auto kPollInterval = std::chrono::milliseconds(200);

std::vector<po::options_description> options() {
  po::options_description input("Input", 110, 55);
  input.add_options()  //
      ("model", po::value<std::string>(),
       "checkpoint: a folder (Hugging Face or LLaVA form), or a .gguf file")  //
      ("data", po::value<std::string>(),
       "the benchmark's file: .tsv (VLMEvalKit's form) or .jsonl with picture files beside it")  //
      ("no-images", po::bool_switch(), "ask without the pictures: what the text alone gives away");
  add_chat_options(input);
  po::options_description running("Running", 110, 55);
  running.add_options()                                                                        //
      ("limit", po::value<int64_t>()->default_value(0), "ask the first records only; 0: all")  //
      ("batch-tokens", po::value<int64_t>()->default_value(2048),
       "text tokens of questions that are asked together")  //
      ("max-new-tokens", po::value<int64_t>(),
       "longest answer, tokens; default: as the benchmark sets it")                           //
      ("output", po::value<std::string>(), "folder: samples.jsonl, summary.json, result.h5")  //
      ("resume", po::bool_switch(), "go on where a run in --output stopped; nothing is asked twice");
  return {input, scoring_options(), rope_options(), running};
}

/// What makes two runs the same run.
Json run_settings(const Arguments& arguments, const eval::Benchmark& benchmark, const eval::Rules& rules,
                  const std::string& chat, int64_t max_new_tokens) {
  const auto text = [&](const char* flag) {
    return arguments.has(flag) ? Json(arguments.get<std::string>(flag)) : Json(nullptr);
  };
  const fs::path data = arguments.get<std::string>("data");
  return {
      {"benchmark", benchmark.name},
      {"data", data.filename().string()},
      {"data_sha256", sha256_of_file(data)},
      {"model", fs::path(arguments.get<std::string>("model")).filename().string()},
      {"profile", eval::profile_name(rules.profile)},
      {"policy", eval::policy_name(rules.policy)},
      {"ocr", rules.ocr_tokens},
      {"scheme", text("scheme")},
      {"rope_theta", arguments.has("rope-theta") ? Json(arguments.get<double>("rope-theta")) : Json(nullptr)},
      {"rope_scaling", text("rope-scaling")},
      {"template", chat},
      {"system", text("system")},
      {"images", !arguments.flag("no-images")},
      {"limit", arguments.get<int64_t>("limit")},
      {"max_new_tokens", max_new_tokens}};
}

void write_file(const fs::path& path, const std::string& text) {
  AtomicFile file(path, /*force=*/true);
  std::ofstream stream(file.temporary_path(), std::ios::binary);
  stream << text;
  stream.close();
  if (!stream) throw EnvironmentError("{}: writing failed", path.string());
  file.commit();
}

/// Begins a run, or finds the run to go on with. Throws UsageError if it is another one. Of several processes
/// the first begins it and the others wait for that.
void settle_run(const fs::path& folder, const Json& settings, bool resume, bool force, const Launch& launch) {
  const fs::path file = folder / "run.json";
  if (launch.world > 1 && !resume) {
    if (force) throw UsageError("--force: not in several processes; remove {} first", folder.string());
    while (launch.rank > 0 && !fs::exists(file)) std::this_thread::sleep_for(kPollInterval);
    if (launch.rank > 0) return;
  }
  if (fs::exists(file) && resume) {
    const Json before = read_json_file(file);
    for (const auto& [key, value] : settings.items()) {
      if (before.contains(key) && before[key] == value) continue;
      throw UsageError("--resume: {} was made with {} = {}, now it is {}; use another --output",
                       folder.string(), key, before.value(key, Json()).dump(), value.dump());
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
  write_file(file, settings.dump(2) + "\n");
}

struct Run {
  Launch launch;
  fs::path folder;
  const eval::Benchmark& benchmark;
  eval::Rules rules;
  std::unique_ptr<eval::Records> records;
  eval::Plan plan;
  bool pictures = true;
};

/// Asks this process's share of what is not answered yet; returns how many questions were asked.
int64_t ask(Run& run, eval::Answerer& answerer) {
  eval::Samples samples(eval::samples_file(run.folder, run.launch.rank, run.launch.world), /*resume=*/true);
  const std::set<int64_t> answered = eval::answered_records(run.folder);
  if (!answered.empty()) log_info("{} questions are answered already", answered.size());
  const int64_t open = run.plan.questions - static_cast<int64_t>(answered.size());
  Progress progress(run.benchmark.name, "questions", std::max<int64_t>(open / run.launch.world, 1));
  int64_t asked = 0, number = 0;
  for (const eval::Batch& batch : run.plan.batches) {
    // (batches are the same in any number of processes, and so are the answers)
    if (number++ % run.launch.world != run.launch.rank) continue;
    std::vector<eval::Question> questions;
    for (const int64_t item : batch) {
      if (answered.count(run.records->number(item)) > 0) continue;
      questions.push_back(eval::question_of(*run.records, run.benchmark, run.rules, item, run.pictures));
    }
    if (questions.empty()) continue;
    const auto answers =
        answerer.answer(questions, [&](const std::string& key) { return run.records->picture(key); });
    for (size_t i = 0; i < questions.size(); ++i) {
      const int64_t item = questions[i].item;
      if (!answers[i].error.empty())
        log_warning("record {}: {}", run.records->number(item), answers[i].error);
      samples.append(eval::make_sample(run.benchmark, run.rules, run.records->number(item),
                                       run.records->doc(item), questions[i], answers[i]));
    }
    asked += static_cast<int64_t>(questions.size());
    progress.advance(static_cast<int64_t>(questions.size()));
  }
  return asked;
}

/// Waits until all processes have answered their share. (One that ends early takes the others with it: that
/// is the launcher's part.)
void wait_for_others(const Run& run) {
  while (static_cast<int64_t>(eval::answered_records(run.folder).size()) < run.plan.questions) {
    std::this_thread::sleep_for(kPollInterval);
  }
}

Json summary_of(const Run& run, const Json& settings, const eval::Scores& scores, int64_t asked,
                double seconds) {
  Json rejected = Json::array();
  for (const auto* list : {&run.records->rejected(), &run.plan.rejected}) {
    for (const auto& record : *list) rejected.push_back({{"record", record.record}, {"error", record.error}});
  }
  const auto headline = eval::headline_percent(run.benchmark, scores.aggregates);
  Json summary = settings;
  summary["benchmark_data"] = run.benchmark.data;
  summary["whole_file"] = settings["limit"] == 0;
  summary["items"] = scores.items;
  summary["failed"] = scores.failed;
  summary["no_answer"] = scores.no_answer < scores.items ? Json(scores.no_answer) : Json(nullptr);
  summary["rejected"] = rejected;
  summary["percent"] = headline ? Json(*headline) : Json(nullptr);
  summary["percent_of"] = run.benchmark.headline.to_string();
  summary["aggregates"] = scores.aggregates;
  if (!scores.aggregates_error.empty()) summary["aggregates_error"] = scores.aggregates_error;
  summary["generated_tokens"] = scores.generated_tokens;
  summary["asked_now"] = asked;
  summary["seconds"] = seconds;
  return summary;
}

void write_result(const fs::path& path, const Provenance& provenance, const Json& summary,
                  const eval::Scores& scores) {
  ResultWriter writer(path, provenance, /*force=*/true);
  writer.write("/evaluation/record", at::tensor(scores.records, at::kLong));
  writer.write("/evaluation/score", at::tensor(scores.scores, at::kDouble));
  writer.write("/evaluation/tokens", at::tensor(scores.tokens, at::kLong));
  for (const char* key : {"benchmark", "profile", "policy", "model", "scheme"}) {
    if (summary[key].is_string()) writer.attribute("/evaluation", key, summary[key].get<std::string>());
  }
  if (summary["percent"].is_number())
    writer.attribute("/evaluation", "percent", summary["percent"].get<double>());
  writer.attribute("/evaluation", "aggregates", summary["aggregates"].dump());
  writer.commit();
}

void print_summary(const Json& summary, const fs::path& folder, bool json) {
  if (json) {
    fmt::print("{}\n", summary.dump(-1, ' ', true));
    return;
  }
  fmt::print("{}: {} questions, {} failed, {} records rejected\n", summary["benchmark"].get<std::string>(),
             summary["items"].get<int64_t>(), summary["failed"].get<int64_t>(), summary["rejected"].size());
  if (summary["percent"].is_number()) {
    fmt::print("{:.2f} % ({}, profile {}, policy {})\n", summary["percent"].get<double>(),
               summary["percent_of"].get<std::string>(), summary["profile"].get<std::string>(),
               summary["policy"].get<std::string>());
  } else if (summary.contains("aggregates_error")) {
    fmt::print("no figure: {}\n", summary["aggregates_error"].get<std::string>());
  }
  fmt::print("written: {}\n", (folder / "samples.jsonl").string());
}

int run(const Arguments& arguments) {
  const CommonSettings settings = common_settings(arguments);
  const std::string model = required_text(arguments, "model");
  const std::string data = required_text(arguments, "data");
  const fs::path folder = required_text(arguments, "output");
  const auto limit = arguments.get<int64_t>("limit"), batch_tokens = arguments.get<int64_t>("batch-tokens");
  if (limit < 0) throw UsageError("--limit: expected 0 or more, found {}", limit);
  if (batch_tokens < 1) throw UsageError("--batch-tokens: expected at least 1, found {}", batch_tokens);
  const eval::Benchmark& benchmark = eval::find_benchmark(required_text(arguments, "benchmark"));
  Run job{read_launch(process_environment()),       folder, benchmark, scoring_rules(arguments),
          eval::open_records(data, benchmark.name), {},     true};
  job.pictures = !arguments.flag("no-images");
  const int64_t new_tokens =
      arguments.has("max-new-tokens") ? arguments.get<int64_t>("max-new-tokens") : benchmark.max_new_tokens;
  if (new_tokens < 1) throw UsageError("--max-new-tokens: expected at least 1, found {}", new_tokens);

  const ModelKind kind = model_kind(model);
  if (kind == ModelKind::kVisionTower) throw UsageError("--model: {} holds a vision tower alone", model);
  DecoderConfig config = read_decoder_config(model);
  config.rope = rope_override(arguments, config.rope);
  const auto tokenizer = load_tokenizer(model);
  eval::AnswererOptions options;
  options.chat = chosen_template(arguments, kind, config, *tokenizer);
  options.max_new_tokens = new_tokens;
  if (arguments.has("scheme")) options.scheme = Scheme(arguments.get<std::string>("scheme")).text();
  if (arguments.has("system")) options.system = arguments.get<std::string>("system");
  std::optional<LlavaConfig> llava;
  if (kind == ModelKind::kLlava && job.pictures) {
    llava = read_llava_config(model);
    options.preprocess = read_preprocess_settings(model);
  }
  const Json run_json =
      run_settings(arguments, benchmark, job.rules, chat_template_name(options.chat), new_tokens);
  settle_run(folder, run_json, arguments.flag("resume"), settings.force, job.launch);
  if (job.launch.world == 1) eval::merge_samples(folder);

  LoadOptions load;
  load.device = settings.device;
  if (job.launch.world > 1 && load.device.is_cuda() && !load.device.has_index()) {
    load.device.set_index(static_cast<at::DeviceIndex>(job.launch.local_rank));
  }
  load.dtype = settings.dtype;
  LoadedModel loaded(model, config, llava, load);
  add_end_of_answer(options.chat, *tokenizer, loaded.decoder().config.eos_token_ids);
  eval::Answerer answerer(loaded.decoder(), llava ? &loaded.llava() : nullptr, *tokenizer, options);
  eval::PlanOptions planning{limit, batch_tokens, job.pictures,
                             [&](const std::string& prompt) { return answerer.count_tokens(prompt); }};
  job.plan = eval::plan_questions(*job.records, benchmark, job.rules, planning);
  if (job.plan.with_pictures > 0 && !llava) {
    throw UsageError(
        "--model: {} questions have pictures and {} has no vision tower; --no-images asks without them",
        job.plan.with_pictures, model);
  }
  const auto start = std::chrono::steady_clock::now();
  const int64_t asked = ask(job, answerer);
  if (job.launch.rank > 0) return 0;
  if (job.launch.world > 1) {
    wait_for_others(job);
    eval::merge_samples(folder);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const eval::Scores scores = eval::score_samples(folder / "samples.jsonl", benchmark, job.rules);
  const Json summary = summary_of(job, run_json, scores, asked, seconds);
  Provenance provenance = make_provenance(arguments, settings);
  loaded.add_inputs(provenance);
  provenance.add_input(data);
  write_result(folder / "result.h5", provenance, summary, scores);
  write_file(folder / "summary.json", summary.dump(2) + "\n");
  print_summary(summary, folder, settings.json);
  return 0;
}

}  // namespace

extern const Command kEvaluate;
const Command kEvaluate{
    "evaluate", "Asks a model a benchmark's questions, under any position encoding, and scores the answers.",
    "ropescope evaluate --model llava-v1.6-vicuna-7b-hf --benchmark mmbench --data "
    "MMBench_DEV_EN.tsv --scheme id-align --output runs/mmbench-id-align",
    options, run};

}  // namespace ropescope::app
