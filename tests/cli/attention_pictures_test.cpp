// `ropescope attention --sinks --drift` as a user runs it.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

class AttentionPictures : public ::testing::Test {
 protected:
  CommandResult attention(const std::string& flags, const std::string& output = "a.h5") const {
    return run_ropescope("attention --quiet --force --template qwen --null-draws 19 --model '" +
                         golden_path("vlm/qwen3_vl") + "' --output '" + folder_.path(output) + "' " + flags);
  }
  std::string cat_ = "--image '" + golden_path("vlm/images/cat.png") + "' ";
  std::string long_ = "--prompt 'What is shown here, and where, and what else can be seen?' --queries text ";
  TemporaryFolder folder_;
};

// The shares are those of the rows that the same file keeps, and every dataset says what it is.
TEST_F(AttentionPictures, SharesAreThoseOfTheRows) {
  const CommandResult run = attention(
      cat_ + long_ + "--sinks --sink-times 1.01 --drift --schemes 'mrope-interleave;vanilla' --json");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const ResultReader file(folder_.path("a.h5"));
  const std::string group = "/attention/mrope-interleave";
  const at::Tensor rows = file.read(group + "/rows").to(at::kDouble);
  const at::Tensor token = file.read(group + "/sink_cells/token").to(at::kLong),
                   which = file.read(group + "/sink_cells/class").to(at::kLong);
  const at::Tensor on_cells = rows.index_select(3, token).sum(2);  // [layers, heads, cells]
  EXPECT_EQ(which.eq(0).sum().item<int>(), 4);
  const char* const names[] = {"corner", "edge", "interior"};
  at::Tensor sum;
  for (int64_t i = 0; i < 3; ++i) {
    const at::Tensor share = file.read(group + "/sinks/" + names[i] + "/share");
    EXPECT_TRUE(all_close(share, on_cells.mul(which.eq(i).to(at::kDouble)).sum(2) / on_cells.sum(2), 1e-9));
    sum = sum.defined() ? sum + share : share;
    const at::Tensor p = file.read(group + "/sinks/" + names[i] + "/p");
    EXPECT_GE(p.min().item<double>(), 0.05);
    EXPECT_LE(p.max().item<double>(), 1.0);
    const at::Tensor low = file.read(group + "/sinks/" + names[i] + "/null_low"),
                     high = file.read(group + "/sinks/" + names[i] + "/null_high");
    EXPECT_TRUE(low.lt(high).all().item<bool>());
  }
  EXPECT_TRUE(all_close(sum, at::tensor(1.0, at::kDouble).expand(sum.sizes()), 1e-9));
  for (const std::string& name : file.datasets()) {
    if (name.find("/sink") == std::string::npos && name.find("/drift/") == std::string::npos) continue;
    EXPECT_TRUE(file.has_attribute(name, "description")) << name;
  }
  // Untrained weights: the closed form is that of the scheme whatever they are.
  const Json report = parse_json(run.out, "stdout");
  const Json& drift = report["schemes"][0]["drift"];
  EXPECT_EQ(drift["predicted"]["kind"], "shift");
  EXPECT_EQ(drift["rows"]["predicted"], 1.0);
  EXPECT_EQ(report["schemes"][1]["drift"]["rows"]["predicted"], 0.0);
  EXPECT_EQ(report["schemes"][1]["drift"]["columns"]["predicted"], 1.0);
  EXPECT_GE(drift["tokens"][0].get<int>(), 8);
  EXPECT_EQ(file.read(group + "/drift/rows/correlation").size(3), file.read(group + "/drift/shift").size(0));

  // The same seed: the same bits.
  ASSERT_EQ(attention(cat_ + long_ + "--sinks --sink-times 1.01 --drift --schemes 'mrope-interleave;vanilla'",
                      "b.h5")
                .exit_code,
            0);
  EXPECT_EQ(run_ropescope("compare --quiet " + folder_.path("a.h5") + " " + folder_.path("b.h5")).exit_code,
            0);
  for (const std::string kind : {"sinks", "drift"}) {
    const std::string figure = folder_.path(kind + ".svg");
    const CommandResult drawn =
        run_ropescope("plot --quiet " + folder_.path("a.h5") + " --kind " + kind + " --output " + figure);
    ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
    std::ostringstream text;
    text << std::ifstream(figure).rdbuf();
    EXPECT_THAT(text.str(), HasSubstr("mrope-interleave"));
  }
}

TEST_F(AttentionPictures, FramesOfAClipAndSeveralPicturesAreRastersOfTheirOwn) {
  const std::string both =
      "--image '" + golden_path("vlm/images/cat.png") + "," + golden_path("vlm/images/strip.png") + "' ";
  const CommandResult run =
      attention(both +
                "--prompt '<image> and <image>: what differs between the two pictures, if anything?' "
                "--queries text --sinks --drift --schemes mrope-interleave --heads 1 --layers 0,2");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("corner"));
  const ResultReader file(folder_.path("a.h5"));
  const std::string group = "/attention/mrope-interleave";
  EXPECT_EQ(file.read(group + "/sink_cells/raster").max().item<int>(), 1);
  EXPECT_EQ(file.read(group + "/sinks/corner/share").sizes().vec(), (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(file.read(group + "/drift/columns/marching").sizes().vec(), (std::vector<int64_t>{2, 1}));
}

TEST_F(AttentionPictures, WhatCannotBeMeasuredIsSaidAndNothingIsWritten) {
  const auto refused = [&](const std::string& flags, const std::string& sentence) {
    const CommandResult run = attention(flags, "refused.h5");
    EXPECT_EQ(run.exit_code, 2) << run.err;
    EXPECT_THAT(run.err, HasSubstr(sentence));
    EXPECT_FALSE(std::filesystem::exists(folder_.path("refused.h5")));
  };
  refused(cat_ + "--queries last --drift", "at least 8 consecutive tokens");
  refused(cat_ + "--queries 0 --sinks", "expected tokens behind the pictures");
  refused("--prompt 'no picture at all' --queries text --sinks", "text alone");
  refused(cat_ + "--sinks --null-draws 3", "--null-draws");
}

}  // namespace
}  // namespace ropescope
