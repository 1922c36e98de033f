// ropescope inspect, as a user runs it.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/golden_vlm.h"

namespace ropescope {
namespace {

using testing::CommandResult;
using testing::golden_path;
using testing::golden_tensors;
using ::testing::HasSubstr;
using testing::run_ropescope;
using testing::TemporaryFolder;

const std::string kLlama = "language/llama-tiny/";

CommandResult inspect(const std::string& model, const std::string& flags) {
  return run_ropescope("inspect --model '" + model + "' " + flags);
}

Json inspect_json(const std::string& model, const std::string& flags = "") {
  const CommandResult result = inspect(model, "--json " + flags);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return parse_json(result.out, "stdout");
}

TEST(Inspect, TensorsOfAGgufFileAreThoseOfTheHuggingFaceForm) {
  const TemporaryFolder folder;
  const std::string output = folder.path("tensors.h5");
  const Json json =
      inspect_json(golden_path(kLlama + "gguf/llama-tiny-F16.gguf"), "--tensors all --output " + output);
  const auto truth = golden_tensors(kLlama + "safetensors-fp32/model.safetensors");
  ASSERT_EQ(json.at("tensors").size(), truth.size());
  const ResultReader reader(output);
  for (const Json& tensor : json.at("tensors")) {
    const auto name = tensor.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const at::Tensor& expected = truth.at(name);
    EXPECT_EQ(tensor.at("shape").get<std::vector<int64_t>>(), expected.sizes().vec());
    EXPECT_EQ(tensor.at("dtype"), expected.dim() == 1 ? "F32" : "F16");
    EXPECT_TRUE(at::equal(reader.read("/tensors/" + name), expected));
  }
}

TEST(Inspect, ChosenTensorsOnly) {
  const TemporaryFolder folder;
  const std::string output = folder.path("one.h5");
  const std::string model = golden_path(kLlama + "safetensors-sharded-bf16");
  const CommandResult result = inspect(model, "--tensors model.norm.weight --quiet --output " + output);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const ResultReader reader(output);
  EXPECT_TRUE(reader.has("/tensors/model.norm.weight"));
  EXPECT_FALSE(reader.has("/tensors/lm_head.weight"));
  EXPECT_EQ(inspect(model, "--tensors model.norm.weight --output " + output).exit_code, 2) << "overwritten";
  const CommandResult unknown = inspect(model, "--tensors model.norm.weights --force --output " + output);
  EXPECT_EQ(unknown.exit_code, 3);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean \"model.norm.weight\""));
  EXPECT_EQ(inspect(model, "--output " + output).exit_code, 2);
}

TEST(Inspect, DescribesTheDecoder) {
  const std::string model = golden_path("language/qwen2-tiny/gguf/qwen2-tiny-Q8_0.gguf");
  const Json json = inspect_json(model, "--estimate --estimate-tokens 100 --dtype bfloat16");
  EXPECT_EQ(json.at("container"), "gguf");
  EXPECT_EQ(json.at("config").at("model_type"), "qwen2");
  EXPECT_EQ(json.at("config").at("num_key_value_heads"), 2);
  EXPECT_EQ(json.at("config").at("rope").at("rope_theta"), 1e6);
  EXPECT_EQ(json.at("stored_pair_layout"), "half-split");
  EXPECT_EQ(json.at("tokenizer").at("vocab_size"), 352);
  // The estimate counts from the settings what the file has in tensors.
  EXPECT_EQ(json.at("estimate").at("weights_bytes"), 2 * json.at("parameters").get<double>());
  EXPECT_EQ(json.at("estimate").at("kv_cache_bytes_per_1000_tokens"), 1000 * 2 * 2 * 3 * 32);
  EXPECT_EQ(json.at("estimate").at("logits_bytes"), 100 * 4 * 352);
  // A layer and a half, and what a pass holds; every tensor is read.
  const Json& estimate = json.at("estimate");
  double of_layer = 0, stored = 0;
  for (const Json& tensor : json.at("tensors")) {
    stored += tensor.at("bytes").get<double>();
    if (!tensor.at("name").get<std::string>().starts_with("model.layers.1.")) continue;
    double numbers = 1;
    for (const Json& extent : tensor.at("shape")) numbers *= extent.get<double>();
    of_layer += numbers;
  }
  EXPECT_EQ(estimate.at("streamed_bytes"),
            1.5 * 2 * of_layer + estimate.at("activations_bytes").get<double>());
  EXPECT_EQ(estimate.at("read_bytes"), stored);
  EXPECT_GT(estimate.at("pass_seconds").get<double>(), 0);

  const CommandResult text = inspect(golden_path(kLlama + "gguf/llama-tiny-Q4_0.gguf"), "--list --estimate");
  ASSERT_EQ(text.exit_code, 0) << text.err;
  for (const char* part :
       {"llama decoder, 3 layers", "4 query, 4 key/value, head size 16", "theta 10000",
        "side by side, put back", "256 tokens", "Q4_0", "to measure 4096 tokens (--weights streamed)",
        "model.layers.2.mlp.up_proj.weight"}) {
    EXPECT_THAT(text.out, HasSubstr(part));
  }
}

TEST(Inspect, NeedsNoConfig) {
  const Json blocks = inspect_json(golden_path("language/gguf-blocks/blocks.gguf"));
  EXPECT_TRUE(blocks.at("config").is_null());
  EXPECT_EQ(blocks.at("tensors").size(), 15U);
  const Json scalar = inspect_json(golden_path("language/malformed/ok_scalar_and_empty.safetensors"));
  EXPECT_TRUE(scalar.at("config").is_null());
  EXPECT_EQ(scalar.at("tensors").at(1).at("shape"), Json::array());
  // A weight file beside its config.json is described with it.
  const Json beside = inspect_json(golden_path(kLlama + "bin-fp16/pytorch_model.bin"));
  EXPECT_EQ(beside.at("config").at("num_hidden_layers"), 3);
}

TEST(Inspect, OtherArchitecturesAreListedButABrokenConfigIsAnError) {
  const TemporaryFolder folder;
  std::filesystem::copy(golden_path("language/malformed/ok.safetensors"), folder.path("model.safetensors"));
  const auto write_config = [&](const std::string& text) {
    std::ofstream(folder.path("config.json")) << text;
  };
  write_config(R"({"model_type": "clip_vision_model"})");
  const Json other = inspect_json(folder.path(""));
  EXPECT_TRUE(other.at("config").is_null());
  EXPECT_THAT(other.at("config_error").get<std::string>(), HasSubstr("clip_vision_model"));
  write_config(R"({"model_type": "llama", "hidden_size": )");
  const CommandResult broken = inspect(folder.path(""), "");
  EXPECT_EQ(broken.exit_code, 3);
  EXPECT_THAT(broken.err, HasSubstr("config.json"));
}

TEST(Inspect, RefusesDamagedFiles) {
  for (const char* name :
       {"gguf_offset.gguf", "gguf_magic.gguf", "gguf_kv_count.gguf", "st_overlap.safetensors"}) {
    const CommandResult result = inspect(golden_path(std::string("language/malformed/") + name), "--json");
    EXPECT_EQ(result.exit_code, 3) << name;
    EXPECT_THAT(result.err, HasSubstr(name));
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(inspect("/no/such/model", "").exit_code, 3);
  EXPECT_EQ(run_ropescope("inspect").exit_code, 2);
}

TEST(Inspect, ModelsThatSeeAreCountedExactly) {
  for (const std::string name : {"llava-next-tiny-clip-llama", "llava-next-tiny-clip-llama/original",
                                 "llava-next-tiny-siglip-qwen2", "llava-next-tiny-siglip-qwen2/resaved"}) {
    SCOPED_TRACE(name);
    const Json json = inspect_json(golden_path("vision/" + name), "--estimate --dtype float32");
    EXPECT_EQ(json.at("llava").at("form"), name.ends_with("original") ? "original" : "llava-hf");
    EXPECT_EQ(json.at("llava").at("feature_layers"), Json({2}));
    EXPECT_EQ(json.at("vision_config").at("kind"),
              name.find("siglip") == std::string::npos ? "CLIP" : "SigLIP");
    EXPECT_EQ(json.at("config").at("hidden_size"), 64);
    const Json& estimate = json.at("estimate");
    EXPECT_EQ(estimate.at("weights_bytes").get<double>() + estimate.at("vision_weights_bytes").get<double>(),
              4 * json.at("parameters").get<double>());
    EXPECT_GT(estimate.at("total_bytes").get<double>(), 4 * json.at("parameters").get<double>());
  }
}

TEST(Inspect, EveryVisionLanguageFamilyInBothSpellings) {
  for (const std::string& family : testing::golden_vlm_families()) {
    SCOPED_TRACE(family);
    testing::TemporaryFolder old;
    const std::string folder = golden_path("vlm/" + family);
    const bool has_old = std::filesystem::exists(folder + "/config.old.json");
    if (has_old) {
      for (const char* name : {"model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
        std::filesystem::copy(folder + "/" + name, old.path(name));
      }
      std::filesystem::copy(folder + "/config.old.json", old.path("config.json"));
      std::filesystem::copy(folder + "/preprocessor_config.old.json", old.path("preprocessor_config.json"));
    }
    const Json json = inspect_json(folder, "--estimate --dtype float32");
    EXPECT_EQ(json.count("vision_error"), 0u);
    const Json& vlm = json.at("vlm");
    EXPECT_EQ(vlm.at("family"), family);
    EXPECT_EQ(vlm.count("picture_error"), 0u);
    EXPECT_GT(vlm.at("sample_picture").at("tokens").get<int64_t>(), 0);
    const bool axes = family.rfind("qwen", 0) == 0 || family == "glm4v";
    EXPECT_EQ(json.at("native_scheme").get<std::string>().rfind("mrope", 0) == 0, axes)
        << json.at("native_scheme");
    EXPECT_EQ(vlm.at("takes_video").get<bool>(), axes);
    // Decoder, tower and connector are all that the file holds.
    const Json& estimate = json.at("estimate");
    EXPECT_EQ(estimate.at("weights_bytes").get<double>() + estimate.at("vision_weights_bytes").get<double>(),
              4 * json.at("parameters").get<double>());
    const CommandResult report = inspect(folder, "--list");
    EXPECT_THAT(report.out, HasSubstr("  family          " + family));
    EXPECT_THAT(report.out, HasSubstr("  connector       "));
    EXPECT_THAT(report.out, HasSubstr(json.at("tensors").front().at("name").get<std::string>()));
    if (!has_old) continue;
    const Json other = inspect_json(old.path(""), "--estimate --dtype float32");
    EXPECT_EQ(other.at("vlm"), vlm);
    EXPECT_EQ(other.at("vision_config"), json.at("vision_config"));
    EXPECT_EQ(other.at("native_scheme"), json.at("native_scheme"));
  }
}

TEST(Inspect, VisionTowersAlone) {
  for (const std::string name : {"clip-vision-tiny", "siglip-vision-tiny"}) {
    const Json json = inspect_json(golden_path("vision/" + name));
    EXPECT_EQ(json.at("vision_config").at("num_hidden_layers"), 3);
    EXPECT_TRUE(json.at("config").is_null());
    const CommandResult report = inspect(golden_path("vision/" + name), "");
    EXPECT_THAT(report.out, HasSubstr("vision tower"));
  }
}

}  // namespace
}  // namespace ropescope
