#include "ropescope/models/tensor_slots.h"

#include <algorithm>
#include <new>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/blocks/expert_formats.h"
#include "ropescope/weights/loading_memory.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

namespace {

// The first few names, and how many more there are.
std::string name_some(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  const std::vector<std::string> shown(names.begin(),
                                       names.begin() + static_cast<int64_t>(std::min(kShown, names.size())));
  const size_t rest = names.size() - shown.size();
  return fmt::format("{}{}", fmt::join(shown, ", "), rest > 0 ? fmt::format(" and {} more", rest) : "");
}

std::vector<std::string> names_without_slot(const Checkpoint& checkpoint,
                                            const std::vector<TensorSlot>& slots) {
  std::set<std::string> expected;
  for (const TensorSlot& slot : slots) expected.insert(slot.file_name());
  std::vector<std::string> names;
  for (const TensorInfo& info : checkpoint.tensors()) {
    if (expected.count(info.name) == 0) names.push_back(info.name);
  }
  return names;
}

/// What a checkpoint has instead of what is missing.
std::string other_names(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots) {
  const std::vector<std::string> names = names_without_slot(checkpoint, slots);
  return names.empty() ? "it has no other names" : "names that it has instead: " + name_some(names);
}

}  // namespace

std::vector<int64_t> TensorSlot::file_shape() const {
  std::vector<int64_t> whole = shape;
  if (!stored_name.empty()) whole.at(0) = stored_rows;
  return whole;
}

void check_slots(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots,
                 const std::string& model) {
  std::vector<std::string> missing, wrong;
  for (const TensorSlot& slot : slots) {
    const std::string& name = slot.file_name();
    const TensorInfo* info = checkpoint.find(name);
    if (info == nullptr) {
      if (missing.empty() || missing.back() != name) missing.push_back(name);
    } else if (const std::vector<int64_t> shape = slot.file_shape(); info->shape != shape) {
      wrong.push_back(fmt::format("{}: expected [{}], found [{}] ({})", name, fmt::join(shape, ", "),
                                  fmt::join(info->shape, ", "), info->file));
    }
  }
  if (!missing.empty()) {
    throw InputError("checkpoint: {} of {} tensors of the {} are missing: {}; {}", missing.size(),
                     slots.size(), model, name_some(missing), other_names(checkpoint, slots));
  }
  if (!wrong.empty()) {
    throw InputError("checkpoint: shapes that do not follow from the configuration of the {}: {}", model,
                     name_some(wrong));
  }
}

void warn_of_other_tensors(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots,
                           const std::string& model,
                           const std::function<bool(const std::string& name)>& ignored) {
  std::vector<std::string> extra = names_without_slot(checkpoint, slots);
  extra.erase(std::remove_if(extra.begin(), extra.end(), ignored), extra.end());
  if (!extra.empty()) {
    log_warning("checkpoint: {} tensors are not part of the {} and were left out: {}", extra.size(), model,
                name_some(extra));
  }
}

WeightBytes count_bytes(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots,
                        at::ScalarType dtype) {
  WeightBytes bytes;
  for (const TensorSlot& slot : slots) {
    uint64_t size = c10::elementSize(dtype);
    for (const int64_t extent : slot.shape) size *= static_cast<uint64_t>(extent);
    const TensorInfo* info = checkpoint.find(slot.file_name());
    const StoredType* stored = info == nullptr ? nullptr : find_stored_type(info->dtype);
    bytes.whole += size;
    if (stored == nullptr || stored->type != dtype) bytes.fresh += size;
  }
  return bytes;
}

void fill_slots(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots, at::ScalarType dtype,
                at::Device device) {
  const WeightBytes bytes = count_bytes(checkpoint, slots, dtype);
  if (device.is_cpu()) require_memory_for_weights(bytes.fresh, bytes.whole, dtype);
  const std::string place = device.is_cpu() ? "this machine has left" : device.str() + " has left";
  try {
    for (const TensorSlot& slot : slots) {
      if (slot.stored_name.empty()) {
        *slot.target = take_scaled(checkpoint, slot.name, dtype).to(device);
      } else {
        *slot.target =
            checkpoint.take_rows(slot.stored_name, slot.first_row, slot.shape.at(0), dtype).to(device);
      }
    }
  } catch (const c10::Error& error) {
    if (!is_out_of_memory(error)) throw;
    throw EnvironmentError("{}", no_room_for_weights(bytes.whole, dtype, place, {}));
  } catch (const std::bad_alloc&) {
    throw EnvironmentError("{}", no_room_for_weights(bytes.whole, dtype, place, {}));
  }
}

}  // namespace ropescope
