#include "ropescope/train/trainer.h"

#include <cmath>
#include <optional>

#include <fmt/format.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/kernels/in_place_gradients.h"

namespace ropescope {

namespace {

// Enough to find the culprit, short enough for a message.
constexpr size_t kNamesShown = 64;

std::string list_names(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < kNamesShown; ++i) text += (i > 0 ? ", " : "") + names[i];
  if (names.size() > kNamesShown) text += fmt::format(" and {} more", names.size() - kNamesShown);
  return text;
}

}  // namespace

LossWeighting parse_loss_weighting(const std::string& name) {
  if (name == "micro-batches") return LossWeighting::kMicroBatches;
  if (name == "tokens") return LossWeighting::kTokens;
  throw UsageError("--loss-weighting: expected micro-batches or tokens, found \"{}\"", name);
}

Trainer::Totals Trainer::count(const std::vector<Micro>& micro) const {
  Totals totals;
  for (const Micro& one : micro) {
    totals.targets += one.targets;
    totals.tokens += one.tokens;
    totals.with_targets += one.targets > 0 ? 1 : 0;
  }
  if (sharding_ == nullptr) return totals;
  const at::Tensor own = at::tensor({totals.targets, totals.tokens, totals.with_targets}, at::kLong);
  const at::Tensor all = sharding_->group().gather_numbers(own).sum(0);
  return {all[0].item<int64_t>(), all[1].item<int64_t>(), all[2].item<int64_t>()};
}

double Trainer::backward(const Micro& micro, double scale) {
  // (With several ranks gradients are watched, to be sent when they are complete.)
  std::optional<kernels::InPlaceGradients> in_place;
  if (sharding_ == nullptr) in_place.emplace();
  const at::Tensor loss = micro.loss(scale);
  const double value = loss.item<double>();
  if (!std::isfinite(value)) {
    throw NumericsError(
        "step {}: the loss is {}; rows of the micro-batch: {}. Weights are those of step {}. "
        "Try: look at these rows, a lower --learning-rate, a longer warm-up",
        steps_ + 1, value, list_names(micro.names), steps_);
  }
  torch::autograd::backward({loss}, {});
  return value;
}

void Trainer::backward_all(const std::vector<Micro>& micro, const Totals& totals, StepReport& report) {
  const bool by_token = settings_.weighting == LossWeighting::kTokens;
  size_t left = 0;
  for (const Micro& one : micro) left += one.targets > 0 ? 1 : 0;
  for (const Micro& one : micro) {
    if (one.targets == 0) {
      report.micro_losses.push_back(0.0);
      continue;
    }
    const double share = by_token ? 1.0 : 1.0 / static_cast<double>(totals.with_targets);
    const double scale = share / static_cast<double>(by_token ? totals.targets : one.targets);
    if (sharding_ != nullptr) sharding_->begin_backward(--left == 0);
    const double loss = backward(one, scale);
    if (sharding_ != nullptr) sharding_->end_backward();
    report.loss += loss;
    report.micro_losses.push_back(loss / share);
  }
}

double Trainer::norm_of_gradients() {
  return sharding_ == nullptr ? gradient_norm(optimizer_.parameters()) : sharding_->gradient_norm();
}

void Trainer::drop_all_gradients() {
  if (sharding_ == nullptr) {
    drop_gradients(optimizer_.parameters());
  } else {
    sharding_->drop_gradients();
  }
}

StepReport Trainer::step(const std::vector<Micro>& micro) {
  StepReport report;
  const Totals totals = count(micro);
  report.targets = totals.targets;
  report.tokens = totals.tokens;
  std::vector<std::string> names;
  for (const Micro& one : micro) names.insert(names.end(), one.names.begin(), one.names.end());
  if (totals.with_targets == 0) {
    throw NoTargets("step {}: no row has a target; rows: {}", steps_ + 1, list_names(names));
  }
  if (sharding_ == nullptr) {
    drop_gradients(optimizer_.parameters());
    try {
      backward_all(micro, totals, report);
    } catch (const NumericsError&) {
      drop_all_gradients();
      throw;
    }
  } else {
    step_with_others(micro, totals, report);
  }
  gradient_bytes_ =
      sharding_ == nullptr ? bytes_of_gradients(optimizer_.parameters()) : sharding_->gradient_bytes();
  report.gradient_norm = norm_of_gradients();
  if (!std::isfinite(report.gradient_norm)) {
    drop_all_gradients();
    throw NumericsError(
        "step {}: the gradient norm is {}; rows of the step: {}. Weights are those of step {}", steps_ + 1,
        report.gradient_norm, list_names(names), steps_);
  }
  std::vector<double> rates;
  for (const ParameterGroup& group : optimizer_.groups()) {
    rates.push_back(settings_.schedule.rate(steps_, group.learning_rate, group.floor));
  }
  optimizer_.step(rates, clip_factor(report.gradient_norm, settings_.clip_norm));
  if (sharding_ != nullptr) sharding_->after_update();
  drop_all_gradients();
  report.learning_rate = rates.back();
  report.step = ++steps_;
  return report;
}

void Trainer::step_with_others(const std::vector<Micro>& micro, const Totals& totals, StepReport& report) {
  // What goes wrong with the numbers of one rank ends the step of all of them, after the same exchanges.
  std::string trouble;
  sharding_->begin_step();
  try {
    backward_all(micro, totals, report);
  } catch (const NumericsError& error) {
    trouble = error.what();
  } catch (...) {
    sharding_->give_up();
    throw;
  }
  sharding_->finish_step();
  const ProcessGroup& group = sharding_->group();
  report.loss = group.gather_numbers(at::tensor({report.loss}, at::kDouble)).sum().item<double>();
  for (const std::string& text : group.gather_texts(trouble)) {
    if (text.empty()) continue;
    drop_all_gradients();
    throw NumericsError("{}", text);
  }
}

}  // namespace ropescope
