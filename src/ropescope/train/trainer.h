// Steps of training: gradients of micro-batches added up, clipped, one update.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/train/optimizer.h"
#include "ropescope/train/schedule.h"
#include "ropescope/train/sharding.h"

namespace ropescope {

/// kMicroBatches: the mean over the targets of each micro-batch, then the mean of these.
/// kTokens: the sum over all micro-batches divided by all their targets, so that every token counts the same.
enum class LossWeighting { kMicroBatches, kTokens };
/// "micro-batches", "tokens". Throws UsageError.
LossWeighting parse_loss_weighting(const std::string& name);

/// A step in which no row has a target: nothing was done.
class NoTargets : public InputError {
 public:
  using InputError::InputError;
};

struct TrainerSettings {
  LossWeighting weighting = LossWeighting::kMicroBatches;
  double clip_norm = 1.0;  ///< 0: no clipping
  Schedule schedule;
};

struct StepReport {
  int64_t step = 0;  ///< updates made, this one included
  double loss = 0.0;
  double learning_rate = 0.0;  ///< of the last group, that of all which no pattern names
  double gradient_norm = 0.0;  ///< before clipping
  int64_t tokens = 0;          ///< that went through the model, without padding
  int64_t targets = 0;
  /// The mean of each micro-batch, or under kTokens its share of the loss.
  std::vector<double> micro_losses;
};

class Trainer {
 public:
  Trainer(AdamW optimizer, const TrainerSettings& settings)
      : optimizer_(std::move(optimizer)), settings_(settings) {}
  /// One of several ranks; the optimizer is that of the sharding's pieces. `sharding` must live as long.
  Trainer(AdamW optimizer, const TrainerSettings& settings, Sharding& sharding)
      : optimizer_(std::move(optimizer)), settings_(settings), sharding_(&sharding) {}

  /// A micro-batch as the loop sees it.
  struct Micro {
    /// The sum over its targets of the negative log-likelihood, times `scale`: a scalar with a graph.
    std::function<at::Tensor(double scale)> loss;
    int64_t targets = 0;
    int64_t tokens = 0;
    std::vector<std::string> names;  ///< of its rows, for messages
  };

  /// One update. Throws NumericsError naming the rows if a loss or the gradient norm is not finite,
  /// NoTargets if no row has one; weights and optimizer are then as they were before.
  /// With several ranks: each gives its share of the step's micro-batches, perhaps none; the update, the
  /// report (but for micro_losses) and errors are those of all of them.
  StepReport step(const std::vector<Micro>& micro);

  int64_t steps_done() const { return steps_; }
  void set_steps_done(int64_t steps) { steps_ = steps; }
  AdamW& optimizer() { return optimizer_; }
  Sharding* sharding() { return sharding_; }  ///< null: one process
  /// Bytes of gradients that the last step held when all of them were there.
  int64_t gradient_bytes() const { return gradient_bytes_; }
  const TrainerSettings& settings() const { return settings_; }

 private:
  struct Totals {
    int64_t targets = 0, tokens = 0, with_targets = 0;
  };
  Totals count(const std::vector<Micro>& micro) const;
  double backward(const Micro& micro, double scale);
  void backward_all(const std::vector<Micro>& micro, const Totals& totals, StepReport& report);
  void step_with_others(const std::vector<Micro>& micro, const Totals& totals, StepReport& report);
  double norm_of_gradients();
  void drop_all_gradients();

  AdamW optimizer_;
  TrainerSettings settings_;
  Sharding* sharding_ = nullptr;
  int64_t gradient_bytes_ = 0;
  int64_t steps_ = 0;
};

}  // namespace ropescope
