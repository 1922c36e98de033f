#include "ropescope/train/shared_checkpoint.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

at::Tensor planned(at::IntArrayRef shape, at::ScalarType type) {
  return at::empty(shape, at::TensorOptions().dtype(type).device(at::kMeta));
}

// What the ranks put together, in an order that all know; rank 0 may stop using it in the middle.
class Sequence {
 public:
  Sequence(TrainedModel& model, Trainer& trainer) : trainer_(trainer), slots_(model.saved_slots()) {
    for (size_t i = 0; i < slots_.size(); ++i) {
      weights_[slots_[i].name] = i;
      shapes_[slots_[i].name] = slots_[i].shape;
    }
    for (const Parameter& parameter : trainer.optimizer().parameters()) {
      for (const char* kind : {".mean", ".square", ".steps"}) states_.insert(parameter.name + kind);
    }
  }

  std::map<std::string, at::Tensor> planned_weights() const {
    std::map<std::string, at::Tensor> plan;
    for (const TensorSlot& slot : slots_) {
      plan[slot.name] = planned(slot.shape, trainer_.sharding()->kept_type(slot));
    }
    return plan;
  }
  std::map<std::string, at::Tensor> planned_states() const {
    std::map<std::string, at::Tensor> plan;
    for (const Parameter& parameter : trainer_.optimizer().parameters()) {
      for (const char* kind : {".mean", ".square"}) {
        plan[parameter.name + kind] = planned(shapes_.at(parameter.name), parameter.value.scalar_type());
      }
      plan[parameter.name + ".steps"] = planned({}, at::kFloat);
    }
    return plan;
  }

  // In the order of the names, weights first.
  at::Tensor weight(const std::string& name) {
    weights_done_ = name;
    return trainer_.sharding()->whole_weight(slots_[weights_.at(name)]);
  }
  bool has_weight(const std::string& name) const { return weights_.count(name) > 0; }
  at::Tensor state(const std::string& name) {
    weights_done_ = last_of(weights_);
    states_done_ = name;
    return trainer_.sharding()->whole_state(trainer_.optimizer(), name);
  }
  void finish() {
    for (auto it = weights_.upper_bound(weights_done_); it != weights_.end(); ++it) {
      trainer_.sharding()->whole_weight(slots_[it->second]);
    }
    for (auto it = states_.upper_bound(states_done_); it != states_.end(); ++it) {
      trainer_.sharding()->whole_state(trainer_.optimizer(), *it);
    }
    trainer_.sharding()->end_whole();
  }

 private:
  static std::string last_of(const std::map<std::string, size_t>& map) {
    return map.empty() ? "" : map.rbegin()->first;
  }

  Trainer& trainer_;
  std::vector<TensorSlot> slots_;
  std::map<std::string, size_t> weights_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  std::set<std::string> states_;
  std::string weights_done_, states_done_;
};

}  // namespace

void save_together(Checkpoints& checkpoints, SavedRun run, TrainedModel& model, Trainer& trainer,
                   int64_t keep_last) {
  ProcessGroup& group = trainer.sharding()->group();
  Sequence sequence(model, trainer);
  std::string trouble;
  if (group.rank() == 0) {
    const auto unused = std::move(run.weights);
    run.weights = sequence.planned_weights();
    run.weights.insert(unused.begin(), unused.end());
    run.optimizer = sequence.planned_states();
    run.take_weight = [&](const std::string& name) {
      return sequence.has_weight(name) ? sequence.weight(name) : unused.at(name);
    };
    run.take_state = [&](const std::string& name) { return sequence.state(name); };
    try {
      checkpoints.save(run, keep_last);
    } catch (const EnvironmentError& error) {
      trouble = error.what();
    }
  }
  sequence.finish();
  // Nobody goes on before the checkpoint is on the disk.
  const std::string found = group.gather_texts(trouble).front();
  if (!found.empty()) throw EnvironmentError("{}", found);
}

}  // namespace ropescope
