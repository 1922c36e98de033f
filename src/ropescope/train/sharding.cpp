#include "ropescope/train/sharding.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

bool any_of(const std::vector<bool>& flags) {
  return std::find(flags.begin(), flags.end(), true) != flags.end();
}
bool all_of(const std::vector<bool>& flags) {
  return std::find(flags.begin(), flags.end(), false) == flags.end();
}

}  // namespace

/// Tells the sharding that a gradient has been added up.
class Sharding::Arrival : public torch::autograd::PostAccumulateGradHook {
 public:
  Arrival(Sharding& owner, Place place) : owner_(owner), place_(place) {}
  void operator()(const at::Tensor& weight) override { owner_.arrived(place_, weight); }

 private:
  Sharding& owner_;
  Place place_;
};

Sharding::Sharding(ProcessGroup& group, ShardMode mode, const std::vector<Parameter>& trained,
                   const std::vector<TensorSlot>& slots, at::ScalarType compute)
    : group_(group), mode_(mode) {
  add_units(trained, slots, compute);
  for (const Parameter& parameter : trained) {
    const Place place = places_.at(parameter.name);
    const FlatUnit& flat = units_[place.unit]->flat;
    trained_.push_back(parameter.name);
    place_of_piece_.push_back(place);
    Parameter piece = parameter;
    if (mode_ != ShardMode::kNone) piece.value = flat.piece(flat.slice(), place.entry);
    piece.matrix = parameter.value.dim() >= 2;
    pieces_.push_back(std::move(piece));
    torch::autograd::impl::set_post_acc_grad_hooks(parameter.value, std::make_unique<Arrival>(*this, place));
  }
  touched_.assign(trained_.size(), false);
}

Sharding::~Sharding() {
  give_up();
  for (const auto& unit : units_) {
    if (!unit->flat.trained()) continue;
    for (const FlatUnit::Entry& entry : unit->flat.entries()) {
      torch::autograd::impl::set_post_acc_grad_hooks(entry.tensor, nullptr);
    }
  }
}

void Sharding::add_units(const std::vector<Parameter>& trained, const std::vector<TensorSlot>& slots,
                         at::ScalarType compute) {
  std::unordered_map<std::string, at::Tensor> leaves;
  for (const Parameter& parameter : trained) leaves[parameter.name] = parameter.value;
  // By part, trained or not, and type, in the order of the slots.
  struct Plan {
    std::string part;
    bool trained;
    at::ScalarType type;
    std::vector<std::pair<std::string, at::Tensor>> tensors;
  };
  std::vector<Plan> plans;
  for (const TensorSlot& slot : slots) {
    const auto leaf = leaves.find(slot.name);
    const bool learns = leaf != leaves.end();
    const std::string part = part_of(slot.name);
    if (!learns && (mode_ != ShardMode::kParameters || part.empty())) {
      other_bytes_ += static_cast<int64_t>(slot.target->nbytes());
      // A few small tensors must not keep the file of all others in memory.
      if (mode_ == ShardMode::kParameters) *slot.target = slot.target->clone();
      continue;
    }
    const at::Tensor& tensor = learns ? leaf->second : *slot.target;
    auto plan = std::find_if(plans.begin(), plans.end(), [&](const Plan& one) {
      return one.part == part && one.trained == learns && one.type == tensor.scalar_type();
    });
    if (plan == plans.end()) plan = plans.insert(plans.end(), Plan{part, learns, tensor.scalar_type(), {}});
    plan->tensors.emplace_back(slot.name, tensor);
  }
  for (const Plan& plan : plans) {
    FlatUnit::Storage storage = FlatUnit::Storage::kWhole;
    if (mode_ == ShardMode::kNone) storage = FlatUnit::Storage::kTensors;
    if (mode_ == ShardMode::kParameters && !plan.part.empty()) storage = FlatUnit::Storage::kSlice;
    const size_t index = units_.size();
    units_.push_back(
        std::make_unique<Unit>(Unit{.flat = FlatUnit(plan.part, plan.tensors, plan.trained, storage,
                                                     group_.rank(), group_.world(), compute)}));
    const FlatUnit& flat = units_.back()->flat;
    for (size_t entry = 0; entry < flat.entries().size(); ++entry) {
      places_[flat.entries()[entry].name] = {index, entry};
      if (storage == FlatUnit::Storage::kSlice) {
        part_[flat.entries()[entry].tensor.unsafeGetTensorImpl()] = plan.part;
      }
    }
    units_of_part_[plan.part].push_back(index);
    if (plan.trained) order_.push_back(index);
  }
  // Backward passes come from the output: what has no part of its own is spread over the model and so last,
  // embeddings after all layers.
  const auto late = [this](size_t unit) {
    const std::string& part = units_[unit]->flat.name();
    if (part.empty()) return 4;
    if (is_tower_tensor(part)) return 3;
    if (part.find("embed_tokens") != std::string::npos || part.find("projector") != std::string::npos)
      return 2;
    return part.find("lm_head") != std::string::npos ? 0 : 1;
  };
  std::reverse(order_.begin(), order_.end());
  std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return late(a) < late(b); });
}

void Sharding::begin_step() {
  next_ = 0;
  touched_.assign(trained_.size(), false);
  const at::NoGradGuard no_grad;
  for (const size_t index : order_) {
    Unit& unit = *units_[index];
    unit.ready = false;
    unit.slice_gradient.reset();
    if (!keeps_whole_gradients()) continue;
    if (unit.gradient.defined()) {
      unit.gradient.zero_();
    } else {
      unit.gradient = at::zeros({unit.flat.size()}, unit.flat.options());
    }
    // Autograd adds to a gradient that is there, in place.
    for (size_t entry = 0; entry < unit.flat.entries().size(); ++entry) {
      unit.flat.entries()[entry].tensor.mutable_grad() = unit.flat.part(unit.gradient, entry);
    }
  }
}

void Sharding::begin_backward(bool last) {
  last_ = last;
  for (const size_t index : order_) {
    Unit& unit = *units_[index];
    unit.arrived.assign(unit.flat.entries().size(), false);
  }
}

void Sharding::arrived(Place place, const at::Tensor& weight) {
  Unit& unit = *units_[place.unit];
  const std::string& name = unit.flat.entries()[place.entry].name;
  const auto at = std::find(trained_.begin(), trained_.end(), name) - trained_.begin();
  touched_[static_cast<size_t>(at)] = true;
  unit.arrived[place.entry] = true;
  const bool complete = all_of(unit.arrived);
  if (keeps_whole_gradients()) {
    if (!last_ || !complete) return;
    unit.ready = true;
    launch_ready();
    return;
  }
  const at::NoGradGuard no_grad;
  if (!unit.gradient.defined()) {
    unit.gradient = memory_for(unit).flat(unit.flat.options(), unit.flat.size());
    unit.flat.clear_gaps(unit.gradient);
  }
  unit.flat.part(unit.gradient, place.entry).copy_(weight.grad());
  weight.mutable_grad().reset();
  if (complete) send_gradient(place.unit);
}

// All ranks start the same sums in the same order; they run while the backward pass goes on.
void Sharding::launch_ready() {
  while (next_ < order_.size() && units_[order_[next_]]->ready) {
    Unit& unit = *units_[order_[next_++]];
    unit.pending = mode_ == ShardMode::kNone
                       ? group_.all_reduce(unit.gradient)
                       : group_.reduce_scatter(unit.flat.own_part(unit.gradient), unit.gradient);
  }
}

void Sharding::end_backward() {
  if (keeps_whole_gradients()) return;
  for (const size_t index : order_) {
    Unit& unit = *units_[index];
    if (!any_of(unit.arrived) || all_of(unit.arrived)) continue;
    // Some of its tensors had no gradient in this pass.
    for (size_t entry = 0; entry < unit.arrived.size(); ++entry) {
      if (!unit.arrived[entry]) unit.flat.part(unit.gradient, entry).zero_();
    }
    send_gradient(index);
  }
  forget_ahead();
  used_ = {};
  for (const auto& unit : units_) {
    if (unit->flat.storage() != FlatUnit::Storage::kSlice) continue;
    unit->users = 0;
    unit->flat.free();
  }
}

void Sharding::finish_step() {
  if (keeps_whole_gradients()) {
    for (const size_t index : order_) units_[index]->ready = true;
    launch_ready();
    for (const size_t index : order_) units_[index]->pending();
  } else {
    finish_exchanges();
    spare_.clear();
  }
  gradient_bytes_ = 0;
  for (const size_t index : order_) {
    for (const at::Tensor* held : {&units_[index]->gradient, &units_[index]->slice_gradient}) {
      if (held->defined()) gradient_bytes_ += static_cast<int64_t>(held->nbytes());
    }
  }
  const at::NoGradGuard no_grad;
  const auto count = static_cast<int64_t>(trained_.size());
  at::Tensor own = at::empty({count}, at::kByte);
  for (int64_t i = 0; i < count; ++i) own[i] = touched_[static_cast<size_t>(i)] ? 1 : 0;
  const at::Tensor any = group_.gather_numbers(own).amax(0);
  for (size_t i = 0; i < pieces_.size(); ++i) {
    at::Tensor& gradient = pieces_[i].value.mutable_grad();
    const Unit& unit = *units_[place_of_piece_[i].unit];
    const bool has_one = any[static_cast<int64_t>(i)].item<uint8_t>() != 0;
    if (!has_one) {
      gradient.reset();
    } else if (mode_ == ShardMode::kOptimizer) {
      gradient = unit.flat.piece(unit.flat.own_part(unit.gradient), place_of_piece_[i].entry);
    } else if (mode_ != ShardMode::kNone) {
      gradient = unit.flat.piece(unit.slice_gradient, place_of_piece_[i].entry);
    }
  }
}

double Sharding::gradient_norm() const {
  const double own = ropescope::gradient_norm(pieces_);
  if (mode_ == ShardMode::kNone) return own;
  return std::sqrt(group_.gather_numbers(at::tensor({own * own}, at::kDouble)).sum().item<double>());
}

void Sharding::drop_gradients() {
  ropescope::drop_gradients(pieces_);
  for (const size_t index : order_) {
    units_[index]->slice_gradient.reset();
    if (!keeps_whole_gradients()) units_[index]->gradient.reset();
  }
}

void Sharding::after_update() {
  if (mode_ == ShardMode::kNone) return;
  const at::NoGradGuard no_grad;
  std::vector<ProcessGroup::Pending> pending;
  for (const size_t index : order_) {
    const FlatUnit& flat = units_[index]->flat;
    if (flat.storage() != FlatUnit::Storage::kWhole) continue;
    pending.push_back(group_.all_gather(flat.full(), flat.slice()));
  }
  for (const ProcessGroup::Pending& one : pending) one();
}

}  // namespace ropescope
