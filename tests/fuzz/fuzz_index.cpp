// An index over two shards "one" and "two" that hold the tensors a, b and b, c.
#include <array>

#include "ropescope/weights/shard_index.h"

#include "tests/fuzz/checkpoint_walk.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

ropescope::StoredTensor one_float(const std::string& name, const std::string& shard) {
  static const std::array<std::byte, 4> zero{};
  return {{name, "F32", {1}, 4, shard}, ropescope::find_stored_type("F32"), {}, zero, nullptr, {}, 0};
}

}  // namespace

RS_FUZZ_TARGET(index, bytes) {
  using namespace ropescope;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const ShardIndex index = parse_shard_index(text, "fuzz.index.json");
  for (const std::string& shard : index.shards()) {
    if (std::filesystem::path(shard).filename() != shard || shard == "..") {
      throw InternalError("the index leaves its folder: {}", shard);
    }
  }
  std::map<std::string, std::vector<StoredTensor>> shards;
  shards["one"] = {one_float("a", "one"), one_float("b", "one")};
  shards["two"] = {one_float("b", "two"), one_float("c", "two")};
  testing::take_all(
      *make_checkpoint("safetensors", {}, join_shards(index, std::move(shards), "fuzz.index.json")), 4);
}
