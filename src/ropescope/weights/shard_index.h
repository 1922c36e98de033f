// The index of a sharded checkpoint: {"metadata": {...}, "weight_map": {"tensor": "shard file"}}.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

struct ShardIndex {
  std::map<std::string, std::string> shard_of;  ///< tensor -> base name of its shard
  std::set<std::string> shards() const;
};

/// Throws InputError if it is malformed or names a shard by anything but a plain file name: an index must not
/// lead out of its folder. (A shard may be a symbolic link, as in the Hugging Face cache.)
ShardIndex parse_shard_index(std::string_view text, const std::string& what);

/// The tensors of all shards (by base name) together. Throws InputError if a shard lacks what the index
/// promises. Tensors that the index does not list are kept, so that the model's loader can report them; where
/// two shards have one name, the index decides.
std::vector<StoredTensor> join_shards(const ShardIndex& index,
                                      std::map<std::string, std::vector<StoredTensor>> shards,
                                      const std::string& what);

}  // namespace ropescope
