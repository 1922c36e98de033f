#include <filesystem>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::run_ropescope;
using testing::TemporaryFolder;

class PlotCommand : public ::testing::Test {
 protected:
  PlotCommand() : file_(folder_.path("d.h5")) {
    ResultWriter writer(file_, {}, false);
    writer.write("/decay/distance", at::arange(50));
    writer.write("/decay/theta", at::tensor({1e4, 1e6}, at::kDouble));
    writer.write("/decay/mean", at::randn({2, 50}));
    writer.write("/decay/by_layer", at::randn({2, 3, 50}));
    writer.commit();
  }
  TemporaryFolder folder_;
  std::string file_;
};

TEST_F(PlotCommand, DrawsTheDefaultOrTheNamedKind) {
  const auto run = run_ropescope("plot " + file_ + " --json --output " + folder_.path("a.png"));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(parse_json(run.out, "stdout")["kind"], "decay");
  EXPECT_GT(std::filesystem::file_size(folder_.path("a.png")), 1000u);
  const auto layers =
      run_ropescope("plot --kind by-layer --theta 1e6 " + file_ + " --output " + folder_.path("b.svg"));
  EXPECT_EQ(layers.exit_code, 0) << layers.err;
}

TEST_F(PlotCommand, ListsWhatAFileHolds) {
  const auto all = run_ropescope("plot --list"), held = run_ropescope("plot --list " + file_);
  EXPECT_NE(all.out.find("simulation"), std::string::npos);
  EXPECT_EQ(held.out.find("simulation"), std::string::npos);
  EXPECT_NE(held.out.find("by-layer"), std::string::npos);
}

TEST_F(PlotCommand, MistakesAreExplained) {
  const std::string output = " --output " + folder_.path("x.png");
  const auto typo = run_ropescope("plot --kind by-lair " + file_ + output);
  EXPECT_EQ(typo.exit_code, 2);
  EXPECT_NE(typo.err.find("did you mean \"by-layer\""), std::string::npos) << typo.err;
  EXPECT_EQ(run_ropescope("plot " + file_).exit_code, 2);
  EXPECT_EQ(run_ropescope("plot" + output).exit_code, 2);
  EXPECT_EQ(run_ropescope("plot " + folder_.path("none.h5") + output).exit_code, 3);
  EXPECT_EQ(run_ropescope("plot " + file_ + output + " --kind simulation").exit_code, 2);  // not in the file
}

}  // namespace
}  // namespace ropescope
