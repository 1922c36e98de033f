#include "train/train_plan.h"

#include <cmath>
#include <iostream>
#include <string>

#include <fmt/format.h>

#include "ropescope/core/strings.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/train/flat_unit.h"

#include "train/train_processes.h"

namespace ropescope::app::train {

namespace {

int64_t numbers_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

/// Floating-point operations of one pass over all rows.
double epoch_operations(TrainSubject& subject, const RowTotals& totals, bool recomputes) {
  double per_token = 0, per_image_token = 0, per_tower_token = 0;
  bool tower_learns = false;
  for (const TensorSlot& slot : subject.model().slots()) {
    if (is_tower_tensor(slot.name)) tower_learns |= slot.target->requires_grad();
  }
  for (const TensorSlot& slot : subject.model().slots()) {
    if (slot.name.find("embed") != std::string::npos) continue;
    const bool tower = is_tower_tensor(slot.name), connector = is_connector_tensor(slot.name);
    const auto weights = static_cast<double>(numbers_of(slot.shape));
    double operations = 2;
    if (!tower || tower_learns) operations += 2;
    if (slot.target->requires_grad()) operations += 2;
    if (recomputes && !tower && !connector) operations += 2;
    (tower ? per_tower_token : connector ? per_image_token : per_token) += operations * weights;
  }
  // The gradient of a matrix with an adapter is made, though the matrix stays.
  if (subject.adapters() != nullptr) {
    per_token += 2.0 * static_cast<double>(subject.adapters()->adapted_numbers());
  }
  const auto images = static_cast<double>(totals.image_tokens), text = static_cast<double>(totals.tokens);
  return per_token * (text + images) + per_image_token * images +
         per_tower_token * static_cast<double>(totals.tower_tokens);
}

std::string hours(double seconds) {
  const auto minutes = static_cast<int64_t>(std::llround(seconds / 60.0));
  return fmt::format("{}:{:02} hours", minutes / 60, minutes % 60);
}

}  // namespace

int64_t count_numbers(const std::vector<Parameter>& parameters) {
  int64_t count = 0;
  for (const Parameter& parameter : parameters) count += parameter.value.numel();
  return count;
}

void print_plan(TrainSubject& subject, const Sampler& sampler, const Trainer& trainer,
                const TrainFlags& flags, const Json& memory, bool json) {
  const RowTotals totals = subject.model().totals();
  const int64_t rows = subject.model().rows(), trained = count_numbers(subject.parameters());
  const Schedule& schedule = trainer.settings().schedule;
  // Weights, gradients and AdamW's two averages, float32.
  const int64_t bytes = trained * 16;
  const double epochs =
      static_cast<double>(schedule.total_steps) / static_cast<double>(sampler.steps_per_epoch());
  const double operations = epochs * epoch_operations(subject, totals, flags.checkpoint_layers);
  const auto ranks = static_cast<double>(memory.at("ranks").size());
  const double tflops = flags.tflops, seconds = tflops > 0 ? operations / (tflops * 1e12 * ranks) : 0.0;
  if (json) {
    std::cout << Json{{"rows", rows},
                      {"bad_rows", subject.bad_rows().count()},
                      {"tokens", totals.tokens},
                      {"targets", totals.targets},
                      {"images", totals.images},
                      {"image_tokens_at_most", totals.image_tokens},
                      {"steps_per_epoch", sampler.steps_per_epoch()},
                      {"steps", schedule.total_steps},
                      {"warmup_steps", schedule.warmup_steps},
                      {"trained_parameters", trained},
                      {"training_state_bytes", bytes},
                      {"operations_at_most", operations},
                      {"seconds_at_most", tflops > 0 ? Json(seconds) : Json()},
                      {"memory", memory}}
                     .dump()
              << "\n";
    return;
  }
  const std::string images =
      totals.images == 0
          ? ", no images"
          : fmt::format(", {} of together at most {}", counted(totals.images, "image"), totals.image_tokens);
  std::cout << fmt::format(
      "rows                {} ({} bad ones left out)\n"
      "tokens an epoch     {} of text ({} targets){}\n"
      "steps               {} ({} an epoch, {} of warm-up)\n"
      "trained parameters  {}\n"
      "weights, gradients and optimizer  {} MiB (activations come on top)\n"
      "operations          at most {:.3g}{}\n",
      rows, subject.bad_rows().count(), totals.tokens, totals.targets, images, schedule.total_steps,
      sampler.steps_per_epoch(), schedule.warmup_steps, trained, bytes >> 20, operations,
      tflops > 0 ? fmt::format(", {} at {:g} TFLOP/s in each of {} processes", hours(seconds), tflops, ranks)
                 : "");
  std::cout << memory_table(memory);
}

}  // namespace ropescope::app::train
