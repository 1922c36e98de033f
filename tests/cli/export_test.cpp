// ropescope export: names and files as transformers expects them (bench/export compares logits).
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/json.h"

#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
namespace fs = std::filesystem;

class ExportCommand : public ::testing::Test {
 protected:
  CommandResult run(const std::string& checkpoint, const std::string& more = "") const {
    return run_ropescope("export --checkpoint " + checkpoint + " --output " + folder_.path("out") + " " +
                         more);
  }
  Json json(const std::string& file) const { return read_json_file(folder_.path("out") + "/" + file); }
  /// Names and shapes.
  std::map<std::string, std::vector<int64_t>> tensors(const std::string& path) const {
    std::map<std::string, std::vector<int64_t>> all;
    const auto checkpoint = open_checkpoint(path);
    for (const TensorInfo& info : checkpoint->tensors()) all[info.name] = info.shape;
    return all;
  }
  at::Tensor tensor(const std::string& path, const std::string& name) const {
    return open_checkpoint(path)->take(name, at::kFloat).clone();
  }

  TemporaryFolder folder_;
};

TEST_F(ExportCommand, ATrainedLlavaHasThePublicNamesAndAllItsTensors) {
  const std::string model = make_tiny_llava(folder_), data = make_conversations(folder_, 8);
  const CommandResult trained =
      run_ropescope("train --model " + model + " --data " + data + " --image-folder " + synthetic_folder() +
                    " --scheme id-align --max-steps 2 --threads 1 --output " + folder_.path("run"));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const CommandResult result = run(folder_.path("run"), "--json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(Json::parse(result.out).at("step"), 2);
  EXPECT_EQ(tensors(folder_.path("out")), tensors(model)) << "names and shapes as they came";
  EXPECT_EQ(json("config.json").at("model_type"), "llava_next");
  EXPECT_EQ(json("config.json").at("ropescope").at("scheme"), "id-align");
  EXPECT_EQ(json("preprocessor_config.json").at("image_processor_type"), "LlavaNextImageProcessor");
  EXPECT_EQ(json("preprocessor_config.json").at("size").at("shortest_edge"), 56);
  EXPECT_EQ(json("processor_config.json").at("patch_size"), 14);
  EXPECT_TRUE(fs::exists(folder_.path("out") + "/tokenizer.model"));
  const std::string step = folder_.path("run/checkpoints/step-2");
  EXPECT_TRUE(tensor(folder_.path("out"), "language_model.model.norm.weight")
                  .equal(tensor(step, "model.language_model.norm.weight")));
  EXPECT_EQ(run(step).exit_code, 2) << "it is there already";
  EXPECT_EQ(run(step, "--force --dtype bfloat16").exit_code, 0);
  EXPECT_EQ(json("config.json").at("torch_dtype"), "bfloat16");
  EXPECT_EQ(open_checkpoint(folder_.path("out"))->find("image_newline")->dtype, "BF16");
}

TEST_F(ExportCommand, AnOriginalLlavaBecomesTheHuggingFaceForm) {
  const std::string original = golden_path("vision/llava-next-tiny-clip-llama/original");
  ASSERT_EQ(run(original).exit_code, 0);
  const Json config = json("config.json"),
             golden = golden_json("vision/llava-next-tiny-clip-llama/config.json");
  EXPECT_EQ(config.at("model_type"), "llava_next");
  EXPECT_EQ(config.at("image_token_index"), 180) << "the first id that no token has";
  EXPECT_EQ(config.at("vision_feature_layer"), -2);
  EXPECT_EQ(config.at("vision_feature_select_strategy"), "default");
  EXPECT_EQ(config.at("text_config").at("vocab_size"), 192);
  EXPECT_FALSE(config.at("text_config").contains("mm_vision_tower"));
  EXPECT_EQ(config.at("vision_config").at("hidden_act"), "quick_gelu");
  // (height, width) where the original has (width, height)
  EXPECT_EQ(config.at("image_grid_pinpoints")[0], Json({112, 56}));
  const auto found = tensors(folder_.path("out"));
  for (const auto& [name, shape] : tensors(golden_path("vision/llava-next-tiny-clip-llama"))) {
    ASSERT_EQ(found.count(name), 1u) << name;
    EXPECT_EQ(found.at(name), shape) << name;
  }
  const at::Tensor head = tensor(folder_.path("out"), "language_model.lm_head.weight");
  EXPECT_TRUE(all_close(head[185], head.narrow(0, 0, 180).mean(0), 1e-6));
  // It computes what it did: the same answer to the same prompt.
  const CommandResult seen = run_ropescope("inspect --model " + folder_.path("out"));
  EXPECT_EQ(seen.exit_code, 0) << seen.err;
}

TEST_F(ExportCommand, ATextModelKeepsItsNames) {
  const std::string model = golden_path("language/qwen2-tiny/safetensors-bf16-tied");
  ASSERT_EQ(run(model).exit_code, 0);
  EXPECT_EQ(tensors(folder_.path("out")), tensors(model));
  EXPECT_EQ(json("config.json").at("torch_dtype"), "float32");
  EXPECT_TRUE(fs::exists(folder_.path("out") + "/tokenizer.json"));
}

TEST_F(ExportCommand, WhatIsNoModelIsRefused) {
  fs::create_directories(folder_.path("empty"));
  EXPECT_EQ(run(folder_.path("empty")).exit_code, 3);
  EXPECT_EQ(run(folder_.path("nowhere")).exit_code, 3);
  EXPECT_FALSE(fs::exists(folder_.path("out")));
}

}  // namespace
}  // namespace ropescope
