#include <gtest/gtest.h>

#include <ATen/ops/arange.h>

#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::run_ropescope;
using testing::TemporaryFolder;

class CompareCommand : public ::testing::Test {
 protected:
  std::string file(const std::string& name, double shift) {
    ResultWriter writer(folder_.path(name), {}, false);
    writer.write("/x/values", at::arange(1, 6, at::kDouble).add(shift));
    writer.write("/names", std::vector<std::string>{"a"});
    writer.commit();
    return folder_.path(name);
  }
  TemporaryFolder folder_;
};

TEST_F(CompareCommand, ExitCodeIsTheVerdict) {
  const std::string a = file("a.h5", 0), b = file("b.h5", 1e-4);
  EXPECT_EQ(run_ropescope("compare " + a + " " + a).exit_code, 0);
  const auto different = run_ropescope("compare " + a + " " + b);
  EXPECT_EQ(different.exit_code, 1);
  EXPECT_NE(different.out.find("differs"), std::string::npos);
  EXPECT_NE(different.out.find("/x/values"), std::string::npos);
  EXPECT_EQ(run_ropescope("compare " + a + " " + b + " --rtol 1e-3").exit_code, 0);
  EXPECT_EQ(run_ropescope("compare " + a + " " + b + " --rtol 0 --atol 2e-4").exit_code, 0);
  EXPECT_EQ(run_ropescope("compare " + a + " " + b + " --only /names").exit_code, 0);
}

TEST_F(CompareCommand, JsonNamesTheWorstPlace) {
  const auto run = run_ropescope("compare --json " + file("a.h5", 0) + " " + file("b.h5", 1e-4));
  const Json report = parse_json(run.out, "stdout");
  EXPECT_EQ(report["equal"], false);
  const Json& values = report["datasets"][1];
  EXPECT_EQ(values["name"], "/x/values");
  EXPECT_EQ(values["status"], "differs");
  EXPECT_EQ(values["place"], Json({0}));  // the smallest reference allows least
  EXPECT_EQ(values["outside"], 5);
}

TEST_F(CompareCommand, MistakesAreUsageOrInputErrors) {
  const std::string a = file("a.h5", 0);
  EXPECT_EQ(run_ropescope("compare " + a).exit_code, 2);
  EXPECT_EQ(run_ropescope("compare " + a + " " + a + " " + a).exit_code, 2);
  EXPECT_EQ(run_ropescope("compare " + a + " " + a + " --only /nothing").exit_code, 2);
  EXPECT_EQ(run_ropescope("compare " + a + " " + folder_.path("missing.h5")).exit_code, 3);
}

}  // namespace
}  // namespace ropescope
