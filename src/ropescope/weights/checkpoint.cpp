#include "ropescope/weights/checkpoint.h"

#include <algorithm>

#include "ropescope/core/errors.h"
#include "ropescope/weights/safetensors.h"

namespace ropescope {

const TensorInfo* Checkpoint::find(const std::string& name) const {
  const auto& infos = tensors();
  const auto found =
      std::lower_bound(infos.begin(), infos.end(), name,
                       [](const TensorInfo& info, const std::string& key) { return info.name < key; });
  return found != infos.end() && found->name == name ? &*found : nullptr;
}

std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path) {
  const FileBytes file = map_file(path);
  return make_checkpoint("safetensors", {path}, parse_safetensors(file));
}

}  // namespace ropescope
