// `ropescope decay` as a user runs it, and the golden picks of SmolLM2 through `sample` and `decay`.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/real_model.h"

namespace ropescope {
namespace {

using testing::all_close;
using testing::CommandResult;
using ::testing::HasSubstr;
using testing::run_ropescope;

at::Tensor doubles(const Json& list) { return at::tensor(list.get<std::vector<double>>(), at::kDouble); }

/// A samples file such as another tool would write: no attributes, 32-bit indices.
class DecayOfForeignFile : public ::testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(1);
    q_ = at::randn({40, 8});
    k_ = at::randn({40, 8});
    ResultWriter writer(path_, Provenance{}, false);
    writer.write("/pairs/q", q_);
    writer.write("/pairs/k", k_);
    writer.write("/pairs/text", (at::arange(40, at::kInt).remainder(5)));
    writer.write("/pairs/layer", at::arange(40, at::kInt).remainder(2));
    writer.write("/pairs/head", at::arange(40, at::kInt).remainder(3));
    writer.write("/pairs/query", at::arange(40, at::kInt).remainder(7));
    writer.write("/pairs/key", at::arange(40, at::kInt).remainder(4));
    writer.write("/moments/mean_q", at::randn({2, 3, 8}));
    writer.write("/moments/mean_k", at::randn({2, 3, 8}));
    writer.commit();
  }
  testing::TemporaryFolder folder_;
  std::string path_ = folder_.path("s.h5");
  std::string output_ = folder_.path("d.h5");
  at::Tensor q_, k_;
};

TEST_F(DecayOfForeignFile, PopeScoresMagnitudesAtEveryPhase) {
  const std::string common = "decay --samples '" + path_ +
                             "' --theta 1e4 --distances 0,3 --json --force --output '" + output_ +
                             "' --encoding pope ";
  const CommandResult run = run_ropescope(common + "--pope-bias -0.5");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const at::Tensor frequency = (at::arange(8, at::kDouble) * (-std::log(1e4) / 8)).exp();
  const auto magnitude = [](const at::Tensor& x) { return (x.to(at::kDouble).exp() + 1).log(); };
  const at::Tensor product = magnitude(q_) * magnitude(k_);
  const Json rows = Json::parse(run.out).at("rows");
  for (const double m : {0.0, 3.0}) {
    const double expected = (product * (frequency * m + 0.5).cos()).sum(1).mean().item<double>();
    EXPECT_NEAR(rows.at(m == 0 ? 0 : 1).at("mean").at(0).get<double>(), expected, 1e-6);
  }
  EXPECT_THAT(run.err, HasSubstr("not trained under PoPE"));
  const ResultReader file(output_);
  EXPECT_EQ(std::get<std::string>(file.attribute("/decay", "encoding")), "pope");
  EXPECT_EQ(file.read("/decay/pope_bias").item<double>(), -0.5);
  for (const char* bad :
       {"--pope-bias 0.5", "--pope-bias -7", "--pope-bias nowhere.safetensors", "--source moments"}) {
    EXPECT_EQ(run_ropescope(common + bad).exit_code, 2) << bad;
  }
  const CommandResult alone = run_ropescope("decay --samples '" + path_ +
                                            "' --theta 1e4 --pope-bias 0 --force --output '" + output_ + "'");
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_THAT(alone.err, HasSubstr("--encoding pope"));
}

TEST_F(DecayOfForeignFile, PairsAreEnough) {
  const CommandResult run =
      run_ropescope("decay --samples " + path_ + " --theta 1e4,1e6 --max-distance 300 --output " + output_);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("theta 1e+06"));
  EXPECT_THAT(run.out, HasSubstr("sampled once"));
  EXPECT_THAT(run.out, HasSubstr("\n      256"));
  const ResultReader file(output_);
  EXPECT_EQ(file.read("/decay/mean").sizes().vec(), (std::vector<int64_t>{2, 301}));
  EXPECT_EQ(file.read("/decay/by_layer").sizes().vec(), (std::vector<int64_t>{2, 2, 301}));
  EXPECT_EQ(file.read("/decay/by_head").sizes().vec(), (std::vector<int64_t>{2, 2, 3, 301}));
  EXPECT_EQ(file.read("/decay/coefficient_a").sizes().vec(), (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ(file.read("/decay/abel_bound").sizes().vec(), (std::vector<int64_t>{2, 301}));
  EXPECT_NEAR(file.read("/decay/mean")[0][0].item<double>(), q_.mul(k_).sum(1).mean().item<double>(), 1e-5);
  EXPECT_EQ(std::get<int64_t>(file.attribute("/decay", "sign")), -1);
  EXPECT_EQ(std::get<std::string>(file.attribute("/decay", "source")), "pairs");
  EXPECT_EQ(std::get<int64_t>(file.attribute("/decay", "resampled")), 0);
  EXPECT_THAT(std::get<std::string>(file.attribute("/decay", "interval")),
              HasSubstr("cluster-robust over texts"));
}

TEST_F(DecayOfForeignFile, MomentsAreEnough) {
  const CommandResult run =
      run_ropescope("decay --samples " + path_ +
                    " --source moments --theta-grid 1e4:1e7:4 --distances 0,5,77 --sign paper "
                    "--json --output " +
                    output_);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = parse_json(run.out, "stdout");
  EXPECT_EQ(report["theta"].size(), 4u);
  EXPECT_EQ(report["rows"].size(), 3u);
  EXPECT_EQ(report["sign"], 1);
  EXPECT_TRUE(report["rows"][0]["ci95_low"][0].is_null());
  EXPECT_THAT(run.err, HasSubstr("no confidence intervals"));
  const ResultReader file(path_);
  const at::Tensor q = file.read("/moments/mean_q");
  const double expected = (q * file.read("/moments/mean_k")).sum(-1).mean().item<double>();
  EXPECT_NEAR(report["rows"][0]["mean"][0].get<double>(), expected, 1e-5);
}

TEST_F(DecayOfForeignFile, AskedForPartsOfTheSamples) {
  const auto mean_at_zero = [&](const std::string& flags) {
    const CommandResult run =
        run_ropescope("decay --samples " + path_ + " --theta 1e4 --distances 0 --json " + flags +
                      " --force --output " + output_);
    EXPECT_EQ(run.exit_code, 0) << flags << run.err;
    const Json report = parse_json(run.out, "stdout");
    return std::pair{report["rows"][0]["mean"][0].get<double>(), report["count"].get<int64_t>()};
  };
  const auto expected = [&](const auto& keep) {
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < 40; ++i) {
      if (!keep(i)) continue;
      sum += q_[i].dot(k_[i]).item<double>();
      ++count;
    }
    return std::pair{sum / static_cast<double>(count), count};
  };
  const auto same = [&](const std::string& flags, const auto& keep) {
    const auto [mean, count] = mean_at_zero(flags);
    const auto [right, pairs] = expected(keep);
    EXPECT_NEAR(mean, right, 1e-5) << flags;
    EXPECT_EQ(count, pairs) << flags;
  };
  same("", [](int64_t) { return true; });
  same("--layers 0", [](int64_t i) { return i % 2 == 0; });
  same("--heads 1-2", [](int64_t i) { return i % 3 > 0; });
  same("--layers 1 --heads 0 --causal", [](int64_t i) { return i % 2 == 1 && i % 3 == 0 && i % 4 <= i % 7; });
  EXPECT_EQ(std::get<std::string>(ResultReader(output_).attribute("/decay", "selection")),
            "layers 1; heads 0; causal pairs");
  const ResultReader file(path_);
  const double of_moments =
      (file.read("/moments/mean_q")[1] * file.read("/moments/mean_k")[1]).sum(-1).mean().item<double>();
  EXPECT_NEAR(mean_at_zero("--source moments --layers 1").first, of_moments, 1e-5);
}

TEST_F(DecayOfForeignFile, WhatTheSamplesCannotAnswerIsRefused) {
  const auto refused = [&](const std::string& flags, const std::string& part) {
    const CommandResult run = run_ropescope("decay --samples " + path_ + " --theta 1e4 --distances 0 " +
                                            flags + " --output " + output_);
    EXPECT_EQ(run.exit_code, 2) << flags;
    EXPECT_THAT(run.err, HasSubstr(part)) << flags;
  };
  for (const char* flag : {"--texts t.txt", "--max-texts 3", "--max-tokens 9", "--min-tokens 9",
                           "--skip-first 1", "--pairs-per-layer 2", "--form lines", "--moments"}) {
    refused(flag, "beside --samples");
  }
  refused("--layers 99", "--layers: expected numbers from 0 to 1, found 99");
  refused("--heads 3", "--heads: expected numbers from 0 to 2, found 3");
  refused("--source moments --causal", "--causal");
  EXPECT_FALSE(std::filesystem::exists(output_));
}

TEST_F(DecayOfForeignFile, TablesGiveEveryDistanceAndTheScreenSaysThatItDoesNot) {
  const std::string call =
      "decay --samples " + path_ + " --theta 1e4,1e6 --max-distance 100 --force --output " + output_;
  const CommandResult csv = run_ropescope(call + " --csv");
  EXPECT_THAT(csv.out, HasSubstr("distance,theta,mean,ci95_low,ci95_high,count\n"));
  EXPECT_EQ(std::count(csv.out.begin(), csv.out.end(), '\n'), 1 + 101 * 2);
  EXPECT_EQ(parse_json(run_ropescope(call + " --json").out, "stdout")["rows"].size(), 101u);
  EXPECT_THAT(run_ropescope(call).out, HasSubstr("8 of 101 distances are shown"));
}

TEST_F(DecayOfForeignFile, KeepsTheMapsThatAreAskedFor) {
  const std::vector<std::tuple<std::string, bool, bool>> words = {
      {"mean", false, false}, {"layers", true, false}, {"all", true, true}};
  for (const auto& [word, layers, heads] : words) {
    const CommandResult run =
        run_ropescope("decay --samples " + path_ + " --theta 1e4 --distances 0-9 --keep " + word +
                      " --force --output " + output_);
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const ResultReader file(output_);
    EXPECT_EQ(file.has("/decay/by_layer"), layers) << word;
    EXPECT_EQ(file.has("/decay/by_head"), heads) << word;
    EXPECT_TRUE(file.has("/decay/mean"));
  }
}

TEST_F(DecayOfForeignFile, UsageErrorsSayWhatIsMissing) {
  const auto error_of = [&](const std::string& flags) {
    const CommandResult run = run_ropescope("decay " + flags + " --output " + output_);
    EXPECT_EQ(run.exit_code, 2) << flags;
    return run.err;
  };
  const std::string samples = "--samples " + path_;
  EXPECT_THAT(error_of(samples), HasSubstr("--theta is required"));
  EXPECT_THAT(error_of("--theta 1e4"), HasSubstr("either --samples, or --model"));
  EXPECT_THAT(error_of(samples + " --theta 1e4 --resample"), HasSubstr("--resample: needs --model"));
  EXPECT_THAT(error_of(samples + " --theta 0"), HasSubstr("--theta"));
  EXPECT_THAT(error_of(samples + " --theta-grid 1e4:1e7"), HasSubstr("LO:HI:N"));
  EXPECT_THAT(error_of(samples + " --theta 1e4 --max-distance -1"), HasSubstr("--max-distance"));
  EXPECT_THAT(error_of(samples + " --theta 1e4 --sign up"), HasSubstr("causal"));
}

TEST(DecayOfModel, ResamplingRunsTheModelUnderEachTheta) {
  const testing::TemporaryFolder folder;
  const std::string corpus = folder.path("texts.txt");
  std::ofstream(corpus)
      << "A river carries more than water: it carries the memory of every hill.\n"
      << "The lighthouse keeper climbed the spiral stairs every evening and lit the lamp.\n";
  const std::string flags =
      "decay --quiet --form lines --min-tokens 8 --theta 1e4,1e2 --max-distance 64 --model " +
      testing::golden_path("language/llama-tiny/safetensors-fp32") + " --texts " + corpus;
  const CommandResult once = run_ropescope(flags + " --output " + folder.path("once.h5"));
  ASSERT_EQ(once.exit_code, 0) << once.err;
  const CommandResult anew = run_ropescope(flags + " --resample --output " + folder.path("anew.h5"));
  ASSERT_EQ(anew.exit_code, 0) << anew.err;
  EXPECT_THAT(anew.out, HasSubstr("run anew under each theta"));
  // One reading of streamed weights for all bases, or the weights in memory.
  ASSERT_EQ(
      run_ropescope(flags + " --resample --weights resident --output " + folder.path("kept.h5")).exit_code,
      0);
  EXPECT_EQ(
      run_ropescope("compare --rtol 0 --atol 0 " + folder.path("anew.h5") + " " + folder.path("kept.h5"))
          .exit_code,
      0);
  const ResultReader a(folder.path("once.h5"));
  const ResultReader b(folder.path("anew.h5"));
  EXPECT_EQ(std::get<int64_t>(b.attribute("/decay", "resampled")), 1);
  // The checkpoint's theta is 1e4: there both ways agree; under 1e2 deeper layers see other inputs.
  EXPECT_TRUE(a.read("/decay/mean")[0].equal(b.read("/decay/mean")[0]));
  EXPECT_FALSE(all_close(a.read("/decay/mean")[1], b.read("/decay/mean")[1], 1e-6));
  // Layer 0 sees the embeddings, which no theta changes.
  EXPECT_TRUE(all_close(a.read("/decay/by_layer")[1][0], b.read("/decay/by_layer")[1][0], 1e-4));
  // What was sampled lies beside the curves and serves as --samples again.
  const CommandResult again = run_ropescope("decay --samples " + folder.path("once.h5") +
                                            " --max-distance 64 --output " + folder.path("again.h5"));
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(ResultReader(folder.path("again.h5")).read("/decay/mean")[0].equal(a.read("/decay/mean")[0]));
}

TEST(DecayOfSmolLm2, GoldenPicks) {
  const std::string model = testing::smollm2_path();
  if (model.empty()) GTEST_SKIP() << "no SmolLM2 file: run cmake/bootstrap.sh or set ROPESCOPE_SMOLLM2";
  const testing::TemporaryFolder folder;
  const Json golden = testing::golden_json("language/smollm2/decay.json");
  {
    std::ofstream texts(folder.path("texts.jsonl"));
    const Json source = testing::golden_json("language/smollm2/texts.json");
    for (const Json& text : source["texts"]) {
      texts << Json{{"text", text["text"]}}.dump() << "\n";
    }
    std::ofstream picks(folder.path("picks.csv"));
    picks << "text,layer,head,query,key\n";
    for (const Json& pick : golden["picks"])
      picks << fmt::format("{}\n", fmt::join(pick.get<std::vector<int>>(), ","));
  }
  CommandResult run =
      run_ropescope(fmt::format("sample --dtype float32 --model {} --texts {} --picks {} --output {}", model,
                                folder.path("texts.jsonl"), folder.path("picks.csv"), folder.path("s.h5")));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto distances = golden["distances"].get<std::vector<int64_t>>();
  for (const char* sign : {"causal", "paper"}) {
    const std::string output = folder.path(std::string(sign) + ".h5");
    run = run_ropescope(
        fmt::format("decay --samples {} --theta 1e4,1e5,1e6,1e7 --distances {} --sign {} --output {}",
                    folder.path("s.h5"), fmt::join(distances, ","), sign, output));
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const ResultReader file(output);
    const char* key = sign == std::string("causal") ? "query_ahead" : "key_ahead";
    const at::Tensor mean = file.read("/decay/mean");
    int64_t t = 0;
    for (const char* theta : {"10000", "100000", "1000000", "10000000"}) {
      EXPECT_TRUE(all_close(mean[t++], doubles(golden["decay_by_theta"][theta][key]), 2e-4)) << theta;
    }
    for (const auto& [layer, expected] : golden["decay_theta_100000_by_layer"].items()) {
      EXPECT_TRUE(all_close(file.read("/decay/by_layer")[1][std::stoll(layer)], doubles(expected[key]), 2e-4))
          << layer;
    }
  }
  // Mean coefficients over the picks, from those of each head and their counts.
  const ResultReader file(folder.path("causal.h5"));
  const at::Tensor count = file.read("/decay/count").to(at::kDouble).unsqueeze(-1);
  const auto overall = [&](const char* name) {
    return file.read(name).nan_to_num(0.0).mul(count).sum({0, 1}) / count.sum();
  };
  EXPECT_TRUE(all_close(overall("/decay/coefficient_a"), doubles(golden["mean_A"]), 2e-4));
  EXPECT_TRUE(all_close(overall("/decay/coefficient_b"), doubles(golden["mean_B"]), 2e-4));
}

}  // namespace
}  // namespace ropescope
