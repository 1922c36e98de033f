// ropescope train: teach a language model, under any position encoding, with checkpoints to go on from.
#include <csignal>
#include <iostream>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/decoder.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/train/trained_decoder.h"
#include "ropescope/train/training_run.h"
#include "ropescope/weights/checkpoint.h"

#include "command.h"
#include "train_settings.h"

namespace ropescope::app {

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

/// config.json and whatever of the tokenizer lies in a model's folder.
std::vector<fs::path> files_to_copy(const fs::path& model) {
  std::vector<fs::path> files;
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
        "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"}) {
    std::error_code code;
    if (fs::is_regular_file(model / name, code)) files.push_back(model / name);
  }
  return files;
}

int64_t count_numbers(const std::vector<Parameter>& parameters) {
  int64_t count = 0;
  for (const Parameter& parameter : parameters) count += parameter.value.numel();
  return count;
}

void print_plan(const std::vector<TextRow>& rows, const Sampler& sampler, const Trainer& trainer,
                const std::vector<Parameter>& parameters, bool json) {
  int64_t tokens = 0, targets = 0;
  for (const TextRow& row : rows) {
    tokens += static_cast<int64_t>(row.text.ids.size());
    for (size_t i = 1; i < row.text.labels.size(); ++i) targets += row.text.labels[i] >= 0 ? 1 : 0;
  }
  const int64_t trained = count_numbers(parameters);
  // Weights, gradients and AdamW's two averages, float32.
  const int64_t bytes = trained * 16;
  if (json) {
    std::cout << Json{{"rows", rows.size()},
                      {"tokens", tokens},
                      {"targets", targets},
                      {"steps_per_epoch", sampler.steps_per_epoch()},
                      {"steps", trainer.settings().schedule.total_steps},
                      {"warmup_steps", trainer.settings().schedule.warmup_steps},
                      {"trained_parameters", trained},
                      {"training_state_bytes", bytes}}
                     .dump()
              << "\n";
    return;
  }
  std::cout << fmt::format(
      "rows                {}\ntokens an epoch     {} ({} targets)\nsteps               {} ({} an epoch, {} "
      "of "
      "warm-up)\ntrained parameters  {}\nweights, gradients and optimizer  {} MiB (activations come on "
      "top)\n",
      rows.size(), tokens, targets, trainer.settings().schedule.total_steps, sampler.steps_per_epoch(),
      trainer.settings().schedule.warmup_steps, trained, bytes >> 20);
}

/// What --resume names; none: a run from the start.
std::optional<fs::path> checkpoint_to_resume(const Arguments& arguments, Checkpoints& checkpoints,
                                             bool force) {
  if (arguments.has("resume")) {
    const auto name = arguments.get<std::string>("resume");
    if (name == "auto") return checkpoints.latest();
    return fs::path(name);
  }
  if (const auto latest = checkpoints.latest()) {
    if (!force) {
      throw UsageError("--output: {} is there already. Try: --resume auto to go on, --force to start anew",
                       latest->string());
    }
    checkpoints.remove_all();
  }
  return std::nullopt;
}

int run(const Arguments& arguments) {
  const CommonSettings common = common_settings(arguments);
  if (common.dtype != at::kFloat) {
    throw UsageError("--dtype: expected float32, found {}; training keeps its weights in float32",
                     arguments.get<std::string>("dtype"));
  }
  const TrainFlags flags = read_train_flags(arguments, common);
  const fs::path output = required_text(arguments, "output");
  const auto tokenizer = load_tokenizer(flags.model);
  const std::vector<TextRow> rows = read_text_rows(flags.data, *tokenizer, flags.rows);
  LoadOptions load;
  load.device = common.device;
  Decoder decoder = load_decoder(*open_checkpoint(flags.model), read_decoder_config(flags.model), load);
  TrainedDecoder model(decoder, rows, tokenizer->eos_id().value_or(0), flags.loss);
  Sampler sampler(model.lengths(), flags.sampler);
  const std::vector<Parameter> parameters = make_trainable(decoder, flags.trained, flags.frozen);
  TrainerSettings training = flags.trainer;
  training.schedule.total_steps =
      flags.max_steps > 0 ? flags.max_steps : flags.epochs * sampler.steps_per_epoch();
  training.schedule.warmup_steps = warmup_steps(training.schedule.total_steps, flags.warmup_ratio);
  Trainer trainer(AdamW(parameters, flags.groups, flags.adam), training);
  if (arguments.flag("dry-run")) {
    print_plan(rows, sampler, trainer, parameters, common.json);
    return 0;
  }
  const SignalGuard signals;  // from here on a signal ends a step, not the program
  Checkpoints checkpoints(output / "checkpoints", files_to_copy(flags.model));
  Provenance provenance = make_provenance(arguments, common);
  Curves curves(output / "curves.h5", provenance);
  TrainingRunSettings settings;
  settings.total_steps = training.schedule.total_steps;
  settings.save_every = arguments.get<int64_t>("save-every");
  settings.keep_last = arguments.get<int64_t>("keep-last");
  settings.log_every = arguments.get<int64_t>("log-every");
  settings.config = train_config(arguments, training.schedule.total_steps);
  settings.interrupt = [] { return interrupted != 0; };
  TrainingRun training_run(model, sampler, trainer, checkpoints, curves, settings);
  if (const auto saved = checkpoint_to_resume(arguments, checkpoints, common.force)) {
    training_run.resume(read_checkpoint(*saved), arguments.flag("allow-change"));
    log_info("resumed {} after step {}", saved->string(), trainer.steps_done());
  }
  const TrainingRunResult result = training_run.run();
  const double loss = result.reports.empty() ? 0.0 : result.reports.back().loss;
  const std::string state = (output / "checkpoints" / fmt::format("step-{}", trainer.steps_done())).string();
  if (common.json) {
    std::cout << Json{{"step", trainer.steps_done()},
                      {"steps", settings.total_steps},
                      {"loss", result.reports.empty() ? Json() : Json(loss)},
                      {"interrupted", result.interrupted},
                      {"checkpoint", state}}
                     .dump()
              << "\n";
  } else {
    std::cout << fmt::format("{} after step {} of {}: loss {:.5f}, {}\n",
                             result.interrupted ? "interrupted" : "done", trainer.steps_done(),
                             settings.total_steps, loss, state);
  }
  return result.interrupted ? 130 : 0;
}

}  // namespace

extern const Command kTrain;
const Command kTrain = {
    "train", "Train a language model under any position encoding, with checkpoints that go on exactly.",
    "ropescope train --model qwen2 --data texts/ --learning-rate 2e-5 --max-steps 100 --output run/",
    train_options, run};

}  // namespace ropescope::app
