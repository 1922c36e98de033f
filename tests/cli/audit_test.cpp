// `ropescope audit` as a user runs it: forms of files, tables of cos and sin, exit codes, what it says.
#include <cmath>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "tests/cli/audit_runs.h"
#include "tests/support/npy_file.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

class AuditCommand : public AuditRuns {
 protected:
  const AuditedCase image_{"qwen2_vl", "one_image"};

  CommandResult run(const std::string& flags) const { return run_ropescope("audit --quiet " + flags); }
  std::string path(const std::string& name) const { return "'" + folder_.path(name) + "'"; }
  static Json nested(const at::Tensor& ids) {
    Json rows = Json::array();
    for (int64_t row = 0; row < ids.size(0); ++row) {
      const at::Tensor line = ids[row].to(at::kLong).contiguous();
      const auto* data = line.const_data_ptr<int64_t>();
      rows.push_back(std::vector<int64_t>(data, data + line.numel()));
    }
    return rows;
  }
};

TEST_F(AuditCommand, EveryFormOfFileSaysTheSame) {
  const at::Tensor tokens = image_.inputs.at("input_ids").reshape({1, -1});
  const Json grid = {{1, 8, 12}};
  folder_.write("ids.npy", npy_of(image_.ids.to(at::kLong).unsqueeze(1)));
  folder_.write("tokens.npy", npy_of(tokens));
  folder_.write(
      "whole.json",
      Json({{"input_ids", nested(tokens)}, {"position_ids", nested(image_.ids)}, {"image_grid_thw", grid}})
          .dump());
  folder_.write("bare.json", nested(image_.ids).dump());
  const std::string model = "--model '" + image_.model + "' --ids ";
  for (const std::string& flags :
       {path("ids.npy") + " --input-ids " + path("tokens.npy") + " --grid 1x8x12", path("whole.json"),
        path("bare.json") + " --input-ids " + path("whole.json"),
        path("ids.npy") + " --input-ids " + path("tokens.npy") + " --grid image:1x8x12",
        path("ids.npy") + " --input-ids " + path("tokens.npy") + " --grid [[1,8,12]]"}) {
    const CommandResult right = run(model + flags);
    EXPECT_EQ(right.exit_code, 0) << flags << right.err;
    EXPECT_THAT(right.out, HasSubstr("equal: 0 of 38 tokens differ from the ids of mrope:sections=2/3/3"));
  }
  // Four rows: transformers' text positions first, which are looked at too.
  const at::Tensor four = at::cat({counted(0, image_.tokens()).narrow(0, 0, 1), image_.ids}, 0);
  audit(image_, four, 0);
  EXPECT_EQ(
      audit(image_, at::cat({image_.ids.narrow(0, 0, 1), image_.ids}, 0), 1)["first_difference"]["axis"],
      "text");
}

TEST_F(AuditCommand, PeopleSeeTheTokensAroundTheFirstDifference) {
  const CommandResult result = run(files(image_, counted(0, image_.tokens())));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("different: 33 of 38 tokens differ"));
  EXPECT_THAT(result.out,
              HasSubstr("first difference: row 0, token 5 (image 0), axis t: expected 4, found 5"));
  EXPECT_THAT(result.out, HasSubstr("4 4 5"));
  EXPECT_THAT(result.out, HasSubstr("1-d-fallback (explains 100% of the tokens, 100% of those that differ)"));
  EXPECT_THAT(result.out, HasSubstr("linkedin/Liger-Kernel#276"));
  const CommandResult list = run("--list --json");
  EXPECT_EQ(list.exit_code, 0);
  const Json mistakes = parse_json(list.out, "stdout");
  EXPECT_GE(mistakes.size(), 20U);
  EXPECT_EQ(mistakes[0]["mistake"], "1-d-fallback");
}

// Half an id a group of frames: the model's own rule gives neighbours one id, which is said although nothing is wrong.
TEST_F(AuditCommand, RuleThatCollidesIsAWarning) {
  AuditedCase clip("qwen2_5_vl", "image_video");
  clip.inputs["second_per_grid_ts"] = at::full({1}, 0.25, at::kFloat);
  at::Tensor ids = clip.ids.clone();
  for (int64_t group = 0; group < 4; ++group) {
    ids[0].narrow(0, 31 + 8 * group, 8).fill_(static_cast<double>(16 + group / 2));
  }
  ids.narrow(1, 63, 7).copy_(counted(20, 7));
  const Json report = audit(clip, ids, 0);
  ASSERT_EQ(report["warnings"].size(), 1U);
  EXPECT_THAT(report["warnings"][0].get<std::string>(), HasSubstr("4 groups of frames share 2 time ids"));
  EXPECT_EQ(report["looks_like"][0]["mistake"], "time-ids-collide");
  EXPECT_EQ(report["looks_like"][0]["explains_differing"], 0.0);
}

TEST_F(AuditCommand, TextModels) {
  const std::string model = "--model '" + golden_path("architectures/qwen3") + "' --ids ";
  folder_.write("ids.npy", npy_of(at::arange(12, at::kLong)));
  EXPECT_EQ(run(model + path("ids.npy")).exit_code, 0);
  folder_.write("from1.npy", npy_of(at::arange(1, 13, at::kLong)));
  EXPECT_EQ(run(model + path("from1.npy")).exit_code, 1);
  folder_.write("packed.json", R"({"position_ids":[[0,1,2,3,0,1,2]]})");
  EXPECT_EQ(run(model + path("packed.json") + " --segments 4,3").exit_code, 0);
  folder_.write("padded.json",
                R"({"position_ids":[[0,1,2,3],[1,1,0,1]],"attention_mask":[[1,1,1,1],[0,0,1,1]]})");
  EXPECT_EQ(run(model + path("padded.json")).exit_code, 0);
  folder_.write("step.npy", npy_of(at::arange(7, 8, at::kLong)));
  EXPECT_EQ(run(model + path("step.npy") + " --first 7").exit_code, 0);
  // A layer list of several bases, a GGUF file.
  const std::string gguf = "--model '" + golden_path("architectures/gguf/gemma3_text-F16.gguf") + "' --ids ";
  EXPECT_EQ(run(gguf + path("ids.npy")).exit_code, 0);
}

TEST_F(AuditCommand, WhatTraceRanIsTheModelsOwn) {
  const std::string model = "--model '" + golden_path("vlm/qwen3_vl") + "' ";
  const CommandResult traced =
      run_ropescope("trace --quiet " + model + "--output " + path("trace.h5") +
                    " --text '<image>What?' --image '" + golden_path("vlm/images/cat.png") + "'");
  ASSERT_EQ(traced.exit_code, 0) << traced.err;
  const CommandResult same = run(model + "--ids " + path("trace.h5") + " --grid 1x8x12");
  EXPECT_EQ(same.exit_code, 0) << same.err << same.out;
  const CommandResult other = run(model + "--ids " + path("trace.h5") + " --grid 1x12x8");
  EXPECT_EQ(other.exit_code, 1) << other.err;
}

TEST_F(AuditCommand, RefusalsSayTheWayOut) {
  const std::string model = "--model '" + image_.model + "' ";
  folder_.write("ids.npy", npy_of(image_.ids.to(at::kLong)));
  folder_.write("tokens.npy", npy_of(image_.inputs.at("input_ids").reshape({1, -1})));
  folder_.write("short.npy", npy_of(image_.ids.to(at::kLong).narrow(1, 0, 20)));
  folder_.write("odd.txt", "position ids: 0 1 2");
  folder_.write("objects.npy", npy_bytes("|O", "(1,)", "\x80\x04K\x01."));
  const std::string ids = model + "--ids " + path("ids.npy"), tokens = " --input-ids " + path("tokens.npy");
  const auto expect = [&](const std::string& flags, int exit_code, const std::string& part) {
    const CommandResult result = run(flags);
    EXPECT_EQ(result.exit_code, exit_code) << flags << result.err;
    EXPECT_THAT(result.err, HasSubstr(part));
    EXPECT_EQ(result.out, "");
  };
  expect(ids, 2, "--input-ids: expected the prompt's token ids");
  expect(ids + tokens, 2, "--grid: expected the grids of the pictures");
  expect(ids + tokens + " --grid 8x12", 2, "found \"8x12\"");
  expect(ids + tokens + " --grid 1x8x10", 3, "placeholder tokens");
  expect(ids + tokens + " --grid 1x8x12,1x8x12", 3, "images and clips");
  expect(model + "--ids " + path("short.npy") + tokens + " --grid 1x8x12", 3, "--first 0");
  expect(model + "--ids " + path("odd.txt") + tokens, 3, "NumPy's .npy, safetensors, JSON");
  expect(model + "--ids " + path("objects.npy") + tokens, 3, "Python objects");
  expect(ids + tokens + " --grid 1x8x12 --segments 20,18", 3, "found an end inside one");
  expect(ids + tokens + " --grid 1x8x12 --segments 20,19", 3, "sum to the 38 tokens");
  expect(model, 2, "ids");
  expect(ids + tokens + " --grid 1x8x12 --tables " + path("ids.npy"), 3, "\"cos\" and \"sin\"");
}

// Tables by the formula, an angle at a time.
class AuditTables : public AuditCommand {
 protected:
  /// `axis`: which row of the ids turns each channel pair. `adjacent`: each number twice side by side, else twice a half apart.
  void write(const at::Tensor& ids, double theta, const std::vector<int64_t>& axis, bool adjacent) const {
    const auto pairs = static_cast<int64_t>(axis.size()), tokens = ids.size(1);
    at::Tensor cos = at::empty({tokens, 2 * pairs}, at::kFloat), sin = at::empty_like(cos);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < pairs; ++i) {
        const double angle = ids[axis[static_cast<size_t>(i)]][t].item<double>() *
                             std::pow(theta, -static_cast<double>(i) / static_cast<double>(pairs));
        for (const int64_t channel : {adjacent ? 2 * i : i, adjacent ? 2 * i + 1 : i + pairs}) {
          cos[t][channel] = std::cos(angle);
          sin[t][channel] = std::sin(angle);
        }
      }
    }
    write_safetensors(folder_.path("tables.safetensors"), {{"cos", cos}, {"sin", sin}});
  }
  Json audit_tables(const AuditedCase& of, int exit_code) const {
    return audit(of, of.ids, exit_code, "--tables " + path("tables.safetensors"));
  }
  static std::string mistake(const Json& report) {
    return report["looks_like"].size() == 1 ? report["looks_like"][0]["mistake"].get<std::string>()
                                            : report.dump();
  }
};

TEST_F(AuditTables, ChannelsInGroups) {  // Qwen2-VL: 2, 3, 3 of 8 pairs, base 1e6
  constexpr double kTheta = 1e6;
  write(image_.ids, kTheta, {0, 0, 1, 1, 1, 2, 2, 2}, false);
  EXPECT_EQ(audit_tables(image_, 0)["tables"]["form"], "halves");
  write(image_.ids, kTheta, {0, 0, 1, 1, 1, 2, 2, 2}, true);
  EXPECT_EQ(mistake(audit_tables(image_, 1)), "channel-pairing");
  write(image_.ids, kTheta, {1, 1, 1, 2, 2, 2, 0, 0}, false);
  const Json order = audit_tables(image_, 1);
  EXPECT_EQ(mistake(order), "section-order");
  EXPECT_THAT(order["looks_like"][0]["sentence"].get<std::string>(),
              HasSubstr("in the order h, w, t (3/3/2)"));
  EXPECT_EQ(order["first_difference"]["in"], "image 0");
  write(image_.ids, kTheta, {0, 0, 2, 2, 2, 1, 1, 1}, false);
  EXPECT_EQ(mistake(audit_tables(image_, 1)), "section-order");
  write(image_.ids, kTheta, {0, 1, 2, 0, 1, 2, 1, 2}, false);  // (i mod 3, then what is left; nobody's)
  EXPECT_TRUE(audit_tables(image_, 1)["looks_like"].empty());
  write(image_.ids, kTheta, {0, 1, 2, 0, 1, 2, 0, 1}, false);
  EXPECT_EQ(mistake(audit_tables(image_, 1)), "channels-interleaved");
  write(image_.ids, kTheta, {0, 0, 0, 0, 0, 0, 0, 0}, false);
  EXPECT_EQ(mistake(audit_tables(image_, 1)), "one-axis");
}

TEST_F(AuditTables, ChannelsInterleaved) {  // Qwen3-VL: 4, 2, 2 of 8 pairs, base 5e6
  const AuditedCase image("qwen3_vl", "one_image");
  write(image.ids, 5e6, {0, 1, 2, 0, 1, 2, 0, 0}, false);
  audit_tables(image, 0);
  write(image.ids, 5e6, {0, 0, 0, 0, 1, 1, 2, 2}, false);
  EXPECT_EQ(mistake(audit_tables(image, 1)), "channels-chunked");
}

TEST_F(AuditTables, ThatAreNoneOfThisModel) {
  write(image_.ids, 1e6, {0, 1, 2}, false);
  const CommandResult result = run(files(image_, image_.ids) + "--tables " + path("tables.safetensors"));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("expected 8"));
  write(image_.ids, 1e4, {0, 0, 1, 1, 1, 2, 2, 2}, false);
  EXPECT_TRUE(audit_tables(image_, 1)["looks_like"].empty());
}

}  // namespace
}  // namespace ropescope
