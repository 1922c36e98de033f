#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::run_ropescope;
using testing::TemporaryFolder;

class DumpCommand : public ::testing::Test {
 protected:
  DumpCommand() : file_(folder_.path("d.h5")) {
    ResultWriter writer(file_, {}, false);
    writer.write("/decay/theta", at::tensor({1e4, 1e6}, at::kDouble));
    writer.write("/decay/distance", at::tensor({0, 8}, at::kLong));
    writer.write("/decay/mean", at::tensor({0.1, 1.0 / 3, std::nan(""), -2.0}, at::kDouble).view({2, 2}));
    writer.write("/names", std::vector<std::string>{"a,b", "c"});
    writer.write("/one", at::tensor(0.1f));
    writer.attribute("/decay", "sign", int64_t{-1});
    writer.commit();
  }
  std::string dump(const std::string& rest) const {
    const auto run = run_ropescope("dump " + file_ + " " + rest);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return run.out;
  }
  TemporaryFolder folder_;
  std::string file_;
};

TEST_F(DumpCommand, NumbersAreExactAndAxesHaveTheirValues) {
  EXPECT_EQ(dump("/decay/mean"),
            "theta,distance,mean\n10000,0,0.1\n10000,8,0.3333333333333333\n1000000,0,nan\n1000000,8,-2\n");
  EXPECT_EQ(dump("/decay/mean --wide"),
            "theta,distance=0,distance=8\n10000,0.1,0.3333333333333333\n1000000,nan,-2\n");
  EXPECT_EQ(dump("/names"), "axis_0,names\n0,\"a,b\"\n1,c\n");
  EXPECT_EQ(dump("/one"), "axis_0,one\n0,0.1\n");
  EXPECT_EQ(dump("/decay@sign"), "-1\n");
  EXPECT_EQ(dump("/decay"), "attribute,value\nsign,-1\n");
}

TEST_F(DumpCommand, JsonNestsValuesAndNamesAxes) {
  const Json mean = parse_json(dump("/decay/mean --json"), "stdout");
  EXPECT_EQ(mean["dimensions"], Json({"theta", "distance"}));
  EXPECT_EQ(mean["coordinates"]["distance"], Json({0, 8}));
  EXPECT_EQ(mean["values"], parse_json("[[0.1,0.3333333333333333],[null,-2.0]]", "expected"));
}

TEST_F(DumpCommand, ListsWhatAFileHolds) {
  const std::string list = dump("");
  EXPECT_NE(list.find("[theta 2, distance 2]"), std::string::npos) << list;
  EXPECT_NE(list.find("rotary base"), std::string::npos) << list;
  EXPECT_EQ(run_ropescope("dump").exit_code, 2);
  const auto typo = run_ropescope("dump " + file_ + " /decay/maen");
  EXPECT_EQ(typo.exit_code, 2);
  EXPECT_NE(typo.err.find("/decay/mean"), std::string::npos) << typo.err;
  EXPECT_EQ(run_ropescope("dump " + folder_.path("none.h5")).exit_code, 3);
}

/// Every dataset of a file says what it holds, with as many axes as it has.
void expect_described(const std::string& path) {
  const ResultReader file(path);
  for (const std::string& dataset : file.datasets()) {
    EXPECT_TRUE(file.has_attribute(dataset, "description")) << dataset;
    EXPECT_TRUE(file.has_attribute(dataset, "units")) << dataset;
    EXPECT_EQ(file.description(dataset).axes().size(), file.array(dataset).shape.size()) << dataset;
  }
}

TEST_F(DumpCommand, FilesOfCommandsDescribeThemselves) {
  const auto file_of = [&](const std::string& name, const std::string& command) {
    const auto run = run_ropescope(command + " --output " + folder_.path(name));
    EXPECT_EQ(run.exit_code, 0) << run.err;
    expect_described(folder_.path(name));
  };
  file_of("s.h5", "simulate --dim 8 --mean 0,1 --theta 1e4 --trials 4 --max-distance 8");
  file_of("p.h5", "positions --scheme vanilla --layout text:2,image:2x2,text:2");
  file_of("q.h5",
          "positions --scheme \"id-align;mrope;dipe;alibi\" --layout text:2,anyres:2x2+4x4,text:2 --criteria "
          "--misalignment");
}

}  // namespace
}  // namespace ropescope
