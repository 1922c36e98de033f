#include "ropescope/weights/checkpoint.h"

#include <algorithm>

namespace ropescope {

const TensorInfo* Checkpoint::find(const std::string& name) const {
  const auto& infos = tensors();
  const auto found =
      std::lower_bound(infos.begin(), infos.end(), name,
                       [](const TensorInfo& info, const std::string& key) { return info.name < key; });
  return found != infos.end() && found->name == name ? &*found : nullptr;
}

void Checkpoint::read(const std::string& name, const at::Tensor& target) const {
  target.copy_(take(name, target.scalar_type()));
}

}  // namespace ropescope
