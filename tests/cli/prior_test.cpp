// `ropescope prior` as a user runs it, on a samples file such as another tool would write.
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>

#include "ropescope/core/json.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using testing::run_ropescope;

class PriorCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(2);
    ResultWriter writer(samples_, Provenance{}, false);
    writer.write("/moments/mean_q", at::randn({2, 6, 16}));
    writer.write("/moments/mean_k", at::randn({2, 6, 16}));
    writer.write("/moments/count", at::full({2, 6}, 50, at::kLong));
    writer.attribute("/model", "num_key_value_heads", int64_t{3});
    writer.attribute("/model", "rope_theta", 1e4);
    writer.attribute("/model", "max_position_embeddings", int64_t{200});
    writer.commit();
  }
  CommandResult prior(const std::string& flags) const {
    return run_ropescope("prior --samples " + samples_ + " " + flags + " --output " + output_);
  }

  testing::TemporaryFolder folder_;
  std::string samples_ = folder_.path("s.h5"), output_ = folder_.path("p.h5");
  std::string layout_ = "--layout text:4,anyres:3x3+6x6,text:5 ";
};

TEST_F(PriorCommand, OneTableBestFirstAndAFileOfMaps) {
  const std::string figure = folder_.path("maps.png");
  const CommandResult run =
      prior(layout_ +
            "--schemes vanilla,id-align,mrope,dipe,mhrope,mrope/interleaved --query high:2,5 "
            "--text-lengths 0,100,1000 --plot " +
            figure);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out,
              HasSubstr("order: visual % at 100, the greatest length within the trained context (200"));
  EXPECT_THAT(run.out, HasSubstr("6 schemes in"));
  const ResultReader file(output_);
  const std::vector<std::string> order = file.read_strings("/prior/table/scheme");
  ASSERT_EQ(order.size(), 6u);
  double last = 1;
  for (const std::string& scheme : order) {
    const std::string group = "/prior/" + (scheme == "mrope/interleaved" ? "mrope_interleaved" : scheme);
    EXPECT_EQ(file.read(group + "/logits").sizes().vec(), (std::vector<int64_t>{60}));
    EXPECT_EQ(file.read(group + "/logits_by_layer").sizes().vec(), (std::vector<int64_t>{2, 60}));
    EXPECT_NEAR(file.read(group + "/attention").sum().item<double>(), 1.0, 1e-9);
    EXPECT_EQ(file.read(group + "/query_index").item<int64_t>(), 4 + 9 + 2 * 7 + 5);
    EXPECT_EQ(file.read(group + "/fading/by_head").sizes().vec(), (std::vector<int64_t>{3, 2, 6}));
    EXPECT_FALSE(file.has(group + "/logits_by_head"));
    const double share = file.read(group + "/fading/visual_share")[1].item<double>();
    EXPECT_LE(share, last);
    last = share;
  }
  EXPECT_EQ(file.read("/prior/table/mean").sizes().vec(), (std::vector<int64_t>{6, 6}));
  EXPECT_EQ(file.read_strings("/provenance/inputs/name"), std::vector<std::string>{"s.h5"});

  // The pictures: the maps that --plot drew, and both kinds again from the file.
  EXPECT_TRUE(std::ifstream(figure).good());
  for (const char* kind : {"prior-maps", "prior-fading"}) {
    const CommandResult plot =
        run_ropescope("plot " + output_ + " --kind " + kind + " --output " + folder_.path(kind) + ".svg");
    EXPECT_EQ(plot.exit_code, 0) << plot.err;
  }
}

TEST_F(PriorCommand, JsonCsvMarkdownAndMapsOfHeads) {
  const std::string flags =
      layout_ + "--schemes 'vanilla;pype:interval=1;v2pe:delta=0.5' --text-lengths 0,50 ";
  CommandResult run = prior(flags + "--json --by-head --layers 1");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = parse_json(run.out, "stdout");
  EXPECT_EQ(report["heads"], 6);
  EXPECT_EQ(report["query"], 59);
  EXPECT_THAT(report["interval"].get<std::string>(), HasSubstr("layers x heads"));
  ASSERT_EQ(report["schemes"].size(), 3u);
  for (const Json& scheme : report["schemes"]) {
    EXPECT_EQ(scheme["fading"][1]["text_length"], 50);
    for (const char* number :
         {"visual_share", "partner_share", "partner_logit", "sink_first", "sink_visual"}) {
      EXPECT_LE(scheme[number]["ci95_low"].get<double>(), scheme[number]["mean"].get<double>());
      EXPECT_GE(scheme[number]["ci95_high"].get<double>(), scheme[number]["mean"].get<double>());
    }
  }
  {
    const ResultReader file(output_);
    const at::Tensor heads = file.read("/prior/vanilla/logits_by_head");
    EXPECT_EQ(heads.sizes().vec(), (std::vector<int64_t>{2, 6, 60}));
    EXPECT_TRUE(heads[0].isnan().all().item<bool>());
  }
  run = prior(flags + "--csv --force");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("\nvanilla,fading,50,"));
  run = prior(flags + "--markdown --force");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("| --- |"));
}

TEST_F(PriorCommand, LayoutFilesAndOtherBases) {
  std::ofstream(folder_.path("l.json")) << R"([{"text":4},{"image":{"t":1,"h":3,"w":4}},{"text":5}])";
  const std::string flags =
      "--schemes vanilla --text-lengths 0 --json --layout-file " + folder_.path("l.json");
  const CommandResult run = prior(flags + " --rope-theta 1e6");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = parse_json(run.out, "stdout");
  EXPECT_EQ(report["rope_theta"], 1e6);
  EXPECT_TRUE(report["schemes"][0]["partner_share"]["mean"].is_null());  // no thumbnail to look at
  const CommandResult base = prior(flags + " --force");
  const Json own = parse_json(base.out, "stdout");
  EXPECT_NE(own["schemes"][0]["visual_share"]["mean"], report["schemes"][0]["visual_share"]["mean"]);
}

TEST_F(PriorCommand, TilesInTheSequenceAreOneMap) {
  const CommandResult run = prior(
      "--layout text:4,anyres:3x2+6x6:tiles-first:before=1:row=1:gap=2,text:5 --json --query high:5,4 "
      "--schemes vanilla,id-align --text-lengths 0,100 --plot " +
      folder_.path("maps.svg"));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = parse_json(run.out, "stdout");
  // Behind 4 words: six times tag and tile of 3x2, one newline in between; row 5, column 4 begins the last row.
  EXPECT_EQ(report["query"], 4 + 5 * 7 + 1 + 1 + 2 * 2);
  EXPECT_EQ(report["layout"], "text:4,anyres:3x2+6x6:tiles-first:before=1:row=1:gap=2,text:5");
  for (const Json& scheme : report["schemes"]) {
    EXPECT_TRUE(scheme["partner_logit"]["mean"].is_null());  // it comes behind its tiles
  }
  const ResultReader file(output_);
  const at::Tensor raster = file.read("/prior/layout/raster");
  EXPECT_EQ(raster.eq(0).sum().item<int64_t>(), 6);
  EXPECT_EQ(raster.eq(1).sum().item<int64_t>(), 36);
  EXPECT_EQ(raster.max().item<int64_t>(), 1);
  EXPECT_TRUE(std::ifstream(folder_.path("maps.svg")).good());
}

TEST_F(PriorCommand, ErrorsSayWhatToDo) {
  const auto error_of = [&](const std::string& flags, int code) {
    const CommandResult run = prior(flags);
    EXPECT_EQ(run.exit_code, code) << flags << run.err;
    return run.err;
  };
  EXPECT_THAT(error_of(layout_ + "--schemes idalign", 2), HasSubstr("did you mean \"id-align\""));
  EXPECT_THAT(error_of("--layout text:4,anyres:3 --schemes vanilla", 2), HasSubstr("anyres:3"));
  EXPECT_THAT(error_of("--schemes vanilla", 2), HasSubstr("--layout"));
  EXPECT_THAT(error_of(layout_, 2), HasSubstr("--schemes is required"));
  EXPECT_THAT(error_of(layout_ + "--schemes vanilla --query 60", 2), HasSubstr("0 to 59"));
  EXPECT_THAT(error_of(layout_ + "--schemes vanilla --query high:6,0", 2), HasSubstr("below 6"));
  EXPECT_THAT(error_of(layout_ + "--schemes vanilla --text-lengths 9,1", 2), HasSubstr("ascending"));
  EXPECT_THAT(error_of(layout_ + "--schemes vanilla --rope-theta 0", 2), HasSubstr("--rope-theta"));

  const std::string empty = folder_.path("empty.h5");
  {
    ResultWriter writer(empty, Provenance{}, false);
    writer.write("/pairs/q", at::randn({4, 8}));
    writer.commit();
  }
  const CommandResult run =
      run_ropescope("prior --samples " + empty + " " + layout_ + "--schemes vanilla --output " + output_);
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.err, HasSubstr("ropescope sample"));
  EXPECT_THAT(run.err, HasSubstr("--moments"));
  EXPECT_FALSE(std::ifstream(output_).good());
}

}  // namespace
}  // namespace ropescope
