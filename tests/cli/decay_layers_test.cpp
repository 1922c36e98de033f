// `ropescope decay`, `prior`, `plot` and `inspect` of models whose layers differ.
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
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

/// Four layers: sliding, full with another base, without rotation, a delta rule.
class DecayOfKinds : public ::testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(3);
    Samples samples;
    samples.pairs.q = at::randn({90, 8});
    samples.pairs.k = at::randn({90, 8});
    samples.pairs.text = at::arange(90, at::kLong).remainder(7);
    samples.pairs.layer = at::arange(90, at::kLong).remainder(3);
    samples.pairs.head = at::arange(90, at::kLong).remainder(2);
    samples.pairs.query = samples.pairs.key = at::zeros({90}, at::kLong);
    samples.text_names = {"a"};
    samples.text_tokens = {40};
    MomentSet moments;
    moments.mean_q = at::randn({4, 2, 8}, at::kDouble);
    moments.mean_k = at::randn({4, 2, 8}, at::kDouble);
    moments.count = at::tensor({9, 9, 9, 9, 9, 9, 0, 0}, at::kLong).view({4, 2});
    moments.cov_q = moments.cov_k = at::zeros({4, 2, 8, 8}, at::kDouble);
    moments.text_mean_q = moments.text_mean_k = at::zeros({1, 4, 2, 8});
    moments.text_count = at::tensor({9}, at::kLong);
    samples.moments = moments;
    ModelFacts& model = samples.model;
    model.rope = RopeConfig{};
    model.rope->theta = 1e6;
    model.num_layers = 4;
    model.num_heads = model.num_key_value_heads = 2;
    model.head_dim = 8;
    model.max_position_embeddings = 256;
    model.layers.resize(4);
    for (LayerFacts& layer : model.layers) layer.head_dim = 8;
    model.layers[0].kind = "sliding_attention";
    model.layers[0].window = 32;
    model.layers[0].rope.theta = 1e4;
    model.layers[1].rope.theta = 1e6;
    model.layers[2].rotates = false;
    model.layers[3].kind = "linear_attention";
    model.layers[3].has_qk = model.layers[3].rotates = false;
    ResultWriter writer(path_, Provenance{}, false);
    write_samples(writer, samples);
    writer.commit();
  }
  CommandResult decay(const std::string& flags) {
    return run_ropescope("decay --samples " + path_ + " " + flags + " --force --output " + output_);
  }
  testing::TemporaryFolder folder_;
  std::string path_ = folder_.path("s.h5"), output_ = folder_.path("d.h5");
};

TEST_F(DecayOfKinds, OneColumnAKind) {
  const CommandResult run = decay("--by kind");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("sliding: layers 0, theta 10000, window of 32 tokens, 7 texts"));
  EXPECT_THAT(run.out, HasSubstr("no rotation: layers 2, 7 texts"));
  EXPECT_THAT(run.err, HasSubstr("layers 2 do not rotate"));
  const ResultReader file(output_);
  EXPECT_EQ(file.read("/decay/kinds/mean").sizes().vec(), (std::vector<int64_t>{1, 3, 257}));
  EXPECT_EQ(std::get<std::string>(file.attribute("/decay", "theta_source")), "own");
  EXPECT_TRUE(file.read("/decay/theta").isnan().all().item<bool>());
  const at::Tensor flat = file.read("/decay/kinds/mean")[0][2];
  EXPECT_TRUE(flat.eq(flat[0]).all().item<bool>());
  for (const std::string& dataset : file.datasets()) {
    EXPECT_TRUE(file.has_attribute(dataset, "description")) << dataset;
    EXPECT_EQ(file.description(dataset).axes().size(), file.array(dataset).shape.size()) << dataset;
  }
  const Json report = parse_json(decay("--by kind --json").out, "stdout");
  EXPECT_EQ(report["kinds"].size(), 3u);
  EXPECT_EQ(report["kinds"][1]["theta"][0], 1e6);
  EXPECT_EQ(report["count"], 60);  // of the layers that rotate
  EXPECT_EQ(report["rows"][5]["by_kind"]["mean"][0].size(), 3u);
  EXPECT_THAT(decay("--by kind --csv").out, HasSubstr("distance,theta,kind,mean,ci95_low,ci95_high,count\n"));
}

TEST_F(DecayOfKinds, BasesOfEachLayerAreScaled) {
  const CommandResult run = decay("--theta-scale 1,10 --max-distance 64");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("theta x 10"));
  const ResultReader file(output_);
  EXPECT_EQ(std::get<std::string>(file.attribute("/decay", "theta_source")), "scaled");
  EXPECT_EQ(file.read("/decay/theta_scale")[1].item<double>(), 10.0);
  EXPECT_EQ(file.read("/decay/kinds/theta")[1][0].item<double>(), 1e5);
  const at::Tensor scaled = file.read("/decay/by_layer");
  ASSERT_EQ(decay("--theta 1e5 --max-distance 64").exit_code, 0);
  const ResultReader given(output_);
  EXPECT_TRUE(given.read("/decay/by_layer")[0][0].equal(scaled[1][0]));
  EXPECT_FALSE(given.read("/decay/by_layer")[0][1].equal(scaled[1][1]));
  EXPECT_EQ(std::get<std::string>(given.attribute("/decay", "theta_source")), "given");
  EXPECT_THAT(decay("--theta-scale 1,10 --csv --max-distance 4").out, HasSubstr("distance,theta_scale,mean"));
}

TEST_F(DecayOfKinds, FlagsThatExcludeEachOther) {
  for (const char* flags : {"--theta 1e4 --theta-scale 2", "--theta-grid 1e4:1e5:2 --theta-scale 2",
                            "--theta 1e4 --theta-grid 1e4:1e5:2"}) {
    const CommandResult run = decay(flags);
    EXPECT_EQ(run.exit_code, 2) << flags;
    EXPECT_THAT(run.err, HasSubstr("expected one of the two")) << flags;
  }
  EXPECT_EQ(decay("--theta-scale 0").exit_code, 2);
  EXPECT_EQ(decay("--by layer").exit_code, 2);
}

TEST_F(DecayOfKinds, LayersThatHaveNoneAreRefusedAndFlatOnesShownByKind) {
  const CommandResult none = decay("--layers 3");
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err, HasSubstr("found 3 (linear_attention)"));
  const CommandResult flat = decay("--layers 2");
  ASSERT_EQ(flat.exit_code, 0) << flat.err;
  EXPECT_THAT(flat.out, HasSubstr("no rotation: layers 2"));
  EXPECT_THAT(flat.err, HasSubstr("there is no mean over layers that rotate"));
  const CommandResult one = decay("--layers 1");
  EXPECT_THAT(one.out, HasSubstr("theta 1e+06"));
  EXPECT_EQ(ResultReader(output_).read("/decay/theta")[0].item<double>(), 1e6);
}

TEST_F(DecayOfKinds, FiguresMarkWindows) {
  const std::string figure = folder_.path("kinds.svg");
  const CommandResult run = decay("--by kind --theta-scale 1,4 --plot " + figure);
  if (run.err.find("gnuplot") != std::string::npos) GTEST_SKIP() << run.err;
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_TRUE(std::filesystem::exists(figure));
  for (const char* kind : {"decay", "by-kind", "by-layer", "theta", "bands", "bound"}) {
    const CommandResult plot = run_ropescope("plot " + output_ + " --kind " + kind + " --output " +
                                             folder_.path(std::string(kind) + ".svg"));
    EXPECT_EQ(plot.exit_code, 0) << kind << plot.err;
  }
}

TEST_F(DecayOfKinds, PriorTurnsEachLayerAsItIs) {
  const std::string prior = "prior --samples " + path_ +
                            " --layout text:4,image:4x4,text:40 --schemes vanilla --force --output " +
                            folder_.path("p.h5");
  const CommandResult run = run_ropescope(prior + " --json");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = parse_json(run.out, "stdout");
  EXPECT_TRUE(report["rope_theta"].is_null());
  EXPECT_EQ(report["layers"], "sliding: layers 0; full: layers 1; no rotation: layers 2");
  const ResultReader file(folder_.path("p.h5"));
  const at::Tensor attention = file.read("/prior/vanilla/attention_by_layer");
  // 60 tokens: the last one's window of 32 hides the image (tokens 4 to 19) on layer 0 alone.
  EXPECT_EQ(attention[0].narrow(0, 0, 28).sum().item<double>(), 0.0);
  EXPECT_GT(attention[1].narrow(0, 4, 16).min().item<double>(), 0.0);
  EXPECT_NEAR(attention[2].max().item<double>(), 1.0 / 60, 1e-7) << "without rotation every key is alike";
  EXPECT_EQ(run_ropescope(prior + " --rope-theta 2e4").exit_code, 0);
  EXPECT_EQ(std::get<double>(ResultReader(folder_.path("p.h5")).attribute("/prior", "rope_theta")), 2e4);
}

TEST(InspectLayers, FamiliesAreListedWithoutAModel) {
  const CommandResult list = run_ropescope("inspect --list");
  ASSERT_EQ(list.exit_code, 0) << list.err;
  for (const char* family : {"llama\n", "qwen2\n", "gemma3_text\n", "deepseek_v3\n"}) {
    EXPECT_THAT(list.out, HasSubstr(family));
  }
  const Json json = parse_json(run_ropescope("inspect --list --json").out, "stdout");
  ASSERT_GE(json["architectures"].size(), 20u);
  EXPECT_EQ(json["architectures"][0]["name"], "llama");
  EXPECT_FALSE(json["architectures"][0]["summary"].get<std::string>().empty());
  EXPECT_EQ(run_ropescope("inspect").exit_code, 2);
}

TEST(InspectLayers, OneEntryAKind) {
  const std::string llama = testing::golden_path("language/llama-tiny/safetensors-fp32");
  const Json layers = parse_json(run_ropescope("inspect --json --model " + llama).out, "stdout")["layers"];
  ASSERT_EQ(layers.size(), 1u);
  EXPECT_EQ(layers[0]["layers"], "0-2");
  EXPECT_EQ(layers[0]["kind"], "full_attention");
  EXPECT_EQ(layers[0]["mixer"], "softmax");
  EXPECT_EQ(layers[0]["rope_theta"], 10000.0);
  EXPECT_EQ(layers[0]["rotary_dims"], 16);
  EXPECT_EQ(layers[0]["pairs"], "half");
  EXPECT_TRUE(layers[0]["window"].is_null());
  EXPECT_EQ(layers[0]["sinks"], false);
}

/// What the golden folders say of each layer.
TEST(InspectLayers, FamiliesAsTheirGoldenFilesHaveThem) {
  for (const auto& entry : std::filesystem::directory_iterator(testing::golden_path("architectures"))) {
    const std::string name = entry.path().filename().string();
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    SCOPED_TRACE(name);
    const Json expected = testing::golden_json("architectures/" + name + "/expected.json");
    const CommandResult run = run_ropescope("inspect --json --model " + entry.path().string());
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const Json layers = parse_json(run.out, "stdout")["layers"];
    for (const Json& layer : layers) {
      // "0-4,6": the first number is a layer of the kind.
      const Json& of = expected["layers"][std::stoull(layer["layers"].get<std::string>())];
      EXPECT_EQ(layer["kind"], of["kind"]);
      EXPECT_EQ(layer["rotates"], of["rotates"]);
      const auto same = [&](const char* ours, const char* theirs) {
        const Json& found = layer.at(ours);
        const Json* wanted = json_find(of, theirs);
        if (wanted == nullptr) {
          EXPECT_TRUE(found.is_null()) << ours;
        } else if (wanted->is_number()) {
          EXPECT_NEAR(found.get<double>(), wanted->get<double>(), 1e-6) << ours;
        } else {
          EXPECT_EQ(found, *wanted) << ours;
        }
      };
      same("window", "window");
      same("chunk", "chunk");
      same("rope_theta", "theta");
      same("rope_type", "rope_type");
      same("rotary_dims", "rotary_dims");
      same("attention_factor", "attention_factor");
      same("score_scale", "scaling");
      if (layer["rotates"] == true) {
        EXPECT_EQ(layer["pairs"],
                  expected["pairs"].get<std::string>().substr(0, 4) == "half" ? "half" : "adjacent");
      }
      if (layer["mixer"] != "delta_rule") {
        EXPECT_EQ(layer["sinks"], expected["sinks"]);
      }
    }
    EXPECT_EQ(run_ropescope("inspect --model " + entry.path().string()).exit_code, 0);
  }
}

}  // namespace
}  // namespace ropescope
