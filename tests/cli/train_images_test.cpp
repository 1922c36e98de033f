// ropescope train on pictures, as a user runs it.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/io/result_file.h"

#include "tests/support/tiny_llava.h"
#include "tests/support/training_runs.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
namespace fs = std::filesystem;

class TrainImages : public TrainingRuns {
 protected:
  std::string flags(const std::string& output, const std::string& more) const override {
    return "train --model " + model_ + " --data " + data_ + " --image-folder " + synthetic_folder() +
           " --output " + folder_.path(output) + " --threads 1 --batch-size 4 " + more;
  }
  std::map<std::string, at::Tensor> tensors(const std::string& file) const {
    const auto checkpoint = open_checkpoint(folder_.path(file));
    std::map<std::string, at::Tensor> all;
    for (const TensorInfo& info : checkpoint->tensors())
      all[info.name] = checkpoint->take(info.name, at::kFloat);
    return all;
  }
  Json state(const std::string& output, int step) const {
    return read_json_file(folder_.path(output) + "/checkpoints/step-" + std::to_string(step) + "/state.json");
  }

  std::string model_ = make_tiny_llava(folder_);
  std::string data_ = make_conversations(folder_, 24);
};

TEST_F(TrainImages, FinetuningLearnsAndItsCheckpointsAnswer) {
  const CommandResult result =
      run("run",
          "--stage finetune --learning-rate 3e-3 --scheme id-align --max-steps 12 --accumulation 1 "
          "--sampler group_by_modality_length --save-every 6 --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const at::Tensor loss = ResultReader(folder_.path("run/curves.h5")).read("/train/loss");
  EXPECT_LT(loss[11].item<double>(), 0.7 * loss[0].item<double>());
  const Json config = state("run", 12).at("config");
  EXPECT_EQ(config.at("template"), "vicuna_v1");
  EXPECT_EQ(config.at("max-length"), 4096);
  EXPECT_EQ(config.at("group-learning-rates"), "model.vision_tower.*=0.0003");
  const CommandResult answer = run_ropescope(
      "generate --model " + folder_.path("run/checkpoints/step-12") + " --image " + synthetic_folder() +
      "/gray_37x53.png --prompt 'What is this?' --scheme id-align --max-new-tokens 4");
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
}

TEST_F(TrainImages, PretrainingMovesTheProjectorAlone) {
  ASSERT_EQ(run("run", "--stage pretrain --max-steps 2 --accumulation 1").exit_code, 0);
  const Json config = state("run", 2).at("config");
  EXPECT_EQ(config.at("template"), "plain");
  EXPECT_EQ(config.at("learning-rate"), 1e-3);
  const std::map<std::string, at::Tensor> before = golden_tensors(
                                              "vision/llava-next-tiny-clip-llama/model.safetensors"),
                                          after = tensors("run/checkpoints/step-2/model.safetensors");
  EXPECT_TRUE(
      after.at("model.language_model.norm.weight").equal(before.at("language_model.model.norm.weight")));
  EXPECT_TRUE(after.at("model.image_newline").equal(before.at("image_newline")));
  EXPECT_FALSE(after.at("model.multi_modal_projector.linear_1.weight")
                   .equal(before.at("multi_modal_projector.linear_1.weight")));
  // The optimizer knows the projector alone: four parameters, three tensors each.
  EXPECT_EQ(tensors("run/checkpoints/step-2/optimizer.safetensors").size(), 12u);
}

TEST_F(TrainImages, ADecoderAndATowerBecomeAModelStageByStage) {
  const std::string data =
      " --data " + data_ + " --image-folder " + synthetic_folder() + " --threads 1 --max-steps 2 ";
  const CommandResult first =
      run_ropescope("train --stage pretrain --model " + golden_path("language/llama-tiny/safetensors-fp32") +
                    " --vision-tower " + golden_path("vision/clip-vision-tiny") + data + "--output " +
                    folder_.path("stage1"));
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const CommandResult second = run_ropescope(
      "train --stage finetune --model " + folder_.path("stage1/checkpoints/step-2") + data +
      "--scheme id-align --token-cache " + folder_.path("cache") + " --output " + folder_.path("stage2"));
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_TRUE(fs::exists(folder_.path("cache")));
  const CommandResult exported =
      run_ropescope("export --checkpoint " + folder_.path("stage2") + " --output " + folder_.path("model"));
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  const CommandResult answer =
      run_ropescope("generate --model " + folder_.path("model") + " --image " + synthetic_folder() +
                    "/gray_37x53.png --prompt 'What is this?' --max-new-tokens 3");
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
}

TEST_F(TrainImages, Bfloat16LearnsWithFloat32Checkpoints) {
  ASSERT_EQ(run("run", "--max-steps 6 --dtype bfloat16 --learning-rate 3e-3").exit_code, 0);
  const at::Tensor loss = ResultReader(folder_.path("run/curves.h5")).read("/train/loss");
  EXPECT_LT(loss[5].item<double>(), loss[0].item<double>());
  EXPECT_EQ(open_checkpoint(folder_.path("run/checkpoints/step-6"))->find("model.image_newline")->dtype,
            "F32");
  EXPECT_EQ(run("half", "--max-steps 1 --dtype float16").exit_code, 2);
  std::ifstream table(folder_.path("run/curves.csv"));
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(table), {}, '\n'), 7);
}

TEST_F(TrainImages, AnInterruptedRunGoesOnExactly) {
  const std::string how = "--max-steps 60 --save-every 20 --scheme mrope --learning-rate 1e-3 ";
  ASSERT_EQ(run("whole", how).exit_code, 0);
  const CommandResult stopped = run_ropescope(
      flags("stopped", how + "--resume auto >/dev/null 2>&1 & pid=$!; while kill -0 $pid && ! test -d ") +
      folder_.path("stopped") + "/checkpoints; do sleep 0.01; done; sleep 0.2; kill -INT $pid; wait $pid");
  ASSERT_EQ(stopped.exit_code, 130) << stopped.err;
  ASSERT_EQ(run("stopped", how + "--resume auto --workers 0").exit_code, 0);
  expect_same_end("whole", "stopped", 60);
}

TEST_F(TrainImages, BrokenRowsAreNamedInALog) {
  Json rows = read_json_file(data_);
  rows[2]["image"] = "nowhere.png";
  rows[5]["conversations"].erase(1);
  std::ofstream(folder_.path("not_an_image.png")) << "text";
  rows[6]["image"] = folder_.path("not_an_image.png");
  std::ofstream(data_) << rows.dump();
  const CommandResult refused = run("strict", "--max-steps 6 --max-bad-rows 1");
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_NE(refused.err.find("row5"), std::string::npos) << refused.err;
  ASSERT_EQ(run("lenient", "--epochs 1 --max-bad-rows 3").exit_code, 0);
  std::ifstream log(folder_.path("lenient/bad_rows.log"));
  for (const char* name : {"row2\t", "row5\t", "row6\t"}) {
    std::string line;
    std::getline(log, line);
    EXPECT_EQ(line.rfind(name, 0), 0u) << line;
  }
}

TEST_F(TrainImages, ANonFiniteLossEndsWithFiveAndNamesRows) {
  const CommandResult result = run("run", "--max-steps 20 --learning-rate 1e38 --schedule constant");
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_NE(result.err.find("row1"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::is_empty(folder_.path("run/checkpoints")));
}

TEST_F(TrainImages, TheDryRunCounts) {
  const CommandResult result = run("run", "--dry-run --stage finetune --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json plan = Json::parse(result.out);
  EXPECT_EQ(plan.at("rows"), 24);
  EXPECT_GE(plan.at("images"), 20);
  EXPECT_EQ(plan.at("steps"), 3);
  EXPECT_FALSE(fs::exists(folder_.path("run")));
}

TEST_F(TrainImages, WhatDoesNotFitIsRefused) {
  EXPECT_EQ(run("run", "--stage everything").exit_code, 2);
  EXPECT_EQ(run("run", "--image-move never").exit_code, 2);
  const CommandResult blind =
      run_ropescope("train --stage pretrain --model " + golden_path("language/llama-tiny/safetensors-fp32") +
                    " --data " + data_ + " --output " + folder_.path("run"));
  EXPECT_EQ(blind.exit_code, 2) << blind.err;
}

}  // namespace
}  // namespace ropescope
