#include "ropescope/train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ropescope/core/device_branch.h"
#include "ropescope/core/errors.h"
#include "ropescope/train/adamw_update.h"

namespace ropescope {

namespace {

std::vector<at::Tensor> gradients(const std::vector<Parameter>& parameters) {
  std::vector<at::Tensor> all;
  for (const Parameter& parameter : parameters) {
    const at::Tensor& gradient = parameter.value.grad();
    if (gradient.defined() && gradient.numel() > 0) all.push_back(gradient);
  }
  return all;
}

void check_patterns(const std::vector<TensorSlot>& slots, const std::vector<std::string>& patterns,
                    const char* flag) {
  for (const std::string& pattern : patterns) {
    bool found = false;
    for (const TensorSlot& slot : slots) found = found || name_matches(slot.name, pattern);
    if (!found) {
      throw UsageError(
          "{}: expected the name of a parameter, or a pattern such as \"*.mlp.*\", found \"{}\", "
          "which matches none",
          flag, pattern);
    }
  }
}

}  // namespace

bool name_matches(std::string_view name, std::string_view pattern) {
  // Greedy matching of the pieces between stars, with one place to come back to.
  size_t n = 0, p = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++n, ++p;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool name_matches_any(std::string_view name, const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    if (name_matches(name, pattern)) return true;
  }
  return false;
}

std::vector<Parameter> make_trainable(const std::vector<TensorSlot>& slots,
                                      const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy) {
  check_patterns(slots, trained, "--train");
  check_patterns(slots, frozen, "--freeze");
  std::vector<Parameter> parameters;
  for (const TensorSlot& slot : slots) {
    if (!name_matches_any(slot.name, trained) || name_matches_any(slot.name, frozen)) continue;
    const at::Tensor values = slot.target->detach();
    *slot.target = (copy ? values.clone() : values).set_requires_grad(true);
    parameters.push_back({slot.name, *slot.target});
  }
  if (parameters.empty()) throw UsageError("--train, --freeze: no parameter is left to train");
  return parameters;
}

double gradient_norm(const std::vector<Parameter>& parameters) {
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> all = gradients(parameters);
  if (all.empty()) return 0.0;
  return at::linalg_vector_norm(at::stack(at::_foreach_norm(all, 2))).item<double>();
}

int64_t bytes_of_gradients(const std::vector<Parameter>& parameters) {
  size_t bytes = 0;
  for (const at::Tensor& gradient : gradients(parameters)) bytes += gradient.nbytes();
  return static_cast<int64_t>(bytes);
}

double clip_factor(double norm, double limit) {
  return limit <= 0.0 ? 1.0 : std::min(1.0, limit / (norm + 1e-6));
}

void drop_gradients(const std::vector<Parameter>& parameters) {
  for (const Parameter& parameter : parameters) parameter.value.mutable_grad().reset();
}

AdamW::AdamW(std::vector<Parameter> parameters, std::vector<ParameterGroup> groups, const Settings& settings)
    : parameters_(std::move(parameters)), groups_(std::move(groups)), settings_(settings) {
  const auto share = [](double x) { return x >= 0.0 && x < 1.0; };
  if (!share(settings_.beta1) || !share(settings_.beta2) || !(settings_.epsilon > 0.0)) {
    throw UsageError("AdamW: expected betas from 0 to below 1 and an epsilon above 0, found {}, {} and {}",
                     settings_.beta1, settings_.beta2, settings_.epsilon);
  }
  for (const ParameterGroup& group : groups_) {
    if (!(group.learning_rate >= 0.0) || !(group.floor >= 0.0) || !(group.weight_decay >= 0.0)) {
      throw UsageError("AdamW: expected learning rates and weight decay of at least 0, found {}, {} and {}",
                       group.learning_rate, group.floor, group.weight_decay);
    }
  }
  for (const Parameter& parameter : parameters_) {
    int64_t found = -1;
    for (size_t g = 0; g < groups_.size() && found < 0; ++g) {
      if (name_matches(parameter.name, groups_[g].pattern)) found = static_cast<int64_t>(g);
    }
    if (found < 0) throw UsageError("AdamW: no group of parameters takes {}", parameter.name);
    group_of_.push_back(found);
    means_.push_back(at::zeros_like(parameter.value).set_requires_grad(false));
    squares_.push_back(at::zeros_like(parameter.value).set_requires_grad(false));
    steps_.push_back(at::zeros({}, parameter.value.options().dtype(at::kFloat).requires_grad(false)));
  }
}

struct AdamW::Batch {
  std::vector<at::Tensor> values, gradients, means, squares, steps;
};

void AdamW::update_on_cpu(size_t parameter, double rate, double factor) {
  constexpr int64_t kGrain = 1 << 15;  // numbers that are worth a thread
  const double steps = steps_[parameter].item<float>();
  const double decay =
      decayed(parameter) ? groups_[static_cast<size_t>(group_of_[parameter])].weight_decay : 0;
  AdamWUpdate by;
  by.beta2 = static_cast<float>(settings_.beta2);
  by.rest1 = static_cast<float>(1.0 - settings_.beta1);
  by.rest2 = static_cast<float>(1.0 - settings_.beta2);
  by.epsilon = static_cast<float>(settings_.epsilon);
  by.gradient_factor = static_cast<float>(factor);
  by.kept = static_cast<float>(1.0 - rate * decay);
  by.rate = static_cast<float>(rate / (1.0 - std::pow(settings_.beta1, steps)));
  by.root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(settings_.beta2, steps)));
  const at::Tensor gradient = parameters_[parameter].value.grad().contiguous();
  auto* weights = parameters_[parameter].value.mutable_data_ptr<float>();
  const auto* gradients = gradient.const_data_ptr<float>();
  auto* means = means_[parameter].mutable_data_ptr<float>();
  auto* squares = squares_[parameter].mutable_data_ptr<float>();
  at::parallel_for(0, gradient.numel(), kGrain, [&](int64_t begin, int64_t end) {
    update(by, weights + begin, gradients + begin, means + begin, squares + begin, end - begin);
  });
}

void AdamW::update_on_device(const Batch& batch, double rate, double decay, double factor) const {
  if (batch.values.empty()) return;
  if (factor != 1.0) at::_foreach_mul_(batch.gradients, factor);
  at::_fused_adamw_(batch.values, batch.gradients, batch.means, batch.squares, /*max_exp_avg_sqs=*/{},
                    batch.steps, rate, settings_.beta1, settings_.beta2, decay, settings_.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
}

void AdamW::step(const std::vector<double>& learning_rates, double factor) {
  if (learning_rates.size() != groups_.size()) {
    throw InternalError("AdamW: expected {} learning rates, found {}", groups_.size(), learning_rates.size());
  }
  const at::NoGradGuard no_grad;
  std::vector<std::array<Batch, 2>> batches(groups_.size());  // of a group: not decayed, decayed
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& value = parameters_[i].value;
    if (!value.grad().defined()) continue;
    steps_[i].add_(1);
    const auto group = static_cast<size_t>(group_of_[i]);
    if (value.numel() == 0) continue;  // a piece that lies with other ranks
    if (own_cpu_kernels(value) && value.scalar_type() == at::kFloat && value.is_contiguous()) {
      update_on_cpu(i, learning_rates[group], factor);
      continue;
    }
    Batch& batch = batches[group][decayed(i) ? 1 : 0];
    batch.values.push_back(value);
    batch.gradients.push_back(value.grad());
    batch.means.push_back(means_[i]);
    batch.squares.push_back(squares_[i]);
    batch.steps.push_back(steps_[i]);
  }
  for (size_t group = 0; group < groups_.size(); ++group) {
    update_on_device(batches[group][0], learning_rates[group], 0.0, factor);
    update_on_device(batches[group][1], learning_rates[group], groups_[group].weight_decay, factor);
  }
}

std::map<std::string, at::Tensor> AdamW::state() const {
  std::map<std::string, at::Tensor> all;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    all[parameters_[i].name + ".mean"] = means_[i];
    all[parameters_[i].name + ".square"] = squares_[i];
    all[parameters_[i].name + ".steps"] = steps_[i];
  }
  return all;
}

int64_t AdamW::state_bytes() const {
  size_t bytes = 0;
  for (size_t i = 0; i < means_.size(); ++i) bytes += means_[i].nbytes() + squares_[i].nbytes();
  return static_cast<int64_t>(bytes);
}

void AdamW::load_state(const std::map<std::string, at::Tensor>& state, const std::string& what) {
  const at::NoGradGuard no_grad;
  const auto own = this->state();
  for (const auto& [name, tensor] : state) {
    if (own.count(name) == 0) throw InputError("{}: {} belongs to no trained parameter", what, name);
  }
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end()) throw InputError("{}: {} is missing", what, name);
    if (found->second.sizes() != tensor.sizes()) {
      throw InputError("{}: {} has another shape than the parameter", what, name);
    }
    tensor.copy_(found->second);
  }
}

}  // namespace ropescope
