#include "ropescope/train/text_run.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/tensor_slots.h"

namespace ropescope {

namespace {

using Clock = std::chrono::steady_clock;

// A long run's curves are written at most this often between checkpoints.
constexpr double kCurvesSeconds = 10.0;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

TextRun::TextRun(Decoder& decoder, const std::vector<TextRow>& rows, Sampler& sampler, Trainer& trainer,
                 Checkpoints& checkpoints, Curves& curves, TextRunSettings settings)
    : decoder_(decoder),
      rows_(rows),
      sampler_(sampler),
      trainer_(trainer),
      checkpoints_(checkpoints),
      curves_(curves),
      settings_(std::move(settings)),
      data_(fingerprint(rows)) {}

Json TextRun::state() const {
  return {
      {"config", settings_.config},
      {"data", {{"rows", rows_.size()}, {"sha256", data_}}},
      {"sampler", {{"next_step", trainer_.steps_done()}, {"steps_per_epoch", sampler_.steps_per_epoch()}}}};
}

void TextRun::resume(const SavedRun& saved, bool allow_change) {
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
  for (const TensorSlot& slot : decoder_slots(decoder_.config, /*with_lm_head=*/true, decoder_.weights)) {
    const auto found = saved.weights.find(slot.name);
    if (found == saved.weights.end()) throw InputError("checkpoint: {} is missing", slot.name);
    if (found->second.sizes() != slot.target->sizes()) {
      throw InputError("checkpoint: {} has another shape than the model's", slot.name);
    }
    if (slot.target->requires_grad()) {
      slot.target->copy_(found->second);
    } else if (!slot.target->equal(found->second)) {  // trained then, frozen now
      *slot.target = found->second.to(slot.target->options());
    }
  }
  if (decoder_.config.tie_word_embeddings) decoder_.weights.lm_head = decoder_.weights.embed_tokens;
  trainer_.optimizer().load_state(saved.optimizer, "checkpoint");
  trainer_.set_steps_done(saved.step);
  curves_.resume(saved.step);
  saved_step_ = saved.step;
}

StepReport TextRun::make_step() {
  std::vector<TextBatch> batches;
  for (const auto& chosen : sampler_.micro_batches(trainer_.steps_done())) {
    batches.push_back(batch_rows(rows_, chosen, settings_.pad_id));
  }
  std::vector<Trainer::Micro> micro;
  for (const TextBatch& batch : batches) micro.push_back(text_micro(decoder_, batch, settings_.loss));
  return trainer_.step(micro);
}

void TextRun::save() {
  curves_.write();
  if (saved_step_ == trainer_.steps_done()) return;
  SavedRun run;
  run.step = trainer_.steps_done();
  run.state = state();
  run.optimizer = trainer_.optimizer().state();
  for (const TensorSlot& slot : decoder_slots(decoder_.config, /*with_lm_head=*/true, decoder_.weights)) {
    run.weights[slot.name] = *slot.target;
  }
  checkpoints_.save(run, settings_.keep_last);
  saved_step_ = run.step;
}

void TextRun::log(const StepReport& report, double tokens_per_second, double seconds_per_step) const {
  log_info("step {}/{}  loss {:.5f}  lr {:.3e}  grad norm {:.4f}  {:.0f} tokens/s  {} MiB  ETA {}",
           report.step, settings_.total_steps, report.loss, report.learning_rate, report.gradient_norm,
           tokens_per_second, peak_memory_bytes() >> 20,
           duration_text(seconds_per_step * static_cast<double>(settings_.total_steps - report.step)));
}

TextRunResult TextRun::run() {
  TextRunResult result;
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
    }
    const double speed = static_cast<double>(report.tokens) / std::max(seconds_since(before), 1e-9);
    curves_.add({report.step, report.loss, report.learning_rate, report.gradient_norm, speed});
    result.reports.push_back(report);
    const bool last = report.step == settings_.total_steps;
    if (settings_.log_every > 0 && (report.step % settings_.log_every == 0 || last)) {
      log(report, speed, seconds_since(start) / static_cast<double>(result.reports.size()));
      if (seconds_since(last_curves) > kCurvesSeconds) {
        curves_.write();
        last_curves = Clock::now();
      }
    }
    if (settings_.save_every > 0 && report.step % settings_.save_every == 0) save();
    if (!last && settings_.interrupt && settings_.interrupt()) {
      result.interrupted = true;
      break;
    }
  }
  save();
  return result;
}

}  // namespace ropescope
