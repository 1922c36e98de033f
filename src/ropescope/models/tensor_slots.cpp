#include "ropescope/models/tensor_slots.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

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
  for (const TensorSlot& slot : slots) expected.insert(slot.name);
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

void check_slots(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots,
                 const std::string& model) {
  std::vector<std::string> missing, wrong;
  for (const TensorSlot& slot : slots) {
    const TensorInfo* info = checkpoint.find(slot.name);
    if (info == nullptr) {
      missing.push_back(slot.name);
    } else if (info->shape != slot.shape) {
      wrong.push_back(fmt::format("{}: expected [{}], found [{}] ({})", slot.name,
                                  fmt::join(slot.shape, ", "), fmt::join(info->shape, ", "), info->file));
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

void fill_slots(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots, at::ScalarType dtype,
                at::Device device) {
  for (const TensorSlot& slot : slots) *slot.target = checkpoint.take(slot.name, dtype).to(device);
}

}  // namespace ropescope
