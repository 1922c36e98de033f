// ropescope train and export on the vision-language families, as a user runs them.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <ATen/ops/randn.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/io/result_file.h"
#include "ropescope/weights/safetensors_writer.h"

#include "tests/support/golden_vlm.h"
#include "tests/support/tiny_llava.h"
#include "tests/support/training_runs.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
namespace fs = std::filesystem;

std::string pictures() { return golden_path("vlm/images"); }

std::map<std::string, at::Tensor> tensors_of(const std::string& path) {
  const auto checkpoint = open_checkpoint(path);
  std::map<std::string, at::Tensor> all;
  for (const TensorInfo& info : checkpoint->tensors())
    all[info.name] = checkpoint->take(info.name, at::kFloat).clone();
  return all;
}

std::map<std::string, std::vector<int64_t>> shapes_of(const std::string& path) {
  std::map<std::string, std::vector<int64_t>> all;
  const auto checkpoint = open_checkpoint(path);
  for (const TensorInfo& info : checkpoint->tensors()) all[info.name] = info.shape;
  return all;
}

/// Rows of one picture, of two (as a list, as Qwen's data has them), and of text.
Json picture_rows(int rows) {
  const std::vector<std::string> names = {"cat.png", "cup.png", "small_square.png", "rocket.png"};
  Json all = Json::array();
  for (int i = 0; i < rows; ++i) {
    const auto name = [&](int step) { return names[static_cast<size_t>(i + step) % names.size()]; };
    std::vector<std::string> images;
    if (i % 4 != 3) images.push_back(name(0));
    if (i % 3 == 1 && !images.empty()) images.push_back(name(1));
    all.push_back(conversation_row("row" + std::to_string(i), images, "What is this?",
                                   "It is " + std::to_string(i) + "."));
  }
  return all;
}

class TrainFamilies : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { std::ofstream(data_) << picture_rows(12).dump(); }

  std::string model() const { return golden_path("vlm/" + GetParam()); }
  CommandResult train(const std::string& output, const std::string& more,
                      const std::string& model = "") const {
    return run_ropescope("train --model " + (model.empty() ? this->model() : model) + " --data " + data_ +
                         " --image-folder " + pictures() + " --output " + folder_.path(output) +
                         " --threads 1 " +
                         (more.find("--batch-size") == std::string::npos ? "--batch-size 4 " : "") + more);
  }
  at::Tensor losses(const std::string& output) const {
    return ResultReader(folder_.path(output) + "/curves.h5").read("/train/loss");
  }
  std::string step(const std::string& output, int number) const {
    return folder_.path(output) + "/checkpoints/step-" + std::to_string(number);
  }

  TemporaryFolder folder_;
  std::string data_ = folder_.path("rows.json");
};

INSTANTIATE_TEST_SUITE_P(Families, TrainFamilies,
                         ::testing::Values("qwen2_5_vl", "qwen2_vl", "qwen3_vl", "internvl",
                                           "llava_onevision", "idefics3", "smolvlm", "llava", "glm4v"),
                         [](const auto& instance) { return instance.param; });

TEST_P(TrainFamilies, LearnResumeBitForBitAndExportAsTheyCame) {
  const std::string how = "--learning-rate 3e-3 --max-steps 8 --accumulation 1 --save-every 4 ";
  const CommandResult whole = train("whole", how);
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  const at::Tensor loss = losses("whole");
  EXPECT_LT(loss[7].item<double>(), 0.9 * loss[0].item<double>());
  // From its middle on, another process comes to the same bits.
  fs::create_directories(folder_.path("again/checkpoints"));
  fs::copy(step("whole", 4), step("again", 4), fs::copy_options::recursive);
  const CommandResult resumed = train("again", how + "--resume auto --workers 0");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  expect_same_files(step("whole", 8), step("again", 8), {"model.safetensors", "optimizer.safetensors"});
  // A step of a run is a model, and so is what is exported of it: the same one, under the names of the original.
  const CommandResult exported =
      run_ropescope("export --checkpoint " + folder_.path("whole") + " --output " + folder_.path("model"));
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  EXPECT_EQ(shapes_of(folder_.path("model")), shapes_of(model()));
  const auto before = tensors_of(model()), after = tensors_of(folder_.path("model"));
  size_t moved = 0;
  for (const auto& [name, tensor] : after) moved += tensor.equal(before.at(name)) ? 0 : 1;
  EXPECT_GT(moved, 30u);
  for (const char* file : {"processor_config.json", "tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_EQ(read_file(folder_.path("model") + "/" + file), read_file(model() + "/" + file)) << file;
  }
  Json config = read_json_file(folder_.path("model") + "/config.json"),
       original = read_json_file(model() + "/config.json");
  for (const char* key : {"dtype", "torch_dtype", "ropescope"}) {
    config.erase(key);
    original.erase(key);
  }
  EXPECT_EQ(config, original);
  std::vector<std::string> traces;
  for (const std::string& path : {step("whole", 8), folder_.path("model")}) {
    const std::string output = folder_.path("trace" + std::to_string(traces.size()) + ".h5");
    const CommandResult traced =
        run_ropescope("trace --model " + path + " --image " + pictures() + "/cat.png," + pictures() +
                      "/small_square.png --text '<image> or <image>' --threads 1 --output " + output);
    ASSERT_EQ(traced.exit_code, 0) << traced.err;
    traces.push_back(output);
  }
  const CommandResult compared =
      run_ropescope("compare " + traces[0] + " " + traces[1] + " --rtol 0 --atol 0");
  EXPECT_EQ(compared.exit_code, 0) << compared.out << compared.err;
}

TEST_P(TrainFamilies, PretrainingMovesTheConnectorAlone) {
  const CommandResult result = train("run", "--stage pretrain --max-steps 2 --accumulation 1");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(run_ropescope("export --checkpoint " + folder_.path("run") + " --output " + folder_.path("model"))
                .exit_code,
            0);
  const auto before = tensors_of(model()), after = tensors_of(folder_.path("model"));
  size_t moved = 0;
  for (const auto& [name, tensor] : after) {
    const bool connector =
        name.find("projector") != std::string::npos || name.find("merger") != std::string::npos ||
        name.find("connector") != std::string::npos || name.find("downsample") != std::string::npos;
    EXPECT_EQ(!tensor.equal(before.at(name)), connector) << name;
    moved += connector ? 1 : 0;
  }
  EXPECT_GE(moved, 1u);
}

TEST_P(TrainFamilies, ABrokenPictureIsABadRow) {
  Json rows = picture_rows(12);
  std::ofstream(folder_.path("broken.png")) << "no picture";
  rows[2]["image"] = folder_.path("broken.png");
  rows[4]["image"] = Json::array({"cat.png"});  // and two marks
  std::ofstream(data_) << rows.dump();
  EXPECT_EQ(train("strict", "--epochs 1").exit_code, 3);
  const CommandResult lenient = train("lenient", "--epochs 1 --max-bad-rows 2");
  ASSERT_EQ(lenient.exit_code, 0) << lenient.err;
  const std::string log = read_file(folder_.path("lenient/bad_rows.log"));
  EXPECT_NE(log.find("row2\t"), std::string::npos) << log;
  EXPECT_NE(log.find("row4\t"), std::string::npos) << log;
}

TEST_P(TrainFamilies, ThePlanCountsTheTower) {
  const CommandResult result = train("run", "--dry-run --json --max-steps 4");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json plan = Json::parse(result.out);
  EXPECT_EQ(plan.at("rows"), 12);
  int64_t numbers = 0;
  for (const auto& [name, shape] : shapes_of(model())) {
    int64_t count = 1;
    for (const int64_t side : shape) count *= side;
    numbers += count;
  }
  const Json& memory = plan.at("memory").at("ranks")[0].at("predicted");
  const auto held = memory.at("parameters_bytes").get<int64_t>();
  EXPECT_LE(held, 4 * numbers);
  EXPECT_GE(held, 4 * numbers * 85 / 100) << "all but what no feature needs";
  // A tower that learns keeps its layers' activations.
  const Json frozen = Json::parse(train("run", "--dry-run --json --max-steps 4 --stage pretrain").out);
  EXPECT_LT(frozen.at("memory").at("ranks")[0].at("predicted").at("activations_bytes_at_most").get<int64_t>(),
            memory.at("activations_bytes_at_most").get<int64_t>());
}

class TrainSchemes : public TrainFamilies {};

INSTANTIATE_TEST_SUITE_P(Schemes, TrainSchemes,
                         ::testing::Values("internvl", "llava_onevision", "qwen2_5_vl", "qwen3_vl"),
                         [](const auto& instance) { return instance.param; });

TEST_P(TrainSchemes, LearnAndAreTaggedInTheExport) {
  const bool tiled = GetParam() == "internvl" || GetParam() == "llava_onevision";
  const std::string scheme = tiled ? "id-align" : "dipe";
  const CommandResult result = train(
      "run",
      "--learning-rate 3e-3 --max-steps 8 --accumulation 1 --sampler sequential --batch-size 12 --scheme " +
          scheme);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const at::Tensor loss = losses("run");
  EXPECT_LT(loss[7].item<double>(), 0.9 * loss[0].item<double>());
  ASSERT_EQ(
      train("own", "--learning-rate 3e-3 --max-steps 1 --accumulation 1 --sampler sequential --batch-size 12")
          .exit_code,
      0);
  EXPECT_NE(losses("own")[0].item<double>(), loss[0].item<double>()) << "the scheme is another encoding";
  ASSERT_EQ(run_ropescope("export --checkpoint " + folder_.path("run") + " --output " + folder_.path("model"))
                .exit_code,
            0);
  EXPECT_EQ(read_json_file(folder_.path("model") + "/config.json").at("ropescope").at("scheme"), scheme);
}

class TrainOwnTemplate : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
};

// ChatML as LLaVA's code writes it, in a checkpoint's own words: ids and labels are those of --template qwen.
TEST_F(TrainOwnTemplate, TeachesTheSameAsTheNamedTemplateThatItSpellsOut) {
  const std::string model = folder_.path("model"), data = folder_.path("rows.json");
  fs::copy(golden_path("vlm/internvl"), model, fs::copy_options::recursive);
  std::ofstream(model + "/chat_template.jinja")
      << "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
         "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
         "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
         "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
         "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  Json rows = picture_rows(8);
  rows[0]["conversations"].push_back({{"from", "human"}, {"value", "And then?"}});
  rows[0]["conversations"].push_back({{"from", "gpt"}, {"value", "No more."}});
  std::ofstream(data) << rows.dump();
  for (const std::string chat : {"", "--template qwen"}) {
    const CommandResult result =
        run_ropescope("train --model " + model + " --data " + data + " --image-folder " + pictures() +
                      " --threads 1 --max-steps 2 --batch-size 4 " + chat + " --output " +
                      folder_.path(chat.empty() ? "own" : "named"));
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  EXPECT_EQ(read_json_file(folder_.path("own/checkpoints/step-2/state.json")).at("config").at("template"),
            "own");
  expect_same_files(folder_.path("own/checkpoints/step-2"), folder_.path("named/checkpoints/step-2"),
                    {"model.safetensors"});
  EXPECT_EQ(
      run_ropescope("train --model " + golden_path("vlm/internvl") + " --data " + data + " --image-folder " +
                    pictures() + " --max-steps 1 --template own --output " + folder_.path("without"))
          .exit_code,
      2);
}

/// A Qwen2 language model and a SigLIP 2 NaFlex tower that have never met.
class TrainNaflex : public ::testing::Test {
 protected:
  TrainNaflex() {
    const std::string source = golden_path("vlm/qwen2_5_vl");
    fs::create_directories(text_);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
      fs::copy_file(source + "/" + file, text_ + "/" + file);
    Json config = read_json_file(source + "/config.json").at("text_config");
    config["model_type"] = "qwen2";
    config["architectures"] = {"Qwen2ForCausalLM"};
    config["tie_word_embeddings"] = false;
    config["rope_theta"] = 1e6;
    config.erase("rope_parameters");
    std::ofstream(text_ + "/config.json") << config.dump();
    std::map<std::string, at::Tensor> decoder;
    for (auto& [name, tensor] : tensors_of(source)) {
      if (name.rfind("visual.", 0) != 0) decoder[name] = tensor;
    }
    write_safetensors_file(text_ + "/model.safetensors", decoder);
    fs::create_directories(tower_);
    std::ofstream(tower_ + "/config.json") << Json{
        {"model_type", "siglip2"},
        {"vision_config",
         {{"model_type", "siglip2_vision_model"},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"num_channels", 3},
          {"num_patches", 16},
          {"patch_size", 4}}}}.dump();
    std::map<std::string, at::Tensor> eyes;
    const auto add = [&](const std::string& name, std::vector<int64_t> shape, double around = 0) {
      eyes["vision_model." + name] = at::randn(shape).mul(0.2).add(around);
    };
    add("embeddings.patch_embedding.weight", {32, 48});
    add("embeddings.patch_embedding.bias", {32});
    add("embeddings.position_embedding.weight", {16, 32});
    for (const std::string layer : {"encoder.layers.0.", "encoder.layers.1."}) {
      for (const char* norm : {"layer_norm1", "layer_norm2"}) {
        add(layer + norm + ".weight", {32}, 1);
        add(layer + norm + ".bias", {32});
      }
      for (const char* map : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
        add(layer + "self_attn." + map + ".weight", {32, 32});
        add(layer + "self_attn." + map + ".bias", {32});
      }
      add(layer + "mlp.fc1.weight", {48, 32});
      add(layer + "mlp.fc1.bias", {48});
      add(layer + "mlp.fc2.weight", {32, 48});
      add(layer + "mlp.fc2.bias", {32});
    }
    add("post_layernorm.weight", {32}, 1);
    add("post_layernorm.bias", {32});
    write_safetensors_file(tower_ + "/model.safetensors", eyes);
    std::ofstream(data_) << picture_rows(8).dump();
  }

  std::string common() const {
    return " --data " + data_ + " --image-folder " + pictures() +
           " --threads 1 --batch-size 4 --accumulation 1 ";
  }

  TemporaryFolder folder_;
  std::string text_ = folder_.path("text"), tower_ = folder_.path("tower"), data_ = folder_.path("rows.json");
};

TEST_F(TrainNaflex, TwoStagesMakeAModelThatAnswers) {
  const CommandResult first =
      run_ropescope("train --stage pretrain --model " + text_ + " --vision-tower " + tower_ + common() +
                    "--max-steps 3 --learning-rate 3e-3 --output " + folder_.path("stage1"));
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const std::string start = folder_.path("stage1/checkpoints/step-3");
  const Json config = read_json_file(start + "/config.json");
  EXPECT_EQ(config.at("model_type"), "qwen2_5_vl");
  EXPECT_EQ(config.at("text_config").at("rope_scaling").at("mrope_section"), Json({2, 3, 3}));
  const DecoderConfig decoder = read_decoder_config(start);
  ASSERT_TRUE(decoder.rope_axes);
  EXPECT_FALSE(decoder.rope_axes->interleaved);
  // The tower is as it came: both frames of a patch see what one saw, row, column, channel in another order.
  const auto made = tensors_of(start), given = tensors_of(tower_);
  const at::Tensor patches = made.at("model.visual.embeddings.patch_embedding.weight");
  EXPECT_EQ(patches.sizes(), (std::vector<int64_t>{32, 3, 2, 4, 4}));
  EXPECT_TRUE(patches.sum(2)
                  .permute({0, 2, 3, 1})
                  .reshape({32, 48})
                  .equal(given.at("vision_model.embeddings.patch_embedding.weight")));
  EXPECT_TRUE(made.at("model.visual.position_embedding.weight")
                  .equal(given.at("vision_model.embeddings.position_embedding.weight")));
  EXPECT_TRUE(made.at("model.visual.encoder.layers.1.mlp.fc2.weight")
                  .equal(given.at("vision_model.encoder.layers.1.mlp.fc2.weight")));
  EXPECT_TRUE(made.at("model.language_model.norm.weight").equal(tensors_of(text_).at("model.norm.weight")));
  EXPECT_EQ(made.count("model.visual.adaptor.mlp.0.weight"), 1u);
  // Paper 003's second stage: connector and language model learn under DIPE, the tower stays.
  const CommandResult second = run_ropescope(
      "train --stage finetune --model " + start + common() +
      "--max-steps 6 --learning-rate 3e-3 --scheme dipe --freeze 'model.visual.encoder.*,model.visual.embeddings.*,model.visual.position_embedding.*' "
      "--output " +
      folder_.path("stage2"));
  ASSERT_EQ(second.exit_code, 0) << second.err;
  const at::Tensor loss = ResultReader(folder_.path("stage2/curves.h5")).read("/train/loss");
  EXPECT_LT(loss[5].item<double>(), loss[0].item<double>());
  ASSERT_EQ(
      run_ropescope("export --checkpoint " + folder_.path("stage2") + " --output " + folder_.path("model"))
          .exit_code,
      0);
  const auto last = tensors_of(folder_.path("model"));
  EXPECT_TRUE(last.at("model.visual.encoder.layers.1.mlp.fc2.weight")
                  .equal(made.at("model.visual.encoder.layers.1.mlp.fc2.weight")));
  EXPECT_FALSE(
      last.at("model.visual.adaptor.mlp.0.weight").equal(made.at("model.visual.adaptor.mlp.0.weight")));
  EXPECT_FALSE(
      last.at("model.language_model.norm.weight").equal(made.at("model.language_model.norm.weight")));
  const CommandResult answer =
      run_ropescope("generate --model " + folder_.path("model") + " --image " + pictures() +
                    "/cat.png --prompt 'What is this?' --template qwen --max-new-tokens 3");
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
}

TEST_F(TrainNaflex, ItsCheckpointIsTheModelThatWasMade) {
  // Nothing learns: the second run reads from files what the first one made, and must see the same.
  const std::string how = common() + "--stage pretrain --max-steps 2 --learning-rate 0 --output ";
  const CommandResult first =
      run_ropescope("train --model " + text_ + " --vision-tower " + tower_ + how + folder_.path("made"));
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const std::string start = folder_.path("made/checkpoints/step-2");
  const CommandResult second = run_ropescope("train --model " + start + how + folder_.path("read"));
  ASSERT_EQ(second.exit_code, 0) << second.err;
  const at::Tensor made = ResultReader(folder_.path("made/curves.h5")).read("/train/loss");
  EXPECT_TRUE(made.equal(ResultReader(folder_.path("read/curves.h5")).read("/train/loss")));
  expect_same_files(start, folder_.path("read/checkpoints/step-2"),
                    {"model.safetensors", "config.json", "preprocessor_config.json"});
}

TEST_F(TrainNaflex, OtherLanguageModelsAreRefused) {
  const CommandResult llama =
      run_ropescope("train --stage pretrain --model " + golden_path("language/llama-tiny/safetensors-fp32") +
                    " --vision-tower " + tower_ + common() + "--max-steps 1 --output " + folder_.path("run"));
  EXPECT_NE(llama.exit_code, 0);
  EXPECT_NE(llama.err.find("Qwen2.5"), std::string::npos) << llama.err;
}

}  // namespace
}  // namespace ropescope
