// ropescope train --lora and export --adapter: what is kept, what PEFT makes of it, and what is refused.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/io/result_file.h"

#include "tests/support/python.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_llava.h"
#include "tests/support/training_runs.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;
namespace fs = std::filesystem;

class TrainLora : public TrainingRuns {
 protected:
  TrainLora() { write_texts(); }
  std::string flags(const std::string& output, const std::string& more) const override {
    return "train --model " + model_ + " --data " + folder_.path("texts.jsonl") +
           " --max-length 24 --batch-size 2 --threads 1 --output " + folder_.path(output) +
           (more.find("--learning-rate") == std::string::npos ? " --learning-rate 1e-2 " : " ") + more;
  }
  std::map<std::string, at::Tensor> tensors(const std::string& file) const {
    const auto checkpoint = open_checkpoint(file);
    std::map<std::string, at::Tensor> all;
    for (const TensorInfo& info : checkpoint->tensors()) {
      all[info.name] = checkpoint->take(info.name, at::kFloat).clone();
    }
    return all;
  }
  std::string step(const std::string& output, int number) const {
    return folder_.path(output) + "/checkpoints/step-" + std::to_string(number);
  }
  void expect_same_adapters(const std::string& one, const std::string& other, int number) const {
    expect_same_files(step(one, number), step(other, number),
                      {"adapter_model.safetensors", "optimizer.safetensors", "adapter_config.json"});
  }
  /// Logits [1, 24, V] of ids 1..24.
  at::Tensor logits(const std::string& model) const {
    Json ids = Json::array();
    for (int i = 1; i <= 24; ++i) ids.push_back(i);
    folder_.write("ids.json", Json{{"input_ids", {ids}}}.dump());
    const std::string out = folder_.path("trace.h5");
    const CommandResult traced = run_ropescope("trace --force --threads 1 --model " + model + " --tokens " +
                                               folder_.path("ids.json") + " --dump logits --output " + out);
    EXPECT_EQ(traced.exit_code, 0) << traced.err;
    return ResultReader(out).read("/trace/logits");
  }

  const std::string model_ = golden_path("language/llama-tiny/safetensors-fp32");
  const std::string lora_ = "--lora rank=4,targets=q_proj,k_proj,down_proj ";
};

TEST_F(TrainLora, LearnsKeepsAdaptersAloneAndGoesOnExactly) {
  ASSERT_EQ(run("run", lora_ + "--max-steps 30 --save-every 10").exit_code, 0);
  const at::Tensor loss = ResultReader(folder_.path("run/curves.h5")).read("/train/loss");
  EXPECT_LT(loss[29].item<double>(), loss[0].item<double>() - 0.3);
  EXPECT_FALSE(fs::exists(step("run", 30) + "/model.safetensors"));
  EXPECT_FALSE(fs::exists(step("run", 30) + "/config.json"));
  EXPECT_TRUE(fs::exists(step("run", 30) + "/tokenizer.model"));
  for (const auto& [name, tensor] : tensors(step("run", 30) + "/adapter_model.safetensors")) {
    EXPECT_THAT(name, StartsWith("base_model.model.model.layers."));
    EXPECT_TRUE(name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight")) << name;
  }
  for (const auto& [name, tensor] : tensors(step("run", 30) + "/optimizer.safetensors")) {
    EXPECT_THAT(name, HasSubstr(".lora_"));
  }
  ASSERT_EQ(run("parts", lora_ + "--max-steps 30 --save-every 10").exit_code, 0);
  fs::remove_all(step("parts", 30));
  fs::remove_all(step("parts", 20));
  ASSERT_EQ(run("parts", lora_ + "--max-steps 30 --save-every 10 --resume auto").exit_code, 0);
  expect_same_adapters("run", "parts", 30);
  ASSERT_EQ(run("again", lora_ + "--max-steps 30 --save-every 10 --checkpoint-layers").exit_code, 0);
  expect_same_adapters("run", "again", 30);
  const CommandResult model = run_ropescope("inspect --model " + folder_.path("run"));
  EXPECT_EQ(model.exit_code, 3);
  EXPECT_THAT(model.err, HasSubstr("found adapters for one. Try: ropescope export"));
}

TEST_F(TrainLora, ExportIsTheModelThatPeftMakesOfIt) {
  ASSERT_EQ(run("run", lora_ + "--scheme id-align --max-steps 20").exit_code, 0);
  const std::string merged = folder_.path("merged"), of_peft = folder_.path("peft.safetensors");
  const CommandResult exported =
      run_ropescope("export --json --checkpoint " + folder_.path("run") + " --output " + merged);
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  EXPECT_EQ(Json::parse(exported.out).at("adapted"), 9);
  EXPECT_EQ(Json::parse(exported.out).at("step"), 20);
  EXPECT_EQ(read_json_file(merged + "/config.json").at("ropescope").at("scheme"), "id-align");
  const auto before = tensors(model_ + "/model.safetensors"), after = tensors(merged + "/model.safetensors");
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, tensor] : before) {
    const bool adapted = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight") ||
                         name.ends_with("down_proj.weight");
    EXPECT_EQ(tensor.equal(after.at(name)), !adapted) << name;
  }
  // The same beside the model named by hand, and in another type.
  ASSERT_EQ(run_ropescope("export --checkpoint " + model_ + " --adapter " + step("run", 20) + " --output " +
                          folder_.path("hand"))
                .exit_code,
            0);
  expect_same_files(merged, folder_.path("hand"), {"model.safetensors", "config.json"});
  ASSERT_EQ(run_ropescope("export --dtype bfloat16 --checkpoint " + folder_.path("run") + " --output " +
                          folder_.path("half"))
                .exit_code,
            0);
  const std::string name = "model.layers.1.self_attn.q_proj.weight";
  EXPECT_TRUE(tensors(folder_.path("half") + "/model.safetensors")
                  .at(name)
                  .equal(after.at(name).to(at::kBFloat16).to(at::kFloat)));
  if (!run_python("cli/train_lora_peft.py", "logits " + model_ + " " + step("run", 20) + " " + of_peft)) {
    GTEST_SKIP() << "no Python with peft, transformers and torch";
  }
  const at::Tensor theirs = tensors(of_peft).at("logits"), ours = logits(merged);
  EXPECT_TRUE(all_close(ours, theirs, 2e-5 * theirs.abs().max().item<double>()));
}

TEST_F(TrainLora, TakesAdaptersThatPeftMade) {
  const std::string theirs = folder_.path("theirs"), expected = folder_.path("logits.safetensors");
  if (!run_python("cli/train_lora_peft.py", "make " + model_ + " " + theirs)) {
    GTEST_SKIP() << "no Python with peft, transformers and torch";
  }
  ASSERT_TRUE(run_python("cli/train_lora_peft.py", "logits " + model_ + " " + theirs + " " + expected));
  const CommandResult exported = run_ropescope("export --checkpoint " + model_ + " --adapter " + theirs +
                                               " --output " + folder_.path("merged"));
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  const at::Tensor logits_there = tensors(expected).at("logits");
  const double tolerance = 2e-5 * logits_there.abs().max().item<double>();
  EXPECT_TRUE(all_close(logits(folder_.path("merged")), logits_there, tolerance));
  // Training begins with them: at rate 0 they stay what they were.
  const CommandResult trained = run("run", "--adapter " + theirs + " --learning-rate 0 --max-steps 1");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const auto one = tensors(theirs + "/adapter_model.safetensors"),
             other = tensors(step("run", 1) + "/adapter_model.safetensors");
  ASSERT_EQ(one.size(), other.size());
  for (const auto& [name, tensor] : one) EXPECT_TRUE(tensor.equal(other.at(name))) << name;
  ASSERT_TRUE(run_python("cli/train_lora_peft.py", "logits " + model_ + " " + step("run", 1) + " " +
                                                       folder_.path("again.safetensors")));
  EXPECT_TRUE(all_close(tensors(folder_.path("again.safetensors")).at("logits"), logits_there, tolerance));
}

TEST_F(TrainLora, ASeeingModelTrainsItsProjectorBeside) {
  const std::string llava = make_tiny_llava(folder_), data = make_conversations(folder_, 8);
  const CommandResult trained =
      run_ropescope("train --model " + llava + " --data " + data + " --image-folder " + synthetic_folder() +
                    " --batch-size 2 --threads 1 --max-steps 3 --lora rank=2,targets=q_proj --train "
                    "'model.multi_modal_projector.*' --output " +
                    folder_.path("run"));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const CommandResult exported =
      run_ropescope("export --checkpoint " + folder_.path("run") + " --output " + folder_.path("merged"));
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  const auto before = tensors(llava + "/model.safetensors"),
             after = tensors(folder_.path("merged") + "/model.safetensors");
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, tensor] : before) {
    const bool in_tower = name.find("vision_tower") != std::string::npos;
    const bool learns = (name.ends_with("q_proj.weight") && !in_tower) ||
                        name.find("multi_modal_projector") != std::string::npos;
    EXPECT_EQ(tensor.equal(after.at(name)), !learns) << name;
  }
  if (!run_python("cli/train_lora_peft.py", "llava " + llava + " " + step("run", 3))) {
    GTEST_SKIP() << "no Python with peft, transformers and torch";
  }
}

TEST_F(TrainLora, SeveralRanksTrainTheSame) {
  const std::string more = lora_ + "--accumulation 2 --max-steps 6";
  ASSERT_EQ(run("one", more).exit_code, 0);
  const auto alone = tensors(step("one", 6) + "/adapter_model.safetensors");
  for (const std::string shard : {"none", "optimizer", "gradients"}) {
    std::vector<std::string> command = {ropescope_path()};
    std::stringstream words(flags(shard, more + " --shard " + shard));
    for (std::string word; words >> word;) command.push_back(word);
    RankProcesses ranks(2, command);
    for (const int rank : {0, 1}) ASSERT_EQ(ranks.wait(rank, 60).exit_code, 0) << ranks.text(rank);
    for (const auto& [name, tensor] : tensors(step(shard, 6) + "/adapter_model.safetensors")) {
      EXPECT_TRUE(all_close(tensor, alone.at(name), 1e-4)) << shard << " " << name;
    }
  }
}

TEST_F(TrainLora, RefusesByNameWhatItCannotDo) {
  const auto refused = [&](const CommandResult& result, int code, const std::string& said) {
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(said));
  };
  refused(run("run", "--max-steps 1 --lora rank=4,targets=nothing"), 2, "targets: expected some of");
  refused(run("run", "--max-steps 1 --shard parameters " + lora_), 2, "--shard parameters");
  refused(run("run", "--max-steps 1 --adapter " + folder_.path("none")), 3, "expected adapter_config.json");
  ASSERT_EQ(run("run", "--max-steps 1 " + lora_).exit_code, 0);
  refused(run("run", "--max-steps 1 --resume auto --lora rank=8"), 2, "lora: ");
  // Another model of the same shapes.
  const fs::path other = folder_.path("other");
  fs::copy(model_, other);
  fs::remove(other / "model.safetensors");
  auto moved = tensors(model_ + "/model.safetensors");
  moved.at("model.norm.weight").add_(1);
  write_safetensors((other / "model.safetensors").string(), moved);
  const std::string out = " --output " + folder_.path("merged");
  refused(run_ropescope("export --checkpoint " + other.string() + " --adapter " + folder_.path("run") + out),
          3, "as their SHA-256 say");
  refused(
      run_ropescope("export --checkpoint " + folder_.path("run") + " --adapter " + folder_.path("run") + out),
      2, "expected a model beside --adapter");
  EXPECT_FALSE(fs::exists(folder_.path("merged")));
}

TEST_F(TrainLora, AGgufFileIsAModelToo) {
  const std::string gguf = golden_path("language/llama-tiny/gguf/llama-tiny-F32.gguf");
  const CommandResult trained =
      run_ropescope("train --model " + gguf + " --data " + folder_.path("texts.jsonl") +
                    " --max-length 24 --batch-size 2 --threads 1 --max-steps 2 " + lora_ + "--output " +
                    folder_.path("run"));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const CommandResult exported =
      run_ropescope("export --checkpoint " + folder_.path("run") + " --output " + folder_.path("merged"));
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  const auto after = tensors(folder_.path("merged") + "/model.safetensors");
  const auto before = tensors(gguf);
  EXPECT_TRUE(after.at("model.norm.weight").equal(before.at("model.norm.weight")));
  EXPECT_FALSE(after.at("model.layers.0.self_attn.q_proj.weight")
                   .equal(before.at("model.layers.0.self_attn.q_proj.weight")));
  EXPECT_EQ(logits(folder_.path("merged")).size(1), 24);
}

}  // namespace
}  // namespace ropescope
