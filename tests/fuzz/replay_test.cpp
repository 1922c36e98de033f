// The fuzz targets of tests/fuzz on their seeds and on a few thousand mutations, with every test run.
#include "tests/fuzz/replay.h"

#include <gtest/gtest.h>

#include "tests/support/paths.h"

namespace ropescope::testing {
namespace {

class FuzzReplay : public ::testing::TestWithParam<FuzzTarget> {};

TEST_P(FuzzReplay, OnlyErrorsOfOurOwn) {
  const auto corpus = std::filesystem::path(source_path("tests/fuzz/corpus")) / GetParam().name;
  const ReplaySummary summary = replay(GetParam(), corpus, 3000, 500);
  EXPECT_GE(summary.seeds, 3);
  // A target that accepts nothing, or everything, tests nothing.
  EXPECT_GE(summary.accepted, 3);
  EXPECT_GT(summary.runs - summary.accepted, summary.runs / 10);
}

INSTANTIATE_TEST_SUITE_P(Readers, FuzzReplay, ::testing::ValuesIn(fuzz_targets()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace ropescope::testing
