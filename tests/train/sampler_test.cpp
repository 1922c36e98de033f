#include "ropescope/train/sampler.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

Permutation listed(const std::vector<std::vector<int64_t>>& drawn) {
  return [drawn, next = size_t{0}](int64_t count) mutable {
    EXPECT_LT(next, drawn.size());
    EXPECT_EQ(static_cast<int64_t>(drawn[next].size()), count);
    return drawn[next++];
  };
}

std::vector<int64_t> identity(int64_t count) {
  std::vector<int64_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

TEST(GroupByModalityLength, EqualsTheGoldenOrders) {
  const Json golden = golden_json("vision/conversations/sampler.json");
  for (const Json& one : golden.at("cases")) {
    const auto lengths = one.at("lengths").get<std::vector<int64_t>>();
    const auto drawn = one.at("permutations_drawn").get<std::vector<std::vector<int64_t>>>();
    EXPECT_EQ(group_by_modality_length(lengths, one.at("batch_size"), one.at("world_size"), listed(drawn)),
              one.at("order").get<std::vector<int64_t>>());
  }
}

TEST(GroupByModalityLength, TheSmallExampleOfTheDocumentation) {
  const std::vector<int64_t> lengths = {5, -3, 9, -7, 2, -1};
  EXPECT_EQ(group_by_modality_length(lengths, 1, 2, identity), (std::vector<int64_t>{2, 0, 3, 1, 4, 5}));
}

TEST(GroupByModalityLength, RefusesALengthOfZero) {
  EXPECT_THROW(group_by_modality_length(std::vector<int64_t>{3, 0, -1}, 1, 1, identity), InputError);
}

TEST(GroupByModalityLength, EveryIndexOnceAndOneModalityAMegabatchExceptTheLast) {
  Rng rng = make_rng(3, {});
  for (int trial = 0; trial < 200; ++trial) {
    const auto rows = static_cast<size_t>(1 + rng() % 60);
    std::vector<int64_t> lengths(rows);
    for (int64_t& length : lengths) {
      length = static_cast<int64_t>(1 + rng() % 50) * (rng() % 3 == 0 ? -1 : 1);
    }
    const auto batch = static_cast<int64_t>(1 + rng() % 4), ranks = static_cast<int64_t>(1 + rng() % 3);
    Sampler::Settings settings;
    settings.kind = SamplerKind::kGroupByModalityLength;
    settings.micro_batch = batch;
    settings.accumulation = ranks;
    settings.seed = rng();
    const std::vector<int64_t> order = Sampler(lengths, settings).order(0);
    const std::set<int64_t> distinct(order.begin(), order.end());
    ASSERT_EQ(order.size(), rows);
    ASSERT_EQ(distinct.size(), rows);
    ASSERT_EQ(*distinct.rbegin(), static_cast<int64_t>(rows) - 1);
    const auto images = static_cast<size_t>(
        std::count_if(lengths.begin(), lengths.end(), [](int64_t length) { return length > 0; }));
    const auto size = static_cast<size_t>(batch * ranks);
    const auto whole = [&](size_t count) { return count == 0 ? 0 : (count - 1) / size * size; };
    const bool both = images > 0 && images < rows;
    const size_t ordered = both ? whole(images) + whole(rows - images) : 0;
    for (size_t first = 0; first + size <= ordered; first += size) {
      for (size_t i = first; i < first + size; ++i) {
        ASSERT_EQ(lengths[static_cast<size_t>(order[i])] > 0, lengths[static_cast<size_t>(order[first])] > 0);
      }
    }
    // What is left over comes by index.
    if (both) {
      ASSERT_TRUE(std::is_sorted(order.begin() + static_cast<std::ptrdiff_t>(ordered), order.end()));
    }
  }
}

TEST(Sampler, DependsOnSeedAndEpochOnly) {
  Sampler::Settings settings;
  settings.micro_batch = 3;
  settings.accumulation = 2;
  settings.seed = 11;
  Sampler straight(std::vector<int64_t>(20, 1), settings);
  EXPECT_EQ(straight.steps_per_epoch(), 4);
  std::vector<std::vector<std::vector<int64_t>>> seen;
  for (int64_t step = 0; step < 12; ++step) seen.push_back(straight.micro_batches(step));
  // Asked backwards, or anew: the same.
  Sampler other(std::vector<int64_t>(20, 1), settings);
  for (int64_t step = 11; step >= 0; --step)
    EXPECT_EQ(other.micro_batches(step), seen[static_cast<size_t>(step)]);
  EXPECT_NE(straight.order(0), straight.order(1));
  settings.seed = 12;
  EXPECT_NE(Sampler(std::vector<int64_t>(20, 1), settings).order(0), straight.order(0));
  // An epoch: every row once; its last step holds the two that are left.
  std::multiset<int64_t> rows;
  for (size_t step = 0; step < 4; ++step) {
    for (const auto& micro : seen[step]) rows.insert(micro.begin(), micro.end());
  }
  const std::vector<int64_t> all = identity(20);
  EXPECT_EQ(rows, std::multiset<int64_t>(all.begin(), all.end()));
  EXPECT_EQ(seen[3], (std::vector<std::vector<int64_t>>{seen[3][0]}));
  EXPECT_EQ(seen[3][0].size(), 2u);
}

TEST(Sampler, RefusesNothingToTrainOn) {
  EXPECT_THROW(Sampler({}, {}), InputError);
  EXPECT_THROW(parse_sampler("randon"), UsageError);
}

}  // namespace
}  // namespace ropescope
