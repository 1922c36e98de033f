#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::run_ropescope;
using testing::TemporaryFolder;

const std::string kSmall =
    "simulate --dim 32 --mean 0,0.5,1 --theta 1e4,1e7 --trials 100 --max-distance 300 --quiet ";

TEST(SimulateCommand, WritesTheDatasetsOfTheContract) {
  const TemporaryFolder folder;
  const std::string output = folder.path("f.h5"), figure = folder.path("f.png");
  const auto run = run_ropescope(kSmall + "--json --seed 5 --plot " + figure + " --output " + output);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json object = parse_json(run.out, "stdout");
  EXPECT_EQ(object["trials"], 100);
  EXPECT_LT(object["worst_standard_errors"].get<double>(), 5.0);
  EXPECT_EQ(object["rows"].size(), 3u * 2u * 301u);  // every distance, whatever a screen shows
  EXPECT_TRUE(std::filesystem::exists(figure));
  const ResultReader reader(output);
  EXPECT_EQ(reader.read("/simulation/mean").numel(), 3);
  EXPECT_EQ(reader.read("/simulation/theta").numel(), 2);
  EXPECT_EQ(reader.read("/simulation/distance")[300].item<int64_t>(), 300);
  for (const char* name : {"average", "expected", "std"}) {
    EXPECT_EQ(reader.read(std::string("/simulation/") + name).sizes(), at::IntArrayRef({3, 2, 301})) << name;
  }
  EXPECT_EQ(std::get<int64_t>(reader.attribute("/", "seed")), 5);
}

TEST(SimulateCommand, RerunsAreByteIdenticalAtAnyThreadCount) {
  const TemporaryFolder folder;
  setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
  std::filesystem::current_path(folder.path(""));
  const auto bytes = [&](const std::string& threads) {
    const auto run = run_ropescope(kSmall + "--force --output f.h5 --threads " + threads);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return read_file(folder.path("f.h5"));
  };
  const std::string once = bytes("1");
  EXPECT_EQ(once, bytes("1"));
  // The command line is part of the file; the numbers are what must not change.
  const ResultReader one(folder.path("f.h5"));
  const at::Tensor average = one.read("/simulation/average"), std = one.read("/simulation/std");
  bytes("3");
  const ResultReader three(folder.path("f.h5"));
  EXPECT_TRUE(at::equal(average, three.read("/simulation/average")));
  EXPECT_TRUE(at::equal(std, three.read("/simulation/std")));
  unsetenv("SOURCE_DATE_EPOCH");
  std::filesystem::current_path("/");
}

TEST(SimulateCommand, MistakesGiveExitCode2) {
  const TemporaryFolder folder;
  const std::string output = " --output " + folder.path("f.h5");
  EXPECT_EQ(run_ropescope("simulate --dim 7" + output).exit_code, 2);
  EXPECT_EQ(run_ropescope("simulate --mean zero" + output).exit_code, 2);
  EXPECT_EQ(run_ropescope("simulate --correlation 2" + output).exit_code, 2);
  EXPECT_EQ(run_ropescope("simulate --plot f.gif" + output).exit_code, 2);
  EXPECT_EQ(run_ropescope("simulate").exit_code, 2);
  const auto typo = run_ropescope("simulate --means 1" + output);
  EXPECT_EQ(typo.exit_code, 2);
  EXPECT_NE(typo.err.find("--mean\""), std::string::npos) << typo.err;
  EXPECT_FALSE(std::filesystem::exists(folder.path("f.h5")));
}

}  // namespace
}  // namespace ropescope
