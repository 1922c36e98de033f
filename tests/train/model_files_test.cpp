// What a checkpoint of a training run and an exported model say of the model that they came from.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/file.h"
#include "ropescope/train/checkpoints.h"
#include "ropescope/train/export.h"

#include "tests/support/golden.h"

namespace ropescope::testing {
namespace {

namespace fs = std::filesystem;

template <typename T>
std::string little_endian(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

std::string gguf_text(const std::string& text) { return little_endian(uint64_t{text.size()}) + text; }

std::string gguf_pair(const std::string& key, float value) {
  return gguf_text(key) + little_endian(uint32_t{6}) + little_endian(value);
}
std::string gguf_pair(const std::string& key, uint32_t value) {
  return gguf_text(key) + little_endian(uint32_t{4}) + little_endian(value);
}
std::string gguf_pair(const std::string& key, const std::string& value) {
  return gguf_text(key) + little_endian(uint32_t{8}) + gguf_text(value);
}

/// A GGUF file with more metadata; the tensors stay aligned.
std::string with_metadata(std::string file, const std::vector<std::string>& pairs) {
  constexpr size_t kPairsAt = 16, kHeader = 24, kAlignment = 32;
  std::string added;
  for (const std::string& pair : pairs) added += pair;
  const size_t bare = added.size() + gguf_pair("test.padding", std::string()).size();
  added += gguf_pair("test.padding", std::string((kAlignment - bare % kAlignment) % kAlignment, ' '));
  uint64_t count = 0;
  std::copy_n(file.data() + kPairsAt, sizeof count, reinterpret_cast<char*>(&count));
  file.replace(kPairsAt, sizeof count, little_endian(count + pairs.size() + 1));
  return file.insert(kHeader, added);
}

Json config_of(const std::vector<ModelFile>& files) {
  return parse_json(files.at(0).content, files.at(0).name);
}

TEST(ModelFiles, RotarySettingsOfAGgufFileAreKept) {
  const TemporaryFolder folder;
  const std::string key = "llama.rope.scaling.";
  const std::string path = folder.write(
      "yarn.gguf",
      with_metadata(
          read_file(golden_path("language/llama-tiny/gguf/llama-tiny-F32.gguf")),
          {gguf_pair(key + "type", std::string("yarn")), gguf_pair(key + "factor", 8.0F),
           gguf_pair(key + "original_context_length", uint32_t{64}), gguf_pair(key + "attn_factor", 1.25F),
           gguf_pair(key + "yarn_beta_fast", 24.0F), gguf_pair(key + "yarn_beta_slow", 2.0F)}));
  const RopeConfig expected = read_decoder_config(path).rope();
  ASSERT_EQ(expected.type, RopeType::kYarn);
  ASSERT_EQ(expected.beta_fast, 24);
  ASSERT_TRUE(expected.attention_factor);
  const std::vector<ModelFile> files = read_model_files(path);
  ASSERT_EQ(files.at(0).name, "config.json");
  EXPECT_EQ(to_json(parse_decoder_config(config_of(files), "config.json").rope()), to_json(expected));
}

TEST(ModelFiles, SayWhetherTheOutputIsTheEmbedding) {
  const TemporaryFolder folder;
  const std::string source = golden_path("language/llama-tiny/safetensors-fp32/");
  fs::copy_file(source + "model.safetensors", folder.path("model.safetensors"));
  Json config = golden_json("language/llama-tiny/safetensors-fp32/config.json");
  config["tie_word_embeddings"] = true;
  folder.write("config.json", config.dump());
  EXPECT_EQ(config_of(read_model_files(folder.path(""))).at("tie_word_embeddings"), false);

  ::testing::internal::CaptureStderr();
  export_model(find_export_source(folder.path(""), {}), folder.path("exported"), at::kFloat, /*force=*/false);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), ::testing::HasSubstr("not tied"));
  const auto checkpoint = open_checkpoint(folder.path("exported"));
  EXPECT_NE(checkpoint->find("lm_head.weight"), nullptr);
  EXPECT_FALSE(read_decoder_config(folder.path("exported")).tie_word_embeddings);

  // A tie that holds is left as it is, to the letter.
  const std::string tied = golden_path("language/qwen2-tiny/safetensors-bf16-tied/");
  EXPECT_EQ(read_model_files(tied).at(0).content, read_file(tied + "config.json"));
}

}  // namespace
}  // namespace ropescope::testing
