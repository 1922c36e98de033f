// Small pieces of core/: names, random streams, devices, parallel loops.
#include <set>
#include <vector>

#include <boost/random/normal_distribution.hpp>
#include <gtest/gtest.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/core/parallel.h"
#include "ropescope/core/random.h"

namespace ropescope {
namespace {

TEST(NearestName, SuggestsOnlyWhatIsNear) {
  const std::vector<std::string> names{"id-align", "vanilla", "mrope"};
  EXPECT_EQ(nearest_name("idalign", names), "id-align");
  EXPECT_EQ(nearest_name("vanila", names), "vanilla");
  EXPECT_EQ(nearest_name("completely-else", names), "");
}

TEST(Random, StreamsDependOnSeedAndKeysOnly) {
  EXPECT_EQ(make_rng(1, {2, 3})(), make_rng(1, {2, 3})());
  std::set<uint64_t> first_draws;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (uint64_t text = 0; text < 10; ++text) {
      for (uint64_t layer = 0; layer < 10; ++layer) first_draws.insert(make_rng(seed, {text, layer})());
    }
  }
  EXPECT_EQ(first_draws.size(), 1000U);
}

TEST(Random, ReproducesKnownNumbers) {
  // Pins the stream: result files of earlier versions stay reproducible.
  Rng rng = make_rng(0, {});
  EXPECT_EQ(rng(), Rng(16294208416658607535ULL)());
}

TEST(Device, ParsesAndRefuses) {
  EXPECT_TRUE(parse_device("cpu").is_cpu());
  for (const char* bad : {"gpu", "cuda:", "cuda:x", "cuda:-1", ""})
    EXPECT_THROW(parse_device(bad), UsageError) << bad;
}

TEST(Device, DtypeNamesRoundTrip) {
  for (const char* name : {"float32", "bfloat16", "float16"}) {
    EXPECT_EQ(dtype_name(parse_dtype(name, at::kCPU)), name);
  }
  EXPECT_THROW(parse_dtype("fp32", at::kCPU), UsageError);
}

// One of several processes may do more than its part of the work they share.
TEST(Progress, SaysNothingOfWhatIsLeftOnceMoreThanTheTotalIsDone) {
  const auto line_after = [](int64_t done) {
    ::testing::internal::CaptureStderr();
    Progress progress("asking", "questions", 10);
    progress.advance(done);
    progress.finish();
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_NE(line_after(10).find("asking: 10/10 questions"), std::string::npos);
  EXPECT_NE(line_after(11).find("asking: 11 questions"), std::string::npos);
}

TEST(Parallel, VisitsEveryIndexOnce) {
  std::vector<int> visits(1000, 0);
  parallel_for_each(1000, [&](int64_t i) { ++visits[static_cast<size_t>(i)]; });
  EXPECT_EQ(visits, std::vector<int>(1000, 1));
}

}  // namespace
}  // namespace ropescope
