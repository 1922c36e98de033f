#include "ropescope/train/trainer.h"

#include <cmath>

#include <fmt/format.h>

#include <torch/csrc/autograd/autograd.h>

#include "ropescope/core/errors.h"

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

double Trainer::backward(const Micro& micro, double scale) {
  const at::Tensor loss = micro.loss(scale);
  const double value = loss.item<double>();
  if (!std::isfinite(value)) {
    drop_gradients(optimizer_.parameters());
    throw NumericsError(
        "step {}: the loss is {}; rows of the micro-batch: {}. Weights are those of step {}. "
        "Try: look at these rows, a lower --learning-rate, a longer warm-up",
        steps_ + 1, value, list_names(micro.names), steps_);
  }
  torch::autograd::backward({loss}, {});
  return value;
}

StepReport Trainer::step(const std::vector<Micro>& micro) {
  StepReport report;
  int64_t with_targets = 0;
  for (const Micro& one : micro) {
    report.targets += one.targets;
    report.tokens += one.tokens;
    with_targets += one.targets > 0 ? 1 : 0;
  }
  std::vector<std::string> names;
  for (const Micro& one : micro) names.insert(names.end(), one.names.begin(), one.names.end());
  if (with_targets == 0) {
    throw InputError("step {}: no row has a target; rows: {}", steps_ + 1, list_names(names));
  }
  drop_gradients(optimizer_.parameters());
  const bool by_token = settings_.weighting == LossWeighting::kTokens;
  for (const Micro& one : micro) {
    if (one.targets == 0) {
      report.micro_losses.push_back(0.0);
      continue;
    }
    const double share = by_token ? 1.0 : 1.0 / static_cast<double>(with_targets);
    const double scale = share / static_cast<double>(by_token ? report.targets : one.targets);
    const double loss = backward(one, scale);
    report.loss += loss;
    report.micro_losses.push_back(loss / share);
  }
  report.gradient_norm = gradient_norm(optimizer_.parameters());
  if (!std::isfinite(report.gradient_norm)) {
    drop_gradients(optimizer_.parameters());
    throw NumericsError(
        "step {}: the gradient norm is {}; rows of the step: {}. Weights are those of step {}", steps_ + 1,
        report.gradient_norm, list_names(names), steps_);
  }
  clip_gradients(optimizer_.parameters(), report.gradient_norm, settings_.clip_norm);
  std::vector<double> rates;
  for (const ParameterGroup& group : optimizer_.groups()) {
    rates.push_back(settings_.schedule.rate(steps_, group.learning_rate, group.floor));
  }
  optimizer_.step(rates);
  drop_gradients(optimizer_.parameters());
  report.learning_rate = rates.front();
  report.step = ++steps_;
  return report;
}

}  // namespace ropescope
