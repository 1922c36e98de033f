// ropescope evaluate: a model's answers to a benchmark, under any position encoding.
#include <chrono>
#include <cmath>
#include <optional>

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/io/result_file.h"

#include "chat_input.h"
#include "command.h"
#include "evaluate_fading.h"
#include "evaluate_run.h"
#include "evaluation_flags.h"
#include "loaded_model.h"

namespace ropescope::app {

namespace evaluate {

namespace {

namespace fs = std::filesystem;

struct EvaluateFlags {
  std::string model, data;
  bool no_images = false;
  ChatFlags chat;
  ScoringFlags scoring;
  PositionFlags positions;
  LongContextFlags long_context;
  int64_t limit = 0, batch_tokens = 2048;
  std::optional<int64_t> max_new_tokens;
  std::string output;
  bool resume = false;

  void bind(Flags& flags) {
    flags.group("Input");
    flags.add("model", model, "checkpoint: a folder (Hugging Face or LLaVA form), or a .gguf file")
        .required();
    flags
        .add("data", data,
             "the benchmark's file: .tsv (VLMEvalKit's form) or .jsonl with picture files beside it")
        .required();
    flags.add("no-images", no_images, "ask without the pictures: what the text alone gives away");
    chat.bind(flags);
    scoring.bind(flags);
    positions.bind(flags);
    long_context.bind(flags);
    flags.group("Running");
    flags.add("limit", limit, "ask the first records only; 0: all").at_least(0);
    flags.add("batch-tokens", batch_tokens, "text tokens of questions that are asked together").at_least(1);
    flags.add("max-new-tokens", max_new_tokens, "longest answer, tokens; default: as the benchmark sets it")
        .at_least(1);
    flags.add("output", output, "folder: samples.jsonl, summary.json, result.h5").required();
    flags.add("resume", resume, "go on where a run in --output stopped; nothing is asked twice");
  }
};

/// What makes two runs the same run.
Json run_settings(const EvaluateFlags& flags, const EvaluateRun& run, const std::string& chat,
                  int64_t max_new_tokens) {
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  const fs::path data = flags.data;
  return {{"benchmark", run.benchmark.name},
          {"data", data.filename().string()},
          {"data_sha256", sha256_of_file(data)},
          {"model", fs::path(flags.model).filename().string()},
          {"profile", eval::profile_name(run.rules.profile)},
          {"policy", eval::policy_name(run.rules.policy)},
          {"ocr", run.rules.ocr_tokens},
          {"scheme", or_null(flags.positions.scheme)},
          {"rope_theta", or_null(flags.positions.rope.theta)},
          {"rope_scaling", or_null(flags.positions.rope.scaling)},
          {"template", chat},
          {"system", or_null(flags.chat.system)},
          {"images", !flags.no_images},
          {"limit", flags.limit},
          {"max_new_tokens", max_new_tokens}};
}

/// What every summary tells.
Json summary_of(const EvaluateRun& run, const Json& settings, int64_t asked, double seconds) {
  Json summary = settings;
  summary["benchmark_data"] = run.benchmark.data;
  summary["whole_file"] = settings["limit"] == 0;
  summary["rejected"] = rejected_records(run);
  summary["asked_now"] = asked;
  summary["seconds"] = seconds;
  return summary;
}

void add_scores(const eval::Benchmark& benchmark, const eval::Scores& scores, Json& summary) {
  const auto headline = eval::headline_percent(benchmark, scores.aggregates);
  summary["items"] = scores.items;
  summary["failed"] = scores.failed;
  summary["no_answer"] = scores.no_answer < scores.items ? Json(scores.no_answer) : Json(nullptr);
  summary["percent"] = headline ? Json(*headline) : Json(nullptr);
  summary["percent_of"] = benchmark.headline.to_string();
  summary["aggregates"] = scores.aggregates;
  if (!scores.aggregates_error.empty()) summary["aggregates_error"] = scores.aggregates_error;
  summary["generated_tokens"] = scores.generated_tokens;
}

void add_fading(const std::vector<eval::FadingCurve>& curves,
                const std::map<eval::Condition, eval::Scores>& scores, Json& summary) {
  int64_t items = 0, failed = 0, tokens = 0;
  for (const auto& [condition, part] : scores) {
    items += part.items;
    failed += part.failed;
    tokens += part.generated_tokens;
  }
  summary["items"] = items;
  summary["failed"] = failed;
  summary["generated_tokens"] = tokens;
  summary["fading"] = eval::fading_json(curves);
}

void write_attributes(ResultWriter& writer, const Json& summary) {
  for (const char* key : {"benchmark", "profile", "policy", "model", "scheme"}) {
    if (summary[key].is_string()) writer.attribute("/evaluation", key, summary[key].get<std::string>());
  }
}

/// Accuracy and number of questions by depth of the needle and length of the context; no number where nothing
/// was asked.
void write_niah_map(ResultWriter& writer, const Json& aggregates, const Json& details) {
  const auto matrix = [](const Json& rows) {
    std::vector<at::Tensor> out;
    for (const Json& row : rows) out.push_back(at::tensor(row.get<std::vector<double>>(), at::kDouble));
    return at::stack(out);
  };
  const at::Tensor count = matrix(details.at("cell_count_depth_by_length"));
  const at::Tensor mean = matrix(aggregates.at("cell_mean_depth_by_length"));
  writer.write("/niah/count", count.to(at::kLong));
  writer.write("/niah/mean", mean.masked_fill(count.eq(0), std::nan("")));
  writer.write("/niah/length_from",
               at::tensor(details.at("length_from").get<std::vector<double>>(), at::kDouble));
  writer.write("/niah/depth_from",
               at::tensor(details.at("depth_from").get<std::vector<double>>(), at::kDouble));
}

void write_scores(ResultWriter& writer, const Json& summary, const eval::Scores& scores) {
  writer.write("/evaluation/record", at::tensor(scores.records, at::kLong));
  writer.write("/evaluation/score", at::tensor(scores.scores, at::kDouble));
  writer.write("/evaluation/tokens", at::tensor(scores.tokens, at::kLong));
  write_attributes(writer, summary);
  if (summary["percent"].is_number())
    writer.attribute("/evaluation", "percent", summary["percent"].get<double>());
  writer.attribute("/evaluation", "aggregates", summary["aggregates"].dump());
  if (scores.details.is_object()) write_niah_map(writer, summary["aggregates"], scores.details);
}

void print_summary(const Json& summary, const std::vector<eval::FadingCurve>& curves, const fs::path& folder,
                   const CommonSettings& settings) {
  if (settings.json) {
    fmt::print("{}\n", summary.dump(-1, ' ', true));
    return;
  }
  if (settings.csv && !curves.empty()) return print_fading(curves, /*csv=*/true);
  fmt::print("{}: {} questions, {} failed, {} records rejected\n", summary["benchmark"].get<std::string>(),
             summary["items"].get<int64_t>(), summary["failed"].get<int64_t>(), summary["rejected"].size());
  if (!curves.empty()) {
    print_fading(curves, /*csv=*/false);
  } else if (summary["percent"].is_number()) {
    fmt::print("{:.2f} % ({}, profile {}, policy {})\n", summary["percent"].get<double>(),
               summary["percent_of"].get<std::string>(), summary["profile"].get<std::string>(),
               summary["policy"].get<std::string>());
  } else if (summary.contains("aggregates_error")) {
    fmt::print("no figure: {}\n", summary["aggregates_error"].get<std::string>());
  }
  fmt::print("written: {}\n", (folder / "samples.jsonl").string());
}

/// The finished run's numbers: summary.json, result.h5, stdout.
void report(const EvaluateRun& run, const std::optional<LongContext>& context, Json summary,
            const Provenance& provenance, const CommonSettings& settings) {
  ResultWriter writer(run.folder / "result.h5", provenance, /*force=*/true);
  std::vector<eval::FadingCurve> curves;
  if (context) {
    const auto scores = eval::score_conditions(run.folder / "samples.jsonl", run.benchmark, run.rules,
                                               /*with_units=*/true);
    curves = eval::fading_curves(scores, run.benchmark, context->schemes, context->lengths, settings.seed);
    add_fading(curves, scores, summary);
    write_fading(writer, *context, curves, scores);
    write_attributes(writer, summary);
  } else {
    const eval::Scores scores = eval::score_samples(run.folder / "samples.jsonl", run.benchmark, run.rules);
    add_scores(run.benchmark, scores, summary);
    write_scores(writer, summary, scores);
  }
  writer.commit();
  write_text_file(run.folder / "summary.json", summary.dump(2) + "\n");
  print_summary(summary, curves, run.folder, settings);
}

/// One way to ask, or all of a run over many lengths.
void choose_ways(const std::optional<std::string>& scheme, const std::optional<LongContext>& context,
                 const Tokenizer& tokenizer, EvaluateRun& job) {
  job.named_ways = context.has_value();
  if (context) {
    job.ways = ways_of(*context, tokenizer);
    return;
  }
  job.ways.emplace_back();
  if (scheme) job.ways.back().manner.scheme.emplace(*scheme);
}

eval::PlanOptions plan_options(const EvaluateFlags& flags, const EvaluateRun& job) {
  eval::PlanOptions options;
  options.limit = flags.limit;
  options.batch_tokens = flags.batch_tokens;
  options.pictures = job.pictures;
  options.pictures_first = job.named_ways;
  return options;
}

void check_plan(const eval::Plan& plan, const std::string& model, bool sees) {
  if (plan.with_pictures > 0 && !sees) {
    throw UsageError(
        "--model: {} questions have pictures and {} has no vision tower; --no-images asks without them",
        plan.with_pictures, model);
  }
  if (plan.questions == 0) {
    throw InputError("--data: expected questions to ask, found none; {} records were rejected",
                     plan.rejected.size());
  }
}

int run(const EvaluateFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  const std::string& model = flags.model;
  const eval::Benchmark& benchmark = eval::find_benchmark(flags.scoring.benchmark);
  EvaluateRun job{read_launch(process_environment()), flags.output, benchmark, flags.scoring.rules(),
                  eval::open_records(flags.data, benchmark.name)};
  job.pictures = !flags.no_images;
  const int64_t new_tokens = flags.max_new_tokens.value_or(benchmark.max_new_tokens);
  const std::optional<LongContext> context = flags.long_context.read(flags.positions.scheme);

  const ModelKind kind = model_kind(model);
  if (kind == ModelKind::kVisionTower) throw UsageError("--model: {} holds a vision tower alone", model);
  DecoderConfig config = read_decoder_config(model);
  config.rope = flags.positions.rope.over(config.rope);
  const auto tokenizer = load_tokenizer(model);
  eval::AnswererOptions options;
  options.chat = flags.chat.chosen(kind, config, *tokenizer);
  options.max_new_tokens = new_tokens;
  if (flags.chat.system) options.system = *flags.chat.system;
  choose_ways(flags.positions.scheme, context, *tokenizer, job);
  eval::PlanOptions planning = plan_options(flags, job);
  std::optional<LlavaConfig> llava;
  if (kind == ModelKind::kLlava && job.pictures) {
    llava = read_llava_config(model);
    options.preprocess = read_preprocess_settings(model);
  }
  Json run_json = run_settings(flags, job, chat_template_name(options.chat), new_tokens);
  if (context) add_settings(*context, run_json);
  settle_run(job.folder, run_json, flags.resume, settings.force, job.launch);
  if (job.launch.world == 1) eval::merge_samples(job.folder);

  LoadOptions load;
  load.device = settings.device;
  if (job.launch.world > 1 && load.device.is_cuda() && !load.device.has_index()) {
    load.device.set_index(static_cast<at::DeviceIndex>(job.launch.local_rank));
  }
  load.dtype = settings.dtype;
  LoadedModel loaded(model, config, llava, load);
  add_end_of_answer(options.chat, *tokenizer, loaded.decoder().config.eos_token_ids);
  eval::Answerer answerer(loaded.decoder(), llava ? &loaded.llava() : nullptr, *tokenizer, options);
  planning.count_tokens = [&](const std::string& prompt) { return answerer.count_tokens(prompt); };
  job.plan = eval::plan_questions(*job.records, benchmark, job.rules, planning);
  check_plan(job.plan, model, llava.has_value());
  const auto start = std::chrono::steady_clock::now();
  const int64_t asked = ask(job, answerer);
  if (job.launch.rank > 0) return 0;
  if (job.launch.world > 1) {
    wait_for_others(job);
    eval::merge_samples(job.folder);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Provenance provenance = invocation.provenance();
  loaded.add_inputs(provenance);
  provenance.add_input(flags.data);
  report(job, context, summary_of(job, run_json, asked, seconds), provenance, settings);
  return 0;
}

}  // namespace

}  // namespace evaluate

extern const Command kEvaluate;
const Command kEvaluate = make_command<evaluate::EvaluateFlags>(
    "evaluate", "Asks a model a benchmark's questions, under any position encoding, and scores the answers.",
    "ropescope evaluate --model llava-v1.6-vicuna-7b-hf --benchmark mmbench --data MMBench_DEV_EN.tsv --scheme id-align --output runs/mmbench-id-align",
    kRunsModel | kDraws | kWrites | kTables, evaluate::run);

}  // namespace ropescope::app
