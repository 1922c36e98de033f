// `ropescope modix` as a user runs it, against the embeddings that `trace` writes of the same prompt.
#include "ropescope/analysis/modix.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

const char* const kModixPrompt = "What is shown in this picture, and where?";

CommandResult modix(const std::string& family, const std::string& flags) {
  return run_ropescope("modix --template none --model '" + golden_path("vlm/" + family) + "' --prompt '" +
                       std::string(kModixPrompt) + "' " + flags);
}

class ModixOf : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Families, ModixOf, ::testing::Values("qwen2_vl", "llava_onevision"),
                         [](const auto& entry) { return entry.param; });

TEST_P(ModixOf, MeasuresTheEmbeddingsThatEnterTheDecoder) {
  const TemporaryFolder folder;
  const std::string image = " --image '" + golden_path("vlm/images/cat.png") + "' ";
  const CommandResult run = modix(GetParam(), image + "--json --output '" + folder.path("m.h5") + "'");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = Json::parse(run.out);
  const CommandResult traced =
      run_ropescope("trace --quiet --dump inputs_embeds --model '" + golden_path("vlm/" + GetParam()) +
                    "' --text '" + kModixPrompt + "'" + image + "--output '" + folder.path("t.h5") + "'");
  ASSERT_EQ(traced.exit_code, 0) << traced.err;
  const ResultReader trace(folder.path("t.h5"));
  const at::Tensor ids = trace.read("/trace/input_ids")[0],
                   embeddings = trace.read("/trace/inputs_embeds")[0];
  // The placeholder is the id that most tokens have.
  const at::Tensor visual = ids.eq(std::get<0>(ids.mode()));
  ASSERT_EQ(visual.sum().item<int64_t>(), report.at("visual").at("tokens").get<int64_t>());
  ASSERT_EQ(visual.logical_not().sum().item<int64_t>(), report.at("text").at("tokens").get<int64_t>());
  const ModixStep step = modix_step(embeddings.index_select(0, visual.logical_not().nonzero().squeeze(1)),
                                    embeddings.index_select(0, visual.nonzero().squeeze(1)));
  EXPECT_NEAR(report.at("delta").get<double>(), step.delta, 1e-9);
  EXPECT_NEAR(report.at("text").at("entropy").get<double>(), step.text.entropy, 1e-6);
  EXPECT_EQ(report.at("scheme").get<std::string>().find("v2pe:delta="), 0u);
  const ResultReader file(folder.path("m.h5"));
  EXPECT_EQ(file.read("/modix/delta")[0].item<double>(), report.at("delta").get<double>());
  EXPECT_EQ(file.read("/modix/contribution")[1].item<double>(),
            report.at("visual").at("contribution").get<double>());
  // The step is one that the models take.
  const CommandResult answer = run_ropescope("generate --quiet --template none --max-new-tokens 2 --model '" +
                                             golden_path("vlm/" + GetParam()) + "' --prompt x" + image +
                                             "--scheme " + report.at("scheme").get<std::string>());
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
}

TEST(ModixCommand, RefusesWordsAloneAndModelsThatDoNotSee) {
  const CommandResult words = modix("qwen2_vl", "");
  EXPECT_EQ(words.exit_code, 2);
  EXPECT_THAT(words.err, HasSubstr("--image"));
  const CommandResult balance =
      modix("qwen2_vl", "--balance 2 --image '" + golden_path("vlm/images/cat.png") + "'");
  EXPECT_EQ(balance.exit_code, 2);
  EXPECT_THAT(balance.err, HasSubstr("balance"));
  const CommandResult blind =
      run_ropescope("modix --model '" + golden_path("language/llama-tiny/safetensors-fp32") +
                    "' --prompt x --image '" + golden_path("vlm/images/cat.png") + "'");
  EXPECT_EQ(blind.exit_code, 2);
}

}  // namespace
}  // namespace ropescope
