// How a Sharding exchanges with the other ranks while a pass goes on: the passes say what they need and what they have, one
// thread does what all ranks have agreed on.
#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/train/sharding.h"

namespace ropescope {

namespace {

// What a rank may ask the others to do with it.
constexpr int64_t kIdle = 0;
int64_t gather_of(size_t unit) { return 1 + 2 * static_cast<int64_t>(unit); }
int64_t reduce_of(size_t unit) { return 2 + 2 * static_cast<int64_t>(unit); }

// Reductions that may be under way at once: enough to hide them behind the backward pass of the next part,
// few enough to hold little memory.
constexpr size_t kOutstanding = 1;

// What most ranks ask for; of several such, what the lowest rank does.
int64_t choose(const at::Tensor& wishes) {
  const auto* wish = wishes.const_data_ptr<int64_t>();
  const int64_t ranks = wishes.numel();
  int64_t best = kIdle, most = 0;
  for (int64_t i = 0; i < ranks; ++i) {
    const int64_t votes = std::count(wish, wish + ranks, wish[i]);
    if (wish[i] != kIdle && votes > most) {
      best = wish[i];
      most = votes;
    }
  }
  return best;
}

}  // namespace

void Sharding::acquire(const at::Tensor& weight) {
  const auto found = part_.find(weight.unsafeGetTensorImpl());
  if (found == part_.end()) return;
  const std::string& part = found->second;
  const std::vector<size_t>& units = units_of_part_.at(part);
  const bool first = units_[units.front()]->users == 0;
  const bool expected = first && part == ahead_;
  if (first) {
    if (!expected) forget_ahead();
    ahead_.clear();
    bring(part);
  }
  bool in_time = expected;
  for (const size_t index : units) {
    Unit& unit = *units_[index];
    ++unit.users;
    if (unit.coming == 0) continue;
    in_time = in_time && jobs_.done(unit.coming);
    jobs_.wait(unit.coming);
    unit.coming = 0;
  }
  if (!first) return;
  gathers_.parts += 1;
  gathers_.ahead += expected ? 1 : 0;
  gathers_.in_time += in_time ? 1 : 0;
  look_ahead(part);
}

void Sharding::release(const at::Tensor& weight) {
  const auto part = part_.find(weight.unsafeGetTensorImpl());
  if (part == part_.end()) return;
  for (const size_t index : units_of_part_.at(part->second)) {
    Unit& unit = *units_[index];
    if (unit.users > 0 && --unit.users == 0) unit.flat.free();
  }
}

void Sharding::bring(const std::string& part) {
  for (const size_t index : units_of_part_.at(part)) {
    Unit& unit = *units_[index];
    if (unit.flat.allocated()) continue;
    unit.flat.allocate(memory_for(unit));
    unit.coming = jobs_.add([this, index] { join(gather_of(index), {}); });
  }
}

// After `part` a pass comes to what it came to last time, after the same two. (One before is not enough: a layer is
// followed by the next in the forward pass, by the one before it in the backward pass.)
void Sharding::look_ahead(const std::string& part) {
  follows_[used_] = part;
  used_ = {used_.second, part};
  const auto next = follows_.find(used_);
  if (next != follows_.end() && units_[units_of_part_.at(next->second).front()]->users == 0) {
    ahead_ = next->second;
    bring(ahead_);
  }
  int64_t whole = 0;
  for (const auto& [name, units] : units_of_part_) {
    const FlatUnit& flat = units_[units.front()]->flat;
    whole += flat.storage() == FlatUnit::Storage::kSlice && flat.allocated() ? 1 : 0;
  }
  gathers_.most_at_once = std::max(gathers_.most_at_once, whole);
}

// What has been asked for and will not be used: the other ranks have been asked too, so it comes nevertheless.
void Sharding::forget_ahead() {
  if (ahead_.empty()) return;
  for (const size_t index : units_of_part_.at(ahead_)) {
    Unit& unit = *units_[index];
    jobs_.wait(unit.coming);
    unit.coming = 0;
    unit.flat.free();
  }
  ahead_.clear();
}

void Sharding::send_gradient(size_t index) {
  Unit& unit = *units_[index];
  jobs_.wait(
      reduction_);  // or rows of gradients would pile up where exchanges are slower than the arithmetic
  reduction_ = jobs_.add([this, index, gradient = unit.gradient] { join(reduce_of(index), gradient); });
  unit.gradient.reset();
}

void Sharding::finish_exchanges() {
  jobs_.wait(jobs_.add([this] {
    join(kIdle, {});
    settle(0);
  }));
}

void Sharding::give_up() {
  if (jobs_.idle()) return;
  group_.give_up();
  jobs_.wait_until_idle();
}

// Ranks may come to different parts of the model in a different order. Before each exchange they tell each
// other what they want and all do one of these things together; whoever wanted it goes on. `wish` idle: until
// everybody is.
void Sharding::join(int64_t wish, const at::Tensor& gradient) {
  const at::NoGradGuard no_grad;
  while (true) {
    const int64_t chosen = choose(group_.gather_numbers(at::tensor({wish}, at::kLong)).flatten());
    if (chosen == kIdle) return;
    perform(chosen, gradient, chosen == wish);
    if (chosen == wish) return;
  }
}

void Sharding::perform(int64_t action, const at::Tensor& gradient, bool mine) {
  const auto index = static_cast<size_t>((action - 1) / 2);
  if (action == gather_of(index)) {
    gather(*units_.at(index), mine);
  } else {
    const FlatUnit& flat = units_.at(index)->flat;
    reduce(index, mine ? gradient : at::zeros({flat.size()}, flat.options()));
  }
}

void Sharding::gather(Unit& unit, bool mine) {
  settle(0);  // what was summed up before must not lie beside the next part
  const at::Tensor &full = unit.flat.full(), slice = unit.flat.slice().to(full.scalar_type());
  // (Others may need this rank's slice when it needs nothing.)
  group_.all_gather(mine ? full : at::empty({unit.flat.size()}, slice.options()), slice)();
}

void Sharding::reduce(size_t index, const at::Tensor& gradient) {
  settle(kOutstanding - 1);
  Unit& unit = *units_[index];
  unit.sum = at::empty({unit.flat.slice_size()}, unit.flat.options());
  unit.pending = group_.reduce_scatter(unit.sum, gradient);
  outstanding_.push_back(index);
}

void Sharding::settle(size_t allowed) {
  while (outstanding_.size() > allowed) {
    Unit& unit = *units_[outstanding_.front()];
    outstanding_.erase(outstanding_.begin());
    unit.pending();
    unit.pending = nullptr;
    if (unit.slice_gradient.defined()) {
      unit.slice_gradient.add_(unit.sum);
    } else {
      unit.slice_gradient = unit.sum;
    }
    unit.sum.reset();
  }
}

}  // namespace ropescope
