// What a Sharding keeps, for checkpoints and for people.
#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/train/sharding.h"

namespace ropescope {

namespace {

int64_t bytes_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

}  // namespace

ShardMode parse_shard_mode(const std::string& name) {
  for (const ShardMode mode :
       {ShardMode::kNone, ShardMode::kOptimizer, ShardMode::kGradients, ShardMode::kParameters}) {
    if (shard_mode_name(mode) == name) return mode;
  }
  const std::vector<std::string> names = {"none", "optimizer", "gradients", "parameters"};
  const std::string near = nearest_name(name, names);
  throw UsageError("--shard: expected none, optimizer, gradients or parameters, found \"{}\"{}", name,
                   near.empty() ? "" : "; did you mean " + near + "?");
}

std::string shard_mode_name(ShardMode mode) {
  switch (mode) {
    case ShardMode::kNone:
      return "none";
    case ShardMode::kOptimizer:
      return "optimizer";
    case ShardMode::kGradients:
      return "gradients";
    case ShardMode::kParameters:
      return "parameters";
  }
  throw InternalError("shard_mode_name: no such mode");
}

ShardMemory Sharding::measure(const AdamW& optimizer) const {
  ShardMemory memory;
  memory.parameters = other_bytes_;
  for (const auto& unit : units_) {
    const FlatUnit& flat = unit->flat;
    if (flat.storage() == FlatUnit::Storage::kTensors) {
      for (const FlatUnit::Entry& entry : flat.entries()) memory.parameters += bytes_of(entry.tensor);
      continue;
    }
    const bool cut = flat.storage() == FlatUnit::Storage::kSlice;
    if (cut) memory.parameters += bytes_of(flat.slice());
    if (!cut || flat.allocated()) memory.parameters += bytes_of(flat.full());
    if (cut) memory.gathered_at_most = std::max(memory.gathered_at_most, bytes_of(flat.full()));
  }
  memory.gradients = gradient_bytes_;
  memory.optimizer = optimizer.state_bytes();
  return memory;
}

template <typename MakeSlice>
at::Tensor Sharding::whole_entry(Place place, const std::string& kind, const MakeSlice& make_slice) {
  const FlatUnit& flat = units_[place.unit]->flat;
  Whole& last = whole_[kind];
  if (last.unit != place.unit || !last.values.defined()) {
    last.values.reset();
    last.values = at::empty({flat.size()}, flat.options());
    last.unit = place.unit;
    group_.all_gather(last.values, make_slice())();
  }
  return flat.part(last.values, place.entry);
}

bool Sharding::keeps_slice_of(const std::string& name) const {
  const auto place = places_.find(name);
  return place != places_.end() && units_[place->second.unit]->flat.storage() == FlatUnit::Storage::kSlice;
}

at::ScalarType Sharding::kept_type(const TensorSlot& slot) const {
  if (!keeps_slice_of(slot.name)) return slot.target->scalar_type();
  return units_[places_.at(slot.name).unit]->flat.slice().scalar_type();
}

at::Tensor Sharding::whole_weight(const TensorSlot& slot) {
  const at::NoGradGuard no_grad;
  if (!keeps_slice_of(slot.name)) return slot.target->detach();
  const Place place = places_.at(slot.name);
  return whole_entry(place, "weights", [&] { return units_[place.unit]->flat.slice(); });
}

at::Tensor Sharding::whole_state(const AdamW& optimizer, const std::string& state) {
  const at::NoGradGuard no_grad;
  const auto own = optimizer.state();
  const size_t dot = state.rfind('.');
  const std::string name = state.substr(0, dot), kind = state.substr(dot);
  if (mode_ == ShardMode::kNone || kind == ".steps") return own.at(state);
  const Place place = places_.at(name);
  const FlatUnit& flat = units_[place.unit]->flat;
  return whole_entry(place, kind, [&] {
    const at::Tensor slice = at::zeros({flat.slice_size()}, flat.options());
    for (size_t entry = 0; entry < flat.entries().size(); ++entry) {
      flat.piece(slice, entry).copy_(own.at(flat.entries()[entry].name + kind));
    }
    return slice;
  });
}

void Sharding::end_whole() { whole_.clear(); }

void Sharding::load_weight(const TensorSlot& slot, const at::Tensor& whole) {
  const at::NoGradGuard no_grad;
  const Place place = places_.at(slot.name);
  const FlatUnit& flat = units_[place.unit]->flat;
  const FlatUnit::Range range = flat.range(place.entry);
  flat.piece(flat.slice(), place.entry).copy_(whole.flatten().narrow(0, range.first, range.count));
}

std::map<std::string, at::Tensor> Sharding::own_state(const std::map<std::string, at::Tensor>& whole) const {
  if (mode_ == ShardMode::kNone) return whole;
  std::map<std::string, at::Tensor> own;
  for (const auto& [state, tensor] : whole) {
    const size_t dot = state.rfind('.');
    const auto place = places_.find(state.substr(0, dot));
    if (place == places_.end() || state.substr(dot) == ".steps") {
      own[state] = tensor;
      continue;
    }
    const FlatUnit& flat = units_[place->second.unit]->flat;
    if (tensor.numel() != flat.entries()[place->second.entry].tensor.numel()) {
      throw InputError("checkpoint: {} has another shape than the parameter", state);
    }
    const FlatUnit::Range range = flat.range(place->second.entry);
    own[state] = tensor.flatten().narrow(0, range.first, range.count);
  }
  return own;
}

}  // namespace ropescope
