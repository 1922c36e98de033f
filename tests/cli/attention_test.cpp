// `ropescope attention` as a user runs it.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/tril.h>

#include "ropescope/core/json.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/real_model.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

class AttentionCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    Json ids = Json::array();
    for (int i = 0; i < 33; ++i) ids.push_back((7 * i + 3) % 100);
    std::ofstream(folder_.path("ids.json")) << Json({{"input_ids", {ids}}}).dump();
  }
  CommandResult attention(const std::string& flags) const {
    return run_ropescope("attention --quiet --force --output " + output_ + " " + flags);
  }
  std::string model_ = "--model '" + golden_path("language/llama-tiny/safetensors-fp32") + "' ";
  TemporaryFolder folder_;
  std::string output_ = folder_.path("a.h5"), trace_ = folder_.path("t.h5");
  std::string tokens_ = "--tokens " + folder_.path("ids.json") + " ";
  /// 2 + 4 + 20 + 7 tokens.
  std::string layout_ = "--layout text:2,anyres:2x2+4x4,text:7 ";
};

// In the order asked for, repeated ones too.
TEST_F(AttentionCommand, RowsAreThoseOfTraceUnderEveryScheme) {
  for (const std::string scheme : {"vanilla", "id-align", "mrope/interleaved", "dipe", "cca", "alibi"}) {
    const CommandResult run =
        attention(model_ + tokens_ + layout_ + "--queries 14,3,10-12,3,last --schemes " + scheme);
    ASSERT_EQ(run.exit_code, 0) << scheme << run.err;
    const CommandResult traced = run_ropescope("trace --quiet --force --dump attention --output " + trace_ +
                                               " " + model_ + tokens_ + layout_ + "--scheme " + scheme);
    ASSERT_EQ(traced.exit_code, 0) << traced.err;
    const ResultReader file(output_), reference(trace_);
    const std::string group =
        scheme == "mrope/interleaved" ? "/attention/mrope_interleaved" : "/attention/" + scheme;
    const at::Tensor rows = file.read(group + "/rows"), queries = file.read(group + "/query_index");
    EXPECT_TRUE(all_close(queries, at::tensor({14, 3, 10, 11, 12, 3, 32}, at::kLong), 0));
    EXPECT_TRUE(all_close(file.read(group + "/key_index"), at::arange(33, at::kLong), 0));
    ASSERT_EQ(rows.dim(), 4);
    for (int64_t layer = 0; layer < rows.size(0); ++layer) {
      const at::Tensor whole = reference.read("/trace/attention/" + std::to_string(layer))[0];
      EXPECT_TRUE(all_close(rows[layer], whole.index_select(1, queries), 1e-6))
          << scheme << " layer " << layer;
    }
    EXPECT_TRUE(all_close(rows.sum(-1), at::tensor(1.0).expand(rows.sizes().slice(0, 3)), 1e-5));
  }
}

TEST_F(AttentionCommand, RowsOfLlavaAreTheReferencesWithAndWithoutIdAlign) {
  for (const std::string name : {"llava-next-tiny-clip-llama", "llava-next-tiny-siglip-qwen2"}) {
    const std::string folder = "vision/" + name;
    const auto golden = golden_tensors(folder + "/expected.safetensors");
    write_safetensors(folder_.path("pixels.safetensors"),
                      {{"pixel_values", golden.at("one_image.pixel_values")},
                       {"image_sizes_hw", golden.at("one_image.image_sizes_hw")}});
    const at::Tensor ids = golden.at("one_image.input_ids").to(at::kLong).contiguous();
    Json row = Json::array();
    for (int64_t i = 0; i < ids.numel(); ++i) row.push_back(ids[i].item<int64_t>());
    std::ofstream(folder_.path("ids.json")) << Json({{"input_ids", {row}}}).dump();
    const CommandResult run =
        attention("--model '" + golden_path(folder) + "' --pixels " + folder_.path("pixels.safetensors") +
                  " " + tokens_ + "--queries text,0-" + std::to_string(ids.numel() - 1) +
                  " --schemes 'vanilla;id-align' --json");
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const ResultReader file(output_);
    const at::Tensor rows = file.read("/attention/vanilla/rows");
    EXPECT_TRUE(all_close(rows[0], golden.at("one_image.attentions.0"), 2e-6)) << name;
    EXPECT_TRUE(all_close(rows[1], golden.at("one_image.attentions.1"), 2e-6)) << name;
    const at::Tensor aligned = file.read("/attention/id-align/rows");
    EXPECT_TRUE(all_close(aligned[1], golden.at("one_image.idalign.attentions.1"), 2e-6)) << name;
  }
}

TEST_F(AttentionCommand, LayersHeadsNumbersAndJson) {
  const CommandResult run =
      attention(model_ + tokens_ + layout_ +
                "--queries text --layers 1 --heads 0,2 --schemes 'vanilla;id-align' --json");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const ResultReader file(output_);
  const at::Tensor rows = file.read("/attention/id-align/rows");
  EXPECT_EQ(rows.sizes().vec(), (std::vector<int64_t>{1, 2, 7, 33}));
  EXPECT_TRUE(all_close(file.read("/attention/id-align/head_index"), at::tensor({0, 2}, at::kLong), 0));
  const Json report = parse_json(run.out, "stdout");
  EXPECT_EQ(report["queries"], Json({"text"}));
  EXPECT_EQ(report["heads"], 2);
  EXPECT_FALSE(report["untrained_features"].get<bool>());
  const Json& measures = report["schemes"][1]["measures"];
  // Visual tokens are 2..25.
  const double share = rows.narrow(3, 2, 24).sum(3).mean().item<double>();
  EXPECT_NEAR(measures["visual_share"]["mean"].get<double>(), share, 1e-6);
  EXPECT_NEAR(file.read("/attention/id-align/measures/visual_share").mean().item<double>(), share, 1e-6);
  // One input: a mean, no interval.
  EXPECT_EQ(measures["visual_share"]["count"], 1);
  EXPECT_TRUE(measures["visual_share"]["ci95_low"].is_null());
  EXPECT_THAT(report["interval"].get<std::string>(), HasSubstr("none: one input"));
  EXPECT_GE(measures["partner_rank"]["mean"].get<double>(), 1);
  EXPECT_LE(measures["partner_rank"]["mean"].get<double>(), 4);
}

TEST_F(AttentionCommand, SeveralRowsGiveIntervals) {
  std::ofstream(folder_.path("ids.json")) << R"({"input_ids":[[1,2,3,4,5,6],[6,5,4,3,2,1],[9,9,9,9,9,9]]})";
  const CommandResult run =
      attention(model_ + tokens_ + "--layout text:1,image:1x3,text:2 --schemes vanilla --json");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = parse_json(run.out, "stdout");
  const Json& share = report["schemes"][0]["measures"]["visual_share"];
  EXPECT_EQ(share["count"], 3);
  EXPECT_LT(share["ci95_low"].get<double>(), share["mean"].get<double>());
  const ResultReader file(output_);
  EXPECT_TRUE(file.has("/attention/vanilla/input-2/rows"));
  EXPECT_EQ(file.read("/attention/table/by_input").size(2), 3);
}

TEST_F(AttentionCommand, TextAndTablesForPeople) {
  const CommandResult text = attention(model_ + tokens_ + "--schemes vanilla");  // no layout: text only
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("entropy"));
  EXPECT_THAT(text.out, ::testing::Not(HasSubstr("visual %")));
  const CommandResult csv =
      attention(model_ + tokens_ + layout_ + "--csv --schemes 'vanilla;v2pe:delta=0.5'");
  ASSERT_EQ(csv.exit_code, 0) << csv.err;
  EXPECT_THAT(csv.out, HasSubstr("\nv2pe:delta=0.5,visual_share,,"));
}

TEST_F(AttentionCommand, ErrorsNameTheFlag) {
  const std::pair<std::string, const char*> cases[] = {
      {model_ + tokens_ + "--schemes idalign", "did you mean \"id-align\"?"},
      {model_ + tokens_ + "--queries lats", "did you mean \"last\"?"},
      {model_ + tokens_ + "--queries 33", "0 to 32"},
      {model_ + tokens_ + "--layout text:4", "33 tokens"},
      {model_ + tokens_ + "--layers 99", "--layers"},
      {model_ + tokens_ + "--heads 99", "--heads"},
      {model_ + tokens_ + "--region 0,0,5,5", "--image"},
      {model_ + tokens_ + "--region 0,0,5", "--region"},
      {model_ + tokens_ + "--queries generated", "--max-new-tokens"},
      {model_ + tokens_ + "--text-lengths 0,4", "--distractor"},
      {model_ + tokens_ + "--queries high", "no high-resolution tokens"},
      {model_ + tokens_ + "--prompt hello", "--prompt"},
      {model_ + "--image x.png", "--decoder"},
      {model_ + tokens_ + "--schemes 'vanilla;vanilla'", "twice"},
      {tokens_, "--model"},
  };
  for (const auto& [flags, words] : cases) {
    const CommandResult run = attention(flags);
    EXPECT_EQ(run.exit_code, 2) << flags << run.err;
    EXPECT_THAT(run.err, HasSubstr(words)) << flags;
    EXPECT_FALSE(std::ifstream(output_).good());
  }
}

TEST_F(AttentionCommand, APictureBeforeARealLanguageModel) {
  if (smollm2_path().empty()) GTEST_SKIP() << "SmolLM2 is not installed";
  const std::string corpus = folder_.path("d.txt");
  {
    std::ofstream text(corpus);
    for (int i = 0; i < 40; ++i) text << "The library keeps its books on shelves of oak. ";
  }
  const std::string decoder =
      "--decoder '" + smollm2_path() + "' --layout text:4,anyres:3x3+6x6,text:8 --layers 0,29 ";
  const CommandResult run =
      attention(decoder +
                "--prompt 'What is shown in this image?' --word shown --queries text,generated "
                "--max-new-tokens 2 --json");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  Json report = parse_json(run.out, "stdout");
  EXPECT_TRUE(report["untrained_features"].get<bool>());
  EXPECT_EQ(report["queries"], Json({"text", "generated", "word"}));
  {
    const ResultReader file(output_);
    EXPECT_THAT(std::get<std::string>(file.attribute("/attention", "features")), HasSubstr("untrained"));
    EXPECT_EQ(file.read("/attention/vanilla/rows").size(3), 4 + 9 + 42 + 8 + 2);
    EXPECT_EQ(file.read("/attention/vanilla/sets/word").numel(), 1);
  }
  const CommandResult context = attention(decoder + "--distractor " + corpus +
                                          " --text-lengths 0,20,100 --json --plot " + folder_.path("plots"));
  ASSERT_EQ(context.exit_code, 0) << context.err;
  report = parse_json(context.out, "stdout");
  const Json& fading = report["schemes"][0]["fading"];
  ASSERT_EQ(fading.size(), 3u);
  EXPECT_NEAR(fading[0]["mean"].get<double>(),
              report["schemes"][0]["measures"]["visual_share"]["mean"].get<double>(), 1e-5);
  EXPECT_GT(fading[0]["uniform_share"].get<double>(), fading[2]["uniform_share"].get<double>());
  for (const char* name :
       {"last-to-thumbnail.png", "last-to-thumbnail.svg", "fading.svg", "visual-share-by-layer.png"}) {
    EXPECT_TRUE(std::ifstream(folder_.path("plots") + "/" + name).good()) << name;
  }
  for (const char* average : {"heads", "layers", "none"}) {
    const CommandResult plot = run_ropescope("plot " + output_ + " --kind attention-maps --force --average " +
                                             average + " --heads 0-1 --output " + folder_.path("m.svg"));
    EXPECT_EQ(plot.exit_code, 0) << plot.err;
  }
}

}  // namespace
}  // namespace ropescope
