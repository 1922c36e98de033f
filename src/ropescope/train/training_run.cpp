#include "ropescope/train/training_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/train/shared_checkpoint.h"

namespace ropescope {

namespace {

using Clock = std::chrono::steady_clock;

// A long run's curves are written at most this often between checkpoints.
constexpr double kCurvesSeconds = 10.0;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

TrainingRun::TrainingRun(TrainedModel& model, Sampler& sampler, Trainer& trainer, Checkpoints& checkpoints,
                         Curves& curves, TrainingRunSettings settings)
    : model_(model),
      sampler_(sampler),
      trainer_(trainer),
      checkpoints_(checkpoints),
      curves_(curves),
      settings_(std::move(settings)),
      data_(model.fingerprint()) {}

Json TrainingRun::state() const {
  return {
      {"config", settings_.config},
      {"data", {{"rows", model_.rows()}, {"sha256", data_}}},
      {"sampler", {{"next_step", trainer_.steps_done()}, {"steps_per_epoch", sampler_.steps_per_epoch()}}}};
}

void TrainingRun::resume(const SavedRun& saved, bool allow_change) {
  std::vector<std::string> changes;
  const Json now = state();
  for (const char* part : {"config", "data"}) {
    const Json then = saved.state.contains(part) ? saved.state.at(part) : Json::object();
    for (const std::string& change : changed_settings(then, now.at(part))) changes.push_back(change);
  }
  if (!changes.empty()) {
    std::string list;
    for (const std::string& change : changes) list += (list.empty() ? "" : "; ") + change;
    if (!allow_change) {
      throw UsageError(
          "--resume: the run was made of something else ({}). Try: the settings as they were, or "
          "--allow-change",
          list);
    }
    log_warning("resuming with changes: {}", list);
  }
  const at::NoGradGuard no_grad;
  for (const TensorSlot& slot : model_.saved_slots()) {
    const auto found = saved.weights.find(slot.name);
    if (found == saved.weights.end()) throw InputError("checkpoint: {} is missing", slot.name);
    if (found->second.sizes() != slot.target->sizes()) {
      throw InputError("checkpoint: {} has another shape than the model's", slot.name);
    }
    if (sharding() != nullptr && sharding()->keeps_slice_of(slot.name)) {
      sharding()->load_weight(slot, found->second);
    } else if (slot.target->requires_grad()) {
      slot.target->copy_(found->second);
    } else if (!slot.target->equal(found->second)) {  // trained then, frozen now
      *slot.target = found->second.to(slot.target->options());
    }
  }
  model_.after_load();
  const auto& optimizer = saved.optimizer;
  trainer_.optimizer().load_state(sharding() == nullptr ? optimizer : sharding()->own_state(optimizer),
                                  "checkpoint");
  trainer_.set_steps_done(saved.step);
  curves_.resume(saved.step);
  saved_step_ = saved.step;
}

bool TrainingRun::leads() const { return sharding() == nullptr || sharding()->group().rank() == 0; }

std::vector<std::vector<int64_t>> TrainingRun::own_micro_batches(int64_t step) {
  const auto all = sampler_.micro_batches(step);
  if (sharding() == nullptr) return all;
  std::vector<std::vector<int64_t>> own;
  const ProcessGroup& group = sharding()->group();
  for (size_t i = 0; i < all.size(); ++i) {
    if (static_cast<int64_t>(i) % group.world() == group.rank()) own.push_back(all[i]);
  }
  return own;
}

void TrainingRun::prefetch(int64_t step) {
  for (const auto& chosen : own_micro_batches(step)) model_.prefetch(chosen);
}

StepReport TrainingRun::make_step() {
  const int64_t step = trainer_.steps_done();
  prefetch(step);
  if (step + 1 < settings_.total_steps) prefetch(step + 1);
  std::vector<Trainer::Micro> micro;
  for (const auto& rows : own_micro_batches(step)) micro.push_back(model_.micro(rows));
  return trainer_.step(micro);
}

bool TrainingRun::asked_to_stop() const {
  const bool asked = settings_.interrupt && settings_.interrupt();
  if (sharding() == nullptr) return asked;
  // All of them stop after the same step, whoever got the signal.
  const at::Tensor flags = sharding()->group().gather_numbers(at::full({1}, asked ? 1 : 0, at::kLong));
  return flags.max().item<int64_t>() != 0;
}

void TrainingRun::save() {
  if (leads()) curves_.write();
  if (settings_.saving) settings_.saving();
  if (saved_step_ == trainer_.steps_done()) return;
  SavedRun run;
  run.step = trainer_.steps_done();
  run.state = state();
  run.weights = model_.unused_weights();
  if (sharding() != nullptr) {
    save_together(checkpoints_, std::move(run), model_, trainer_, settings_.keep_last);
  } else {
    run.optimizer = trainer_.optimizer().state();
    for (const TensorSlot& slot : model_.saved_slots()) run.weights[slot.name] = *slot.target;
    checkpoints_.save(run, settings_.keep_last);
  }
  saved_step_ = trainer_.steps_done();
}

void TrainingRun::log(const StepReport& report, double tokens_per_second, double seconds_per_step) const {
  log_info("step {}/{}  loss {:.5f}  lr {:.3e}  grad norm {:.4f}  {:.0f} tokens/s  {} MiB  ETA {}",
           report.step, settings_.total_steps, report.loss, report.learning_rate, report.gradient_norm,
           tokens_per_second, peak_memory_bytes() >> 20,
           duration_text(seconds_per_step * static_cast<double>(settings_.total_steps - report.step)));
}

TrainingRunResult TrainingRun::run() {
  TrainingRunResult result;
  const Clock::time_point start = Clock::now();
  Clock::time_point last_curves = start;
  while (trainer_.steps_done() < settings_.total_steps) {
    const Clock::time_point before = Clock::now();
    StepReport report;
    try {
      report = make_step();
    } catch (const NumericsError&) {
      save();
      throw;
    } catch (const NoTargets& nothing) {
      // The schedule goes on: steps depend on nothing that was met on the way.
      log_warning("{}; skipped", nothing.what());
      trainer_.set_steps_done(trainer_.steps_done() + 1);
      continue;
    }
    const double speed = static_cast<double>(report.tokens) / std::max(seconds_since(before), 1e-9);
    curves_.add({report.step, report.loss, report.learning_rate, report.gradient_norm, speed});
    if (settings_.step_made) settings_.step_made(curves_.points().back());
    result.reports.push_back(report);
    const bool last = report.step == settings_.total_steps;
    const bool first = result.reports.size() == 1;  // a sign of life, and what a step takes
    if (settings_.log_every > 0 && (report.step % settings_.log_every == 0 || first || last)) {
      log(report, speed, seconds_since(start) / static_cast<double>(result.reports.size()));
      if (seconds_since(last_curves) > kCurvesSeconds) {
        if (leads()) curves_.write();
        last_curves = Clock::now();
      }
    }
    if (settings_.save_every > 0 && report.step % settings_.save_every == 0) save();
    if (!last && asked_to_stop()) {
      result.interrupted = true;
      break;
    }
  }
  save();
  return result;
}

}  // namespace ropescope
