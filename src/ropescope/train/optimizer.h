// AdamW over named parameters in groups.
//   p -= lr decay p;  m, v moving averages of g, g^2;  p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
// Source: Loshchilov & Hutter 2019 (arXiv 1711.05101); LibTorch's fused kernel
// on devices, adamw_update.h on CPUs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/tensor_slots.h"

namespace ropescope {

/// A parameter that is trained: a leaf that requires a gradient.
struct Parameter {
  std::string name;
  at::Tensor value;
  /// For a piece of a tensor: whether the tensor is one that is decayed. Absent: as its shape says.
  std::optional<bool> matrix = std::nullopt;
};

/// True if `name` is matched by `pattern`: literal text in which `*` stands for anything.
bool name_matches(std::string_view name, std::string_view pattern);
bool name_matches_any(std::string_view name, const std::vector<std::string>& patterns);

struct ParameterGroup {
  std::string pattern = "*";
  double learning_rate = 0.0;  ///< peak
  double floor = 0.0;          ///< what the schedule ends at
  double weight_decay = 0.0;   ///< of matrices; vectors (norms, biases) are never decayed
};

/// Gives the slots of a model storage of their own (a checkpoint's tensors may share a read-only map) and
/// makes those that match `trained` and not `frozen` leaves that require a gradient. Slots must stay valid.
/// Without `copy` the storage stays that of the checkpoint, for somebody who takes it over (Sharding).
/// Throws UsageError if a pattern matches nothing, or nothing is left to train.
std::vector<Parameter> make_trainable(const std::vector<TensorSlot>& slots,
                                      const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy = true);

/// Square root of the sum of squares over all gradients, float32; parameters without a gradient count
/// nothing.
double gradient_norm(const std::vector<Parameter>& parameters);
/// What clipping multiplies gradients by: limit / (norm + 1e-6) where that is below 1, else 1. `limit` <=
/// 0: 1.
double clip_factor(double norm, double limit);
void drop_gradients(const std::vector<Parameter>& parameters);
int64_t bytes_of_gradients(const std::vector<Parameter>& parameters);

class AdamW {
 public:
  struct Settings {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  };

  /// A parameter belongs to the first group whose pattern matches. Throws UsageError for a parameter without
  /// a group and for settings out of range.
  AdamW(std::vector<Parameter> parameters, std::vector<ParameterGroup> groups, const Settings& settings);

  /// One update with a learning rate for each group, from the gradients that are there, times `factor`.
  /// Parameters without a gradient stay as they are. Gradients are of no use afterwards.
  void step(const std::vector<double>& learning_rates, double factor = 1.0);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }
  int64_t group_of(size_t parameter) const { return group_of_[parameter]; }
  bool decayed(size_t parameter) const {
    const Parameter& one = parameters_[parameter];
    return one.matrix.value_or(one.value.dim() >= 2);
  }

  /// `<name>.mean`, `<name>.square` (as the parameter) and `<name>.steps` (float32, a scalar).
  std::map<std::string, at::Tensor> state() const;
  /// Bytes of the averages.
  int64_t state_bytes() const;
  /// Throws InputError for names or shapes that do not fit.
  void load_state(const std::map<std::string, at::Tensor>& state, const std::string& what);

 private:
  std::vector<Parameter> parameters_;
  std::vector<ParameterGroup> groups_;
  Settings settings_;
  struct Batch;
  void update_on_cpu(size_t parameter, double rate, double factor);
  void update_on_device(const Batch& batch, double rate, double decay, double factor) const;

  std::vector<int64_t> group_of_;
  std::vector<at::Tensor> means_, squares_, steps_;
};

}  // namespace ropescope
