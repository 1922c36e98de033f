// ropescope train: teach a language model, under any position encoding, with checkpoints to go on from.
#include <csignal>
#include <iostream>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/train/adapter_file.h"
#include "ropescope/train/training_run.h"

#include "command.h"
#include "inputs/loaded_model.h"
#include "train/train_log.h"
#include "train/train_plan.h"
#include "train/train_processes.h"
#include "train/train_settings.h"
#include "train/train_subject.h"

namespace ropescope::app {

namespace train {

namespace {

namespace fs = std::filesystem;

volatile std::sig_atomic_t interrupted = 0;

void note_signal(int) { interrupted = 1; }

/// SIGINT and SIGTERM are noted while it lives; a second one ends the program at once.
class SignalGuard {
 public:
  SignalGuard() {
    struct sigaction action = {};
    action.sa_handler = note_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
    sigaction(SIGINT, &action, &old_int_);
    sigaction(SIGTERM, &action, &old_term_);
  }
  ~SignalGuard() {
    sigaction(SIGINT, &old_int_, nullptr);
    sigaction(SIGTERM, &old_term_, nullptr);
  }

 private:
  struct sigaction old_int_ = {}, old_term_ = {};
};

/// What --resume names; none: a run from the start, for which the leading rank makes room.
std::optional<fs::path> checkpoint_to_resume(const TrainFlags& flags, Checkpoints& checkpoints, bool force,
                                             bool leads) {
  if (flags.resume == "auto") return checkpoints.latest();
  if (flags.resume) return fs::path(*flags.resume);
  if (const auto latest = checkpoints.latest()) {
    if (!force) {
      throw UsageError("--output: {} is there already. Try: --resume auto to go on, --force to start anew",
                       latest->string());
    }
    if (leads) checkpoints.remove_all();
  }
  return std::nullopt;
}

/// `curves`: those of the run, which a process that made no step knows the last loss from.
void print_result(const TrainingRunResult& result, const Trainer& trainer, const Curves& curves,
                  const fs::path& output, const Json& memory, bool json) {
  std::optional<double> loss;
  if (!curves.points().empty()) loss = curves.points().back().loss;
  if (!result.reports.empty()) loss = result.reports.back().loss;
  const std::string state = (output / "checkpoints" / fmt::format("step-{}", trainer.steps_done())).string();
  const int64_t steps = trainer.settings().schedule.total_steps;
  if (json) {
    Json said = {{"step", trainer.steps_done()},
                 {"steps", steps},
                 {"loss", loss ? Json(*loss) : Json()},
                 {"interrupted", result.interrupted},
                 {"checkpoint", state}};
    if (!memory.is_null()) said["memory"] = memory;
    std::cout << said.dump() << "\n";
    return;
  }
  std::cout << fmt::format("{} after step {} of {}: {}, {}\n", result.interrupted ? "interrupted" : "done",
                           trainer.steps_done(), steps,
                           loss ? fmt::format("loss {:.5f}", *loss) : "no loss known", state);
  if (!memory.is_null()) std::cout << memory_table(memory);
}

/// A run as far as this process takes part in it.
int take_part(const TrainFlags& flags, const Invocation& invocation, const TrainSettings& own,
              TrainSubject& subject, Sampler& sampler, Trainer& trainer) {
  const fs::path output = flags.output;
  const CommonSettings& common = invocation.settings;
  ProcessGroup* group = trainer.sharding() == nullptr ? nullptr : &trainer.sharding()->group();
  const bool leads = group == nullptr || group->rank() == 0;
  Checkpoints checkpoints(output / "checkpoints", subject.files(), own.lora.has_value());
  Provenance provenance = invocation.provenance();
  Curves curves(output / "curves.h5", provenance);
  TrainingRunSettings settings;
  settings.total_steps = trainer.settings().schedule.total_steps;
  settings.save_every = flags.save_every;
  settings.keep_last = flags.keep_last;
  settings.log_every = flags.log_every;
  settings.config = train_config(flags, common, settings.total_steps);
  // Frozen weights, tokenizer and template are not part of a checkpoint: another model under the same name is not this run.
  settings.config["model_files"] = model_digests(flags.model);
  if (flags.vision_tower) settings.config["vision_tower_files"] = model_digests(*flags.vision_tower);
  settings.interrupt = [] { return interrupted != 0; };
  std::optional<TrainLog> log;
  settings.step_made = [&log](const Curves::Point& point) {
    if (log) log->add(point);
  };
  settings.saving = [&log] {
    if (log) log->sync();
  };
  TrainingRun training_run(subject.model(), sampler, trainer, checkpoints, curves, settings);
  const auto saved = checkpoint_to_resume(flags, checkpoints, common.force, leads);
  if (saved) {
    training_run.resume(read_checkpoint(*saved), flags.allow_change);
    log_info("resumed {} after step {}", saved->string(), trainer.steps_done());
  }
  if (group != nullptr) check_same_step(*group, trainer.steps_done());
  if (leads) {
    const int64_t trained = count_numbers(subject.parameters());
    log_info(
        "{} rows, {} steps ({} an epoch), {} trained parameters, {} MiB of weights, gradients and optimizer state",
        subject.model().rows(), settings.total_steps, sampler.steps_per_epoch(), trained, trained * 16 >> 20);
  }
  if (leads)
    log.emplace(flags, own, subject, provenance, training_run.state(), saved ? trainer.steps_done() : -1);
  const TrainingRunResult result = training_run.run();
  const Json memory = flags.processes.memory_report ? report_memory(subject, trainer, flags, common) : Json();
  if (leads) print_result(result, trainer, curves, output, memory, common.json);
  return result.interrupted ? 130 : 0;
}

int run(const TrainFlags& given, const Invocation& started) {
  if (started.settings.dtype == at::kHalf) {
    throw UsageError(
        "--dtype: expected float32 or bfloat16, found float16, whose range is too small for gradients");
  }
  if (started.settings.weights == WeightMode::kStreamed) {
    throw UsageError(
        "--weights streamed: training changes every weight and keeps all of them in memory; --shard parameters shares them between processes");
  }
  std::optional<AdapterFile> adapter;
  if (given.adapter) adapter = read_adapter(*given.adapter);
  const TrainFlags flags = with_stage_defaults(given, adapter);
  const Launch launch = start_process(started.common);
  Invocation invocation = started;
  invocation.settings.device = own_device(launch, started.settings.device);
  const CommonSettings& common = invocation.settings;
  TrainSettings settings = read_settings(flags, common);
  settings.adapter = std::move(adapter);
  settings.copies_weights = launch.world == 1;
  const ShardMode shard = parse_shard_mode(flags.processes.shard);
  check_log_flags(flags, launch);
  if (settings.lora && shard == ShardMode::kParameters) {
    throw UsageError(
        "--lora: under --shard parameters the matrices beside the adapters are not there. Try: --shard gradients, under "
        "which adapters take hardly any memory");
  }
  const bool dry = flags.dry_run, leads = launch.rank == 0;
  TrainSubject subject(settings, common.device,
                       dry || !leads ? fs::path() : fs::path(flags.output) / "bad_rows.log");
  Sampler sampler(subject.model().lengths(), settings.sampler);
  TrainerSettings training = settings.trainer;
  training.schedule.total_steps =
      settings.max_steps > 0 ? settings.max_steps : settings.epochs * sampler.steps_per_epoch();
  training.schedule.warmup_steps = warmup_steps(training.schedule.total_steps, settings.warmup_ratio);
  if (dry) {
    const Trainer planned(AdamW(subject.parameters(), settings.groups, settings.adam), training);
    if (leads) {
      print_plan(subject, sampler, planned, flags, planned_memory(subject, flags, common, launch),
                 common.json);
    }
    return 0;
  }
  const SignalGuard signals;  // from here on a signal ends a step, not the program
  const std::unique_ptr<ProcessGroup> group = join_processes(launch, flags.processes, common.device);
  if (group == nullptr) {
    Trainer trainer(AdamW(subject.parameters(), settings.groups, settings.adam), training);
    return take_part(flags, invocation, settings, subject, sampler, trainer);
  }
  try {
    const auto sharding = std::make_shared<Sharding>(*group, shard, subject.parameters(),
                                                     subject.model().slots(), common.dtype);
    subject.model().set_weight_access(sharding);
    Trainer trainer(AdamW(sharding->pieces(), settings.groups, settings.adam), training, *sharding);
    return take_part(flags, invocation, settings, subject, sampler, trainer);
  } catch (const NumericsError&) {  // all ranks end with it
    throw;
  } catch (const UsageError&) {
    throw;
  } catch (const std::exception& error) {
    group->announce_failure(error.what());
    throw;
  }
}

}  // namespace

}  // namespace train

extern const Command kTrain;
const Command kTrain = make_command<train::TrainFlags>(
    "train",
    "Trains a language model, or one that sees, under any position encoding, with checkpoints that go on exactly.",
    "ropescope train --model SmolLM2.gguf --data foldoc.dict.dz --max-length 256 --batch-size 2 --max-steps 100 --output run",
    kRunsModel | kDraws | kWrites | kJson, train::run);

}  // namespace ropescope::app
