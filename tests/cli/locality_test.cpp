// `ropescope locality` as a user runs it.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/json.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/io/result_file.h"
#include "ropescope/probe/samples.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using testing::run_ropescope;

/// Three layers: sliding, full with another base, without rotation; two heads that share their keys.
class LocalityCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(8);
    Samples samples;
    PairSet& pairs = samples.pairs;
    pairs.q = at::randn({180, 8}) + 0.5;
    pairs.k = at::randn({180, 8}) + 0.5;
    pairs.text = at::arange(180, at::kLong).remainder(7);
    pairs.layer = at::arange(180, at::kLong).remainder(3);
    pairs.head = at::arange(180, at::kLong).remainder(2);
    pairs.query = at::arange(180, at::kLong).remainder(5);
    pairs.key = at::arange(180, at::kLong).remainder(4);
    samples.text_names = {"a"};
    samples.text_tokens = {40};
    ModelFacts& model = samples.model;
    model.rope = RopeConfig{};
    model.num_layers = 3;
    model.num_heads = 2;
    model.num_key_value_heads = 1;
    model.head_dim = 8;
    model.max_position_embeddings = 1024;
    model.layers.resize(3);
    for (LayerFacts& layer : model.layers) layer.head_dim = 8;
    model.layers[0].kind = "sliding_attention";
    model.layers[0].window = 32;
    model.layers[0].rope.theta = 1e4;
    model.layers[1].rope.theta = 1e6;
    model.layers[2].rotates = false;
    ResultWriter writer(path_, Provenance{}, false);
    write_samples(writer, samples);
    writer.commit();
  }
  CommandResult locality(const std::string& flags) {
    return run_ropescope("locality --samples " + path_ + " " + flags + " --force --output " + output_);
  }
  testing::TemporaryFolder folder_;
  std::string path_ = folder_.path("s.h5"), output_ = folder_.path("l.h5");
};

TEST_F(LocalityCommand, WritesWhatScriptsRelyOn) {
  const CommandResult run = locality("--lengths 128,512,64 --theta 1e2,1e4");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("120 pairs of 7 texts, 120 with a second key"));
  EXPECT_THAT(run.out, HasSubstr("near, length"));
  EXPECT_THAT(run.out, HasSubstr("flips, length"));
  EXPECT_THAT(run.out, HasSubstr("theta 10000"));
  EXPECT_THAT(run.out, HasSubstr("reaches 1/2"));
  EXPECT_THAT(run.err, HasSubstr("layers 2 do not rotate"));
  const ResultReader file(output_);
  const at::Tensor length = file.read("/locality/length");
  ASSERT_EQ(length.numel(), 3);
  EXPECT_EQ(length[0].item<int64_t>(), 64);  // ascending
  EXPECT_EQ(length[2].item<int64_t>(), 512);
  EXPECT_EQ(file.read("/locality/theta")[1].item<double>(), 1e4);
  const std::vector<int64_t> two = {2, 3}, layers = {2, 3, 3}, heads = {2, 3, 3, 2};
  for (const char* name : {"near_preferred", "near_ci95_low", "near_ci95_high", "order_flips",
                           "order_ci95_low", "order_ci95_high"}) {
    EXPECT_EQ(file.read(std::string("/locality/") + name).sizes().vec(), two) << name;
    EXPECT_EQ(file.read(std::string("/locality/by_layer/") + name).sizes().vec(), layers) << name;
    EXPECT_EQ(file.read(std::string("/locality/kinds/") + name).sizes().vec(), layers) << name;
  }
  EXPECT_EQ(file.read("/locality/by_head/order_flips").sizes().vec(), heads);
  EXPECT_EQ(file.read("/locality/near_count").sum().item<int64_t>(), 180);
  EXPECT_EQ(std::get<std::string>(file.attribute("/locality", "theta_source")), "given");
  EXPECT_THAT(std::get<std::string>(file.attribute("/locality", "interval")),
              HasSubstr("cluster-robust over texts"));
  for (const std::string& dataset : file.datasets()) {
    EXPECT_TRUE(file.has_attribute(dataset, "description")) << dataset;
    EXPECT_EQ(file.description(dataset).axes().size(), file.array(dataset).shape.size()) << dataset;
  }
}

TEST_F(LocalityCommand, TablesForScripts) {
  const CommandResult run = locality("--lengths 64,128 --by kind --json");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = parse_json(run.out, "stdout");
  EXPECT_EQ(report["rows"].size(), 2u);
  EXPECT_EQ(report["rows"][1]["length"], 128);
  EXPECT_EQ(report["rows"][1]["by_kind"]["near_preferred"][0].size(), 3u);
  EXPECT_EQ(report["rows"][1]["by_kind"]["order_flips"][0][2], 0.0);
  EXPECT_EQ(report["kinds"][0]["window"], 32);
  EXPECT_EQ(report["near_count"], 120);
  EXPECT_EQ(report["chance"], 0.5);
  const double near = ResultReader(output_).read("/locality/near_preferred")[0][1].item<double>();
  EXPECT_EQ(report["rows"][1]["near_preferred"][0], near);
  const CommandResult csv = locality("--lengths 64 --theta-scale 1,4 --csv --by kind");
  EXPECT_THAT(csv.out,
              HasSubstr("length,theta_scale,kind,near_preferred,near_ci95_low,near_ci95_high,order_"));
  EXPECT_THAT(csv.out, HasSubstr("\n64,4,\"no rotation\",0.5,0.5,0.5,0,0,0\n"));
  const CommandResult table = locality("--lengths 64 --by kind --layers 0-1");
  EXPECT_THAT(table.out, HasSubstr("sliding: layers 0, theta 10000, window of 32 tokens, 7 texts"));
  EXPECT_THAT(table.out, HasSubstr("of the samples only: layers 0-1"));
}

TEST_F(LocalityCommand, LengthsAreTheModelsUnlessGivenAndSeedsDecide) {
  ASSERT_EQ(locality("--points 100").exit_code, 0);
  const at::Tensor first = ResultReader(output_).read("/locality/near_preferred");
  EXPECT_EQ(first.size(1), 3);  // 256, 512, 1024
  EXPECT_EQ(ResultReader(output_).read("/locality/points")[0].item<int64_t>(), 100);
  ASSERT_EQ(locality("--points 100 --threads 1").exit_code, 0);
  EXPECT_TRUE(ResultReader(output_).read("/locality/near_preferred").equal(first));
  ASSERT_EQ(locality("--points 100 --seed 4").exit_code, 0);
  EXPECT_FALSE(ResultReader(output_).read("/locality/near_preferred").equal(first));
}

TEST_F(LocalityCommand, MistakesAreExplained) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"--lengths 1", "--lengths"},
      {"--lengths 64 --points 1", "--points: expected 0 (all distances) or 2 and more, found 1"},
      {"--lengths 64 --theta 0", "--theta"},
      {"--lengths 64 --theta 1e4 --theta-scale 2", "expected one of the two"},
      {"--lengths 64 --theta-grid 1:2:2 --theta-scale 2", "expected one of the two"},
      {"--lengths 64 --by layer", "--by"},
      {"--lengths 64 --layers 7", "--layers"},
      {"--lengths 64 --texts a.txt", "texts"},
      {"--lengths 64 --plot a.bmp", ".png"}};
  for (const auto& [flags, part] : cases) {
    const CommandResult run = locality(flags);
    EXPECT_EQ(run.exit_code, 2) << flags << run.err;
    EXPECT_THAT(run.err, HasSubstr(part)) << flags;
    EXPECT_FALSE(std::filesystem::exists(output_)) << flags;
  }
  EXPECT_EQ(run_ropescope("locality --lengths 64 --output " + output_).exit_code, 2);
  std::ofstream(folder_.path("no.h5")) << "no";
  EXPECT_EQ(run_ropescope("locality --samples " + folder_.path("no.h5") + " --output " + output_).exit_code,
            3);
  // Pairs alone, whoever wrote them: no base, no kinds.
  ResultWriter writer(folder_.path("foreign.h5"), Provenance{}, false);
  writer.write("/pairs/q", at::randn({6, 4}));
  writer.write("/pairs/k", at::randn({6, 4}));
  writer.commit();
  const std::string foreign =
      "locality --lengths 64 --samples " + folder_.path("foreign.h5") + " --output " + output_;
  const CommandResult unknown = run_ropescope(foreign);
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("--theta is required"));
  EXPECT_THAT(run_ropescope(foreign + " --theta 1e4 --by kind").err, HasSubstr("found no /samples/layers"));
  const CommandResult given = run_ropescope(foreign + " --theta 1e4");
  EXPECT_EQ(given.exit_code, 0) << given.err;
  EXPECT_THAT(given.err, HasSubstr("pairs of one text only"));
}

TEST_F(LocalityCommand, FiguresAreDrawn) {
  const std::string figure = folder_.path("locality.svg");
  const CommandResult run = locality("--lengths 64,128,2048 --theta 1e2,1e4 --plot " + figure);
  if (run.err.find("gnuplot") != std::string::npos) GTEST_SKIP() << run.err;
  ASSERT_EQ(run.exit_code, 0) << run.err;
  std::ifstream stream(figure);
  const std::string svg((std::istreambuf_iterator<char>(stream)), {});
  EXPECT_THAT(svg, HasSubstr("length of the context (tokens, K = 1024)"));
  EXPECT_THAT(svg, HasSubstr("θ = 10⁴"));
  EXPECT_THAT(svg, HasSubstr("chance"));
  EXPECT_THAT(svg, HasSubstr(">2K<"));
  for (const char* kind : {"locality", "locality-by-kind", "locality-by-layer"}) {
    const CommandResult plot = run_ropescope("plot " + output_ + " --kind " + kind + " --output " +
                                             folder_.path(std::string(kind) + ".png"));
    EXPECT_EQ(plot.exit_code, 0) << kind << plot.err;
  }
}

}  // namespace
}  // namespace ropescope
