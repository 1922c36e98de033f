// trace --scheme: golden rotations and DIPE's attention through the command line, layouts, refusals.
#include <fstream>

#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

class TraceScheme : public ::testing::Test {
 protected:
  CommandResult trace(const std::string& arguments) {
    return run_ropescope("trace " + arguments + " --quiet --force --output '" + folder_.path("t.h5") + "'");
  }
  at::Tensor dataset(const std::string& name) const {
    return ResultReader(folder_.path("t.h5")).read("/trace/" + name);
  }
  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(folder_.path(name)) << content;
    return "'" + folder_.path(name) + "'";
  }
  std::string tensors(const std::map<std::string, at::Tensor>& values) const {
    write_safetensors(folder_.path("qk.safetensors"), values);
    return "--tensors '" + folder_.path("qk.safetensors") + "'";
  }
  TemporaryFolder folder_;
};

TEST_F(TraceScheme, DipeAttendsAsThePublicImplementation) {
  const auto golden = golden_tensors("positions/dipe_attention.safetensors");
  const Json record = golden_json("positions/dipe_attention.json");
  const std::string layout = file("layout.json", record.at("segments").dump());
  const CommandResult result =
      trace(tensors({{"q", golden.at("q")}, {"k", golden.at("k")}, {"v", golden.at("v")}}) +
            " --layout-file " + layout + " --scheme dipe:sections=8/12/12 --rope-theta 1e6");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(all_close(dataset("q_rotated/0")[0], golden.at("q_dynamic"), 2e-5));
  EXPECT_TRUE(all_close(dataset("q_anchored/0")[0], golden.at("q_anchored"), 2e-5));
  EXPECT_TRUE(all_close(dataset("k_rotated/0")[0], golden.at("k_dynamic"), 2e-5));
  EXPECT_TRUE(all_close(dataset("attention/0")[0], golden.at("weights"), 1e-5));
  EXPECT_TRUE(all_close(dataset("output/0")[0].transpose(0, 1), golden.at("output"), 1e-5));
  EXPECT_TRUE(all_close(dataset("position_ids").select(1, 0), golden.at("positions_dynamic"), 0));
}

TEST_F(TraceScheme, PerHeadTablesAndAdjacentPairs) {
  const auto golden = golden_tensors("positions/rotations.safetensors");
  const Json rotations = golden_json("positions/rotations.json");
  for (const Json& record : rotations.at("entries")) {
    if (record.at("name") != "mhrope_reset") continue;
    const std::string layout = file("layout.json", record.at("segments").dump());
    const std::string qk = tensors({{"q", golden.at("mhrope_reset/q")}, {"k", golden.at("mhrope_reset/k")}});
    const CommandResult result =
        trace(qk + " --layout-file " + layout + " --scheme mhrope:sections=1/1/1,spatial_reset=true");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(all_close(dataset("q_rotated/0")[0], golden.at("mhrope_reset/q_rot"), 2e-5));
    EXPECT_TRUE(all_close(dataset("k_rotated/0")[0], golden.at("mhrope_reset/k_rot"), 2e-5));
  }
}

TEST_F(TraceScheme, ModelsRunAndGenerateUnderASchemeAndALayout) {
  const std::string model = "--model '" + golden_path("language/llama-tiny/safetensors-fp32") + "' ";
  const std::string tokens =
      "--tokens " + file("ids.json", R"({"input_ids":[[1,2,3,4,5,6,7,8,9,10,11,12]]})") + " ";
  const std::string layout = "--layout text:2,anyres:2x2+2x2:no-newline,text:2 ";
  ASSERT_EQ(trace(model + tokens + layout + "--scheme id-align --generate 3").exit_code, 0);
  EXPECT_TRUE(all_close(dataset("position_ids").view({-1}),
                        at::tensor({0., 1., 2., 3., 4., 5., 2., 3., 4., 5., 6., 7.}, at::kDouble), 0));
  const at::Tensor aligned = dataset("logits");
  // The same ids, given as position ids.
  const std::string given = "--tokens " + file("given.json", R"({"input_ids":[[1,2,3,4,5,6,7,8,9,10,11,12]],
        "position_ids":[[0,1,2,3,4,5,2,3,4,5,6,7]]})") +
                            " ";
  ASSERT_EQ(trace(model + given).exit_code, 0);
  EXPECT_TRUE(all_close(aligned, dataset("logits"), 1e-6));
  // Three axes: the scheme divides the channels.
  const std::string axes = "--tokens " + file("axes.json", R"({"input_ids":[[1,2,3]],
      "position_ids":[[[0,1,2]],[[0,5,2]],[[0,1,9]]]})") +
                           " ";
  EXPECT_EQ(trace(model + axes).exit_code, 3);
  EXPECT_EQ(trace(model + axes + "--scheme mrope").exit_code, 0);
  EXPECT_EQ(dataset("position_ids").size(0), 3);
}

TEST_F(TraceScheme, RefusalsNameTheFlag) {
  const std::string model = "--model '" + golden_path("language/llama-tiny/safetensors-fp32") + "' ";
  const std::string tokens = "--tokens " + file("ids.json", R"({"input_ids":[[1,2,3]]})") + " ";
  const std::string given =
      "--tokens " + file("given.json", R"({"input_ids":[[1,2,3]],"position_ids":[[0,1,2]]})") + " ";
  const std::pair<std::string, const char*> cases[] = {
      {tokens + "--layout text:3", "--scheme"},
      {tokens + "--scheme vanilla --layout text:4", "3 tokens"},
      {tokens + "--scheme idalign", "did you mean \"id-align\"?"},
      {given + "--scheme dipe", "--layout"},
      {given + "--scheme vanilla --layout text:3", "position_ids"},
      {tokens + "--scheme mrope:sections=1/1/1", "channels"},
      {tokens + "--scheme vanilla --layout text:3 --layout-file x.json", "at most one"},
  };
  for (const auto& [flags, words] : cases) {
    const CommandResult result = trace(model + flags);
    EXPECT_EQ(result.exit_code, 2) << flags << result.err;
    EXPECT_NE(result.err.find(words), std::string::npos) << flags << ": " << result.err;
  }
}

}  // namespace
}  // namespace ropescope
