// --rope-scaling and config.json: scalings that are made of others, by row, and mixtures, as a user gives them.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/tensor_operators.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/schemes.h"

namespace ropescope::testing {
namespace {

using ::testing::HasSubstr;

std::string scaling_flag(const Json& scaling) { return " --rope-scaling '" + scaling.dump() + "'"; }

class RopeScaling : public ::testing::Test {
 protected:
  /// /rotary of `flags`, whose output must be whole and agree with itself: cos of inv_freq times weighted coordinates.
  std::unique_ptr<ResultReader> rotary(const std::string& flags) {
    const std::string file = folder_.path("p.h5");
    const CommandResult run = run_ropescope("positions --quiet --force --output " + file + " " + flags);
    EXPECT_EQ(run.exit_code, 0) << flags << "\n" << run.err;
    if (run.exit_code != 0) return nullptr;
    auto reader = std::make_unique<ResultReader>(file);
    const at::Tensor weights = reader->read("/rotary/weights"), f = reader->read("/rotary/inv_freq"),
                     places = reader->read("/positions/coordinates").to(at::kDouble);
    const at::Tensor angles = weights.matmul(places).mul(f.view({1, -1, 1})).transpose(1, 2);
    const double scale = std::get<double>(reader->attribute("/rotary", "attention_scale"));
    EXPECT_TRUE(all_close(reader->read("/rotary/cos").to(at::kDouble), angles.cos() * scale, 1e-6)) << flags;
    return reader;
  }
  void says(const std::string& scheme, const Json& scaling, int exit_code, const std::string& words) {
    const std::string file = folder_.path("refused.h5");
    const CommandResult run = run_ropescope("positions --layout text:5 --scheme " + scheme + " --output " +
                                            file + scaling_flag(scaling));
    EXPECT_EQ(run.exit_code, exit_code) << scaling.dump() << run.err;
    EXPECT_THAT(run.err, HasSubstr(words));
    EXPECT_FALSE(std::filesystem::exists(file));
  }
  /// The golden Llama under other rotary settings.
  std::string model(const Json& scaling) {
    const std::string source = "language/llama-tiny/safetensors-fp32/";
    Json config = golden_json(source + "config.json");
    config.erase("rope_parameters");
    config.update({{"rope_theta", 1e4}, {"rope_scaling", scaling}});
    const std::string path = folder_.write("model/config.json", config.dump());
    for (const char* file : {"model.safetensors", "tokenizer.model", "tokenizer_config.json"}) {
      const std::string from = golden_path(source + file);
      if (!std::filesystem::exists(from)) continue;
      std::filesystem::copy_file(from, folder_.path(std::string("model/") + file),
                                 std::filesystem::copy_options::overwrite_existing);
    }
    return path.substr(0, path.rfind('/'));
  }

  TemporaryFolder folder_;
};

TEST_F(RopeScaling, PositionsWritesTheGoldenFrequencies) {
  int64_t compared = 0;
  const Json golden = golden_json("positions-2026/frequencies.json");
  for (const Json& record : golden.at("entries")) {
    const Json& scaling = record.at("rope_scaling");
    // Of length: text of so many tokens.
    const auto tokens = std::max<int64_t>(5, record.value("sequence_length", int64_t{0}));
    const std::string scheme = record.contains("allocation")
                                   ? "mrope/" + record.at("allocation").get<std::string>() +
                                         ":sections=" + setting_text(record.at("sections"))
                                   : "vanilla";
    if (compared > 3 && scheme == "vanilla" && scaling.at("rope_type") == "cope") continue;  // one form each
    const auto file = rotary(fmt::format("--scheme {} --layout text:{} --head-dim {} --rope-theta {}{}",
                                         scheme, tokens, record.at("head_dim").get<int64_t>(),
                                         record.at("theta").get<double>(), scaling_flag(scaling)));
    ASSERT_NE(file, nullptr);
    const auto expected = record.at("inv_freq").get<std::vector<double>>();
    EXPECT_TRUE(all_close(file->read("/rotary/inv_freq"), at::tensor(expected, at::kDouble), 0, 1e-12))
        << scaling.dump().substr(0, 100);
    EXPECT_NEAR(std::get<double>(file->attribute("/rotary", "attention_scale")),
                record.at("attention_scale").get<double>(), 1e-12);
    ++compared;
  }
  EXPECT_GE(compared, 12);
  for (const Json& scaling :
       {Json{{"rope_type", "fope"}, {"kept", 9}}, Json{{"rope_type", "xdrope"}, {"alpha", 8}},
        Json{{"type", "dynamic"}, {"alpha", 8}}}) {
    EXPECT_NE(rotary("--scheme vanilla --layout text:5" + scaling_flag(scaling)), nullptr);
  }
}

TEST_F(RopeScaling, WhatCannotBeIsRefusedInOneSentence) {
  const Json t = {{"rope_type", "per-axis"}, {"t", {{"rope_type", "linear"}, {"factor", 2}}}};
  Json deep = {{"rope_type", "linear"}, {"factor", 2}};
  for (int i = 0; i < 4; ++i) deep = {{"rope_type", "cope"}, {"inner", deep}};
  says("vanilla", {{"rope_type", "coppe"}}, 2, "did you mean \"cope\"?");
  says("vanilla", {{"rope_type", "cope"}, {"inner", {{"rope_type", "lin"}, {"factor", 2}}}}, 2, "\"inner\"");
  says("vanilla", {{"rope_type", "mean"}}, 2, "needs \"of\"");
  says("vanilla", deep, 2, "at most 4 deep");
  says("vanilla", {{"rope_type", "fope"}, {"kept", "all"}}, 2, "kept");
  says("vanilla", {{"rope_type", "ntk-span"}, {"original_max_position_embeddings", 64}}, 2, "factor");
  says("vanilla", {{"rope_type", "xdrope"}}, 2, "alpha");
  says("vanilla", {{"rope_type", "longrope"}, {"long_factor", {1.0}}}, 2, "short_factor");
  says("vanilla", t, 2, "rows (id), found some for \"t\"");
  says("mhrope", t, 2, "same row in all heads");
  says("spiral", t, 2, "follow one row each");
  says("spiral:directions=65", {{"rope_type", "default"}}, 2,
       "directions: expected at most one for each of 64");
  says("mixed:weights=" + folder_.write("w.json", "[[1,2]]"), {{"rope_type", "default"}}, 3, "w.json");
}

TEST_F(RopeScaling, WeightedAxesAreWrittenWithTheFileTheyComeFrom) {
  const auto spiral = rotary("--scheme spiral:directions=3 --layout text:3,image:2x3 --head-dim 12");
  ASSERT_NE(spiral, nullptr);
  EXPECT_FALSE(spiral->has("/rotary/axis"));
  EXPECT_EQ(spiral->read("/rotary/weights").sizes().vec(), (std::vector<int64_t>{1, 6, 3}));
  EXPECT_TRUE(all_close(spiral->read("/rotary/weights").sum(2),
                        at::tensor({1., 1., 1., 1., 1., 1.}).view({1, 6}), 1e-12));
  EXPECT_TRUE(spiral->read_strings("/provenance/inputs/name").empty());
  const std::string weights = folder_.write("axes.json", "[[0,0,2],[0,3,4],[1,0,0],[0,0,0]]");
  const auto mixed = rotary("--scheme mixed:weights=" + weights + " --layout text:3,image:2x3 --head-dim 8");
  ASSERT_NE(mixed, nullptr);
  EXPECT_TRUE(
      all_close(mixed->read("/rotary/weights")[0][1], at::tensor({0.0, 0.6, 0.8}, at::kDouble), 1e-15));
  EXPECT_EQ(mixed->read_strings("/provenance/inputs/name"), std::vector<std::string>{"axes.json"});
}

TEST_F(RopeScaling, FopeCoefficientsMakeTheTables) {
  const Json record = golden_json("positions-2026/weights.json").at("fope_tables")[0];
  const auto tensor = [](const Json& nested) {
    std::vector<float> values;
    for (const Json& head : nested) {
      for (const Json& row : head) {
        for (const Json& value : row) values.push_back(value.get<float>());
      }
    }
    return at::tensor(values).view({static_cast<int64_t>(nested.size()), 3, 3});
  };
  const std::string file = folder_.path("c.safetensors"), output = folder_.path("f.h5");
  write_safetensors(
      file, {{"cos_coef", tensor(record.at("cos_coef"))}, {"sin_coef", tensor(record.at("sin_coef"))}});
  const std::string flags =
      "positions --quiet --scheme vanilla --layout text:64 --head-dim 16 --fope-coefficients " + file;
  const std::string fope = scaling_flag({{"rope_type", "fope"}, {"original_max_position_embeddings", 64}});
  const CommandResult run = run_ropescope(flags + fope + " --output " + output);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const ResultReader reader(output);
  for (const char* name : {"cos", "sin"}) {
    const at::Tensor table = reader.read(std::string("/rotary/") + name);
    for (size_t head = 0; head < 2; ++head) {
      for (size_t p = 0; p < record.at("positions").size(); ++p) {
        const auto expected = record.at(name)[head][p].get<std::vector<float>>();
        EXPECT_TRUE(all_close(table[static_cast<int64_t>(head)][record.at("positions")[p].get<int64_t>()],
                              at::tensor(expected), 2e-6));
      }
    }
  }
  const auto refused = [&](const std::string& arguments, int code, const std::string& words) {
    const CommandResult result = run_ropescope(arguments);
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(words));
  };
  const std::string again = " --force --output " + output;
  refused(flags + again, 2, "expected --rope-scaling of type \"fope\"");
  refused(flags + fope, 2, "expected --output");
  refused(flags + scaling_flag({{"rope_type", "fope"}, {"kept", 5}}) + again, 3, "[key/value heads, 5, 5]");
  write_safetensors(file, {{"cos_coef", tensor(record.at("cos_coef"))}});
  refused(flags + fope + again, 3, "found no sin_coef");
}

TEST_F(RopeScaling, TraceTakesThemFromFlagAndConfig) {
  const std::string tokens = folder_.write("t.json", R"({"input_ids": [[1, 7, 42, 300, 5, 9, 11, 80]]})");
  const auto logits = [&](const std::string& model, const std::string& flags) -> at::Tensor {
    const std::string file = folder_.path("trace.h5");
    const CommandResult run = run_ropescope("trace --quiet --force --model '" + model + "' --tokens " +
                                            tokens + " --dump logits --output " + file + " " + flags);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return ResultReader(file).read("/trace/logits");
  };
  const std::string plain = golden_path("language/llama-tiny/safetensors-fp32");
  const Json cope = {{"rope_type", "cope"},
                     {"channels", 6},
                     {"form", "hard"},
                     {"inner", {{"rope_type", "linear"}, {"factor", 4}}}};
  const at::Tensor by_flag = logits(plain, scaling_flag(cope));
  EXPECT_TRUE(by_flag.equal(logits(model(cope), "")));
  EXPECT_FALSE(all_close(by_flag, logits(plain, ""), 1e-3));
  // Text has equal rows, so scaling all of them alike is scaling.
  const Json linear = {{"rope_type", "linear"}, {"factor", 4}};
  const std::string mrope = " --scheme mrope:sections=2/3/3 --layout text:8";
  const at::Tensor rows = logits(
      plain, scaling_flag({{"rope_type", "per-axis"}, {"t", linear}, {"h", linear}, {"w", linear}}) + mrope);
  EXPECT_TRUE(all_close(rows, logits(plain, scaling_flag(linear)), 1e-5));
  const CommandResult refused =
      run_ropescope("trace --model '" + plain + "' --tokens " + tokens + " --output " + folder_.path("x.h5") +
                    scaling_flag({{"rope_type", "per-axis"}, {"t", linear}}));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("Try: --scheme mrope"));
}

// A decoder whose ids have three rows turns text of one row as it turns three equal ones.
TEST_F(RopeScaling, OneRowOfIdsStandsForEqualRowsOfAMropeDecoder) {
  const std::string scaling = scaling_flag({{"rope_type", "per-axis"},
                                            {"t", {{"rope_type", "linear"}, {"factor", 2}}},
                                            {"w", {{"rope_type", "ntk"}, {"factor", 3}}}});
  const auto rotated = [&](const Json& tokens, const std::string& flags) -> at::Tensor {
    const std::string output = folder_.path("t.h5");
    const CommandResult run =
        run_ropescope("trace --quiet --force --dump q_rotated --model " + golden_path("vlm/qwen2_vl") +
                      " --tokens " + folder_.write("t.json", tokens.dump()) + " --output " + output + flags);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return ResultReader(output).read("/trace/q_rotated/1");
  };
  const Json ids = {{5, 6, 7, 8, 9, 10}}, places = {{0, 1, 2, 3, 4, 5}};
  const at::Tensor one = rotated({{"input_ids", ids}}, scaling);
  EXPECT_TRUE(one.equal(rotated({{"input_ids", ids}, {"position_ids", {places, places, places}}}, scaling)));
  EXPECT_FALSE(all_close(one, rotated({{"input_ids", ids}}, ""), 1e-4));
}

TEST_F(RopeScaling, SamplesDecayAndPriorTakeThemFromTheConfig) {
  const Json cope = {
      {"rope_type", "cope"}, {"channels", 3}, {"inner", {{"rope_type", "ntk"}, {"factor", 2}}}};
  const std::string samples = folder_.path("s.h5"),
                    texts = folder_.write(
                        "t.jsonl", R"({"text": "The lighthouse keeper climbed the stairs every evening."}
{"text": "A river carries the memory of every hill that it has passed."}
)");
  const auto run = [&](const std::string& arguments) {
    const CommandResult result = run_ropescope(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  run("sample --quiet --moments --min-tokens 8 --model " + model(cope) + " --texts " + texts + " --output " +
      samples);
  const ResultReader reader(samples);
  EXPECT_EQ(reader.read("/samples/layers/inv_freq")[0][7].item<double>(), 0.0);
  run("decay --quiet --max-distance 16 --samples " + samples + " --output " + folder_.path("d.h5"));
  const ResultReader decay(folder_.path("d.h5"));
  EXPECT_TRUE(decay.read("/decay/mean").isfinite().all().item<bool>());
  const std::string schemes = "\"vanilla;spiral;mixed:seed=2;mrope:sections=2/3/3\"";
  const std::string table =
      run("prior --samples " + samples + " --layout text:4,image:3x3,text:3 --query last --schemes " +
          schemes + " --output " + folder_.path("p.h5"));
  EXPECT_THAT(table, HasSubstr("spiral"));
  EXPECT_EQ(ResultReader(folder_.path("p.h5")).read_strings("/prior/table/scheme").size(), 4U);
}

}  // namespace
}  // namespace ropescope::testing
