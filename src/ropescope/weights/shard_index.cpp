#include "ropescope/weights/shard_index.h"

#include <iterator>
#include <utility>

#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

namespace ropescope {

namespace {

constexpr size_t kNamesShown = 5;

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

}  // namespace

std::set<std::string> ShardIndex::shards() const {
  std::set<std::string> names;
  for (const auto& [tensor, shard] : shard_of) names.insert(shard);
  return names;
}

ShardIndex parse_shard_index(std::string_view text, const std::string& what) {
  const Json json = parse_json(text, what);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object()) {
    throw InputError("{}: expected an index with an object \"weight_map\"", what);
  }
  ShardIndex index;
  for (const auto& item : map->items()) {
    if (!item.value().is_string()) {
      throw InputError("{}: tensor \"{}\": expected the name of a shard, found {}", what, item.key(),
                       item.value().type_name());
    }
    auto shard = item.value().get<std::string>();
    if (!is_plain_file_name(shard)) {
      throw InputError("{}: tensor \"{}\": expected a shard beside the index, found the path \"{}\"", what,
                       item.key(), shard);
    }
    index.shard_of.emplace(item.key(), std::move(shard));
  }
  if (index.shard_of.empty()) throw InputError("{}: the index lists no tensor", what);
  return index;
}

std::vector<StoredTensor> join_shards(const ShardIndex& index,
                                      std::map<std::string, std::vector<StoredTensor>> shards,
                                      const std::string& what) {
  std::set<std::string> missing;
  for (const auto& [tensor, shard] : index.shard_of) missing.insert(tensor);
  std::vector<StoredTensor> joined;
  for (auto& [shard, tensors] : shards) {
    for (StoredTensor& tensor : tensors) {
      const auto listed = index.shard_of.find(tensor.info.name);
      if (listed != index.shard_of.end()) {
        if (listed->second != shard) continue;
        missing.erase(tensor.info.name);
      }
      joined.push_back(std::move(tensor));
    }
  }
  if (!missing.empty()) {
    const size_t count = missing.size();
    const std::string example = *missing.begin();
    if (count > kNamesShown) {
      missing.erase(std::next(missing.begin(), kNamesShown), missing.end());
    }
    throw InputError("{}: {} of its tensors {} not in the shards that it names (\"{}\" in {}): {}{}", what,
                     count, count == 1 ? "is" : "are", example, index.shard_of.at(example),
                     fmt::join(missing, ", "), count > kNamesShown ? ", ..." : "");
  }
  return joined;
}

}  // namespace ropescope
