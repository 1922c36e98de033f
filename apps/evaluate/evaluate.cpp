// ropescope evaluate: a model's answers to a benchmark, under any position encoding.
#include <algorithm>
#include <chrono>
#include <optional>

#include <fmt/ranges.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"
#include "ropescope/io/result_file.h"
#include "ropescope/rope/scheme.h"

#include "evaluate/evaluate_media.h"
#include "evaluate/evaluate_report.h"
#include "evaluate/evaluation_flags.h"
#include "inputs/chat_input.h"
#include "inputs/loaded_model.h"
#include "inputs/model_folder.h"
#include "inputs/processes.h"
#include "text_table.h"

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
  std::optional<double> fps;
  std::string output;
  bool resume = false, list = false;
  WorkFlags processes;

  void bind(Flags& flags) {
    flags.group("Input");
    flags.add("model", model, "checkpoint: a folder (Hugging Face or LLaVA form), or a .gguf file")
        .stands_for(opened_model)
        .required();
    flags
        .add("data", data,
             "the benchmark's file: .tsv (VLMEvalKit's form) or .jsonl with picture files beside it")
        .required();
    flags.add("no-images", no_images, "ask without the pictures and clips: what the text alone gives away");
    flags
        .add(
            "fps", fps,
            "of clips: frames a second to take, in place of the family's rule; of folders of frames: those they have")
        .between(1e-3, 1e4);
    chat.bind(flags);
    scoring.bind(flags);
    positions.bind(flags).alias("schemes");
    long_context.bind(flags);
    flags.group("Running");
    flags.add("limit", limit, "ask the first records only; 0: all").at_least(0);
    flags.add("batch-tokens", batch_tokens, "text tokens of questions that are asked together").at_least(1);
    flags.add("max-new-tokens", max_new_tokens, "longest answer, tokens; default: as the benchmark sets it")
        .at_least(1);
    flags.add("output", output, "folder: samples.jsonl, summary.json, result.h5").required();
    flags.add("resume", resume,
              "go on where a run in --output stopped: nothing is asked twice, except what failed");
    flags.add("list", list, "list the benchmarks, and stop").suffices();
    processes.bind(flags);
  }
};

/// What makes two runs the same run.
Json run_settings(const EvaluateFlags& flags, const EvaluateRun& run, const std::string& chat,
                  int64_t max_new_tokens) {
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  const fs::path data = flags.data;
  // Of a comparison the schemes stand apart (add_settings).
  const std::optional<std::string>& scheme = flags.positions.scheme;
  const bool one = scheme && split_scheme_list(*scheme).size() == 1;
  return {{"benchmark", run.benchmark.name},
          {"data", data.filename().string()},
          {"data_sha256", sha256_of_file(data)},
          {"model", name_of(flags.model)},
          {"profile", eval::profile_name(run.rules.profile)},
          {"policy", eval::policy_name(run.rules.policy)},
          {"ocr", run.rules.ocr_tokens},
          {"scheme", one ? Json(*scheme) : Json(nullptr)},
          {"rope_theta", or_null(flags.positions.rope.theta)},
          {"rope_scaling", or_null(flags.positions.rope.scaling)},
          {"template", chat},
          {"system", or_null(flags.chat.system)},
          {"images", !flags.no_images},
          {"fps", or_null(flags.fps)},
          {"boxes", run.benchmark.has_boxes ? Json(eval::box_scale_name(run.rules.boxes)) : Json(nullptr)},
          {"subtitles", run.rules.subtitles ? Json(true) : Json(nullptr)},
          {"limit", flags.limit},
          {"max_new_tokens", max_new_tokens}};
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

/// Says what is left out and what is asked without its picture. Throws where nothing can be asked.
void check_plan(const EvaluateRun& job, const std::string& model, const std::string& data, bool sees,
                bool takes_clips) {
  const eval::Plan& plan = job.plan;
  const auto rejected = rejected_records(job);
  const std::vector<std::string> reasons = eval::rejection_reasons(rejected);
  if (plan.questions == 0) {
    throw InputError("--data {}: expected questions of {} to ask, found none; {} rejected{}{}", data,
                     job.benchmark.name, counted(static_cast<int64_t>(rejected.size()), "record"),
                     reasons.empty() ? "" : ": ", fmt::join(reasons, "; "));
  }
  for (const std::string& reason : reasons) log_warning("{}: rejected: {}", data, reason);
  if (plan.with_pictures > 0 && !sees) {
    throw UsageError("--model: {} with pictures, and {} has no vision tower; --no-images asks without them",
                     counted(plan.with_pictures, "question"), model);
  }
  if (plan.with_clips > 0 && !takes_clips) {
    throw UsageError(
        "--model: {} with clips, and {} takes none (the Qwen-VL and GLM-4V families do); --no-images asks without them",
        counted(plan.with_clips, "question"), model);
  }
  const auto has_column = [&](const char* name) {
    return std::count(job.benchmark.columns.begin(), job.benchmark.columns.end(), name) > 0;
  };
  if (!job.pictures || !sees) return;
  if (has_column("image") && plan.with_pictures < plan.questions) {
    log_warning("{}: {} of {} without a picture", data, plan.questions - plan.with_pictures,
                counted(plan.questions, "question"));
  }
  if (job.benchmark.about_clips && plan.with_clips < plan.questions) {
    log_warning("{}: {} of {} without a clip", data, plan.questions - plan.with_clips,
                counted(plan.questions, "question"));
  }
}

std::vector<std::string> profile_names(const eval::Benchmark& benchmark) {
  std::vector<std::string> names;
  for (const eval::Profile profile : eval::profiles_of(benchmark))
    names.push_back(eval::profile_name(profile));
  return names;
}

int list_benchmarks(bool json) {
  if (json) {
    for (const eval::Benchmark& known : eval::benchmarks()) {
      fmt::print("{}\n", Json{{"name", known.name},
                              {"summary", known.summary},
                              {"data", known.data},
                              {"columns", known.columns},
                              {"profiles", profile_names(known)},
                              {"max_new_tokens", known.max_new_tokens}}
                             .dump(-1, ' ', true));
    }
    return 0;
  }
  TextTable table({"benchmark", "what it asks", "published data"});
  for (const eval::Benchmark& known : eval::benchmarks()) table.add({known.name, known.summary, known.data});
  fmt::print("{}", table.text(TableStyle::kAligned));
  return 0;
}

int take_part(EvaluateFlags flags, const Invocation& invocation, DealtWork& work, const Launch& launch) {
  const std::string& model = flags.model;
  CommonSettings settings = settings_for_answers(invocation, model);
  settings.device = own_device(launch, settings.device);
  default_to_own_scheme(flags.positions.scheme, model);
  const eval::Benchmark& benchmark = flags.scoring.chosen();
  RunFolder folder(flags.output, flags.resume, settings.force, work.leads());
  EvaluateRun job{work, flags.output, benchmark, flags.scoring.rules(),
                  eval::open_records(flags.data, benchmark)};
  job.pictures = !flags.no_images;
  const std::optional<LongContext> context = flags.long_context.read(flags.positions.scheme);

  const ModelKind kind = model_kind(model);
  if (kind == ModelKind::kVisionTower) throw UsageError("--model: {} holds a vision tower alone", model);
  DecoderConfig config = read_decoder_config(model);
  override_ropes(config, flags.positions.rope);
  const auto tokenizer = load_tokenizer(model);
  eval::AnswererOptions options;
  options.chat = flags.chat.chosen(model, kind, config, *tokenizer);
  if (flags.chat.system) options.system = *flags.chat.system;
  choose_ways(flags.positions.scheme, context, *tokenizer, job);
  eval::PlanOptions planning = plan_options(flags, job);
  std::optional<VlmConfig> vlm;
  if (kind == ModelKind::kVlm && job.pictures) {
    vlm = read_vlm_config(model);
    options.reader = std::make_shared<const PictureReader>(model);
    options.image_token_id = vlm->tokens.image;
  }
  choose_boxes(vlm, job);
  complete_records(options.reader, flags.fps, job);
  options.read_clip = clip_reader(options.reader, flags.fps);
  const int64_t new_tokens = flags.max_new_tokens.value_or(longest_answer(job));
  options.max_new_tokens = new_tokens;
  Json run_json = run_settings(flags, job, options.chat.name(), new_tokens);
  if (context) add_settings(*context, run_json);
  folder.check(run_json);

  planning.count_tokens = [&](const std::string& prompt) {
    return static_cast<int64_t>(eval::question_ids(*tokenizer, options, prompt, {}).size());
  };
  job.plan = eval::plan_questions(*job.records, benchmark, job.rules, planning);
  check_plan(job, model, flags.data, vlm.has_value(), options.reader && options.reader->takes_video());

  LoadedModel loaded(model, config, vlm, load_options(settings));
  Provenance provenance = invocation.provenance();
  provenance.dtype = dtype_name(settings.dtype);
  loaded.add_inputs(provenance);
  run_json["model_files"] = digests(provenance.inputs);
  folder.check(run_json);
  provenance.add_input(flags.data);
  add_end_of_answer(options.chat, *tokenizer, loaded.decoder().config.eos_token_ids);
  eval::Answerer answerer(loaded.decoder(), vlm ? &loaded.vlm() : nullptr, *tokenizer, options);
  folder.begin(run_json);
  const auto start = std::chrono::steady_clock::now();
  Asked asked;
  asked.questions = ask(job, answerer, run_json);
  if (!work.leads()) return 0;
  asked.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report_run(job, context, run_json, asked, provenance, settings);
  return 0;
}

int run(const EvaluateFlags& flags, const Invocation& invocation) {
  if (flags.list) return list_benchmarks(invocation.settings.json);
  const Launch launch = start_process(invocation.common);
  return share_work(launch, flags.processes, "; the answers so far are kept, --resume asks the others",
                    [&](DealtWork& work) { return take_part(flags, invocation, work, launch); });
}

}  // namespace

}  // namespace evaluate

extern const Command kEvaluate;
const Command kEvaluate = make_command<evaluate::EvaluateFlags>(
    "evaluate", "Asks a model a benchmark's questions, under any position encoding, and scores the answers.",
    "ropescope evaluate --model llava-v1.6-vicuna-7b-hf --benchmark mmbench --data MMBench_DEV_EN.tsv --scheme id-align --output runs/mmbench-id-align",
    kRunsModel | kStreams | kDraws | kWrites | kTables, evaluate::run);

}  // namespace ropescope::app
