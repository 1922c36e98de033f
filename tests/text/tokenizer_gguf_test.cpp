// Tokenizers from GGUF metadata: how each family cuts text, and what is refused.
#include <fstream>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/text/byte_alphabet.h"
#include "ropescope/text/tokenizer_readers.h"

#include "tests/support/golden.h"
#include "tests/support/real_model.h"
#include "tests/text/encodings.h"

namespace ropescope::testing {
namespace {

using Strings = std::vector<std::string>;

/// Bytes have the ids 0 to 255; "12" 256, "123" 257, "ab" 258, <s> 259 (control), <u> 260 (user-defined).
GgufMetadata byte_level(const std::string& pre) {
  Strings tokens;
  for (int b = 0; b < 256; ++b) tokens.push_back(byte_as_text(static_cast<uint8_t>(b)));
  for (const char* more : {"12", "123", "ab", "<s>", "<u>"}) tokens.emplace_back(more);
  std::vector<int64_t> types(tokens.size(), 1);
  types[259] = 3;
  types[260] = 4;
  GgufMetadata metadata;
  metadata["tokenizer.ggml.model"] = std::string("gpt2");
  metadata["tokenizer.ggml.pre"] = pre;
  metadata["tokenizer.ggml.tokens"] = array_of(tokens);
  metadata["tokenizer.ggml.token_type"] = array_of(types);
  metadata["tokenizer.ggml.merges"] = array_of(Strings{"1 2", "12 3", "a b"});
  metadata["tokenizer.ggml.bos_token_id"] = uint64_t{259};
  return metadata;
}

std::unique_ptr<Tokenizer> make_from_metadata(const GgufMetadata& metadata) {
  return make_gguf_tokenizer(metadata, "test.gguf");
}

Ids encode(const GgufMetadata& metadata, const std::string& text, const EncodeOptions& options = kPlain) {
  return make_from_metadata(metadata)->encode(text, options);
}

TEST(TokenizerGguf, FamiliesCutDigitsInTheirOwnWay) {
  EXPECT_EQ(encode(byte_level("gpt-2"), "1234"), (Ids{257, '4'}));
  EXPECT_EQ(encode(byte_level("smollm"), "1234"), (Ids{'1', '2', '3', '4'}));
  EXPECT_EQ(encode(byte_level("qwen2"), "1234"), (Ids{'1', '2', '3', '4'}));
  EXPECT_EQ(encode(byte_level("llama-bpe"), "1212"), (Ids{256, '1', '2'}));
  EXPECT_EQ(encode(byte_level("default"), "1212"), (Ids{256, '1', '2'}));
  GgufMetadata unnamed = byte_level("x");
  unnamed.erase("tokenizer.ggml.pre");
  EXPECT_EQ(encode(unnamed, "1212"), (Ids{256, '1', '2'}));
}

TEST(TokenizerGguf, OnlyQwen2Normalises) {
  const std::string decomposed = "e\xCC\x81";
  EXPECT_EQ(encode(byte_level("qwen2"), decomposed), (Ids{0xC3, 0xA9}));
  EXPECT_EQ(encode(byte_level("smollm"), decomposed), (Ids{'e', 0xCC, 0x81}));
}

TEST(TokenizerGguf, StartTokens) {
  EXPECT_EQ(encode(byte_level("gpt-2"), "a", {}), (Ids{'a'}));
  EXPECT_EQ(encode(byte_level("llama-bpe"), "a", {}), (Ids{259, 'a'}));
  GgufMetadata metadata = byte_level("gpt-2");
  metadata["tokenizer.ggml.add_bos_token"] = true;
  metadata["tokenizer.ggml.add_eos_token"] = true;
  metadata["tokenizer.ggml.eos_token_id"] = uint64_t{258};
  EXPECT_EQ(encode(metadata, "a", {}), (Ids{259, 'a', 258}));
}

TEST(TokenizerGguf, ControlTokensAreSpecialUserDefinedAreNot) {
  const auto tokenizer = make_gguf_tokenizer(byte_level("gpt-2"), "test.gguf");
  EXPECT_EQ(tokenizer->encode("<s><u>", kPlain), (Ids{259, 260}));
  EXPECT_EQ(tokenizer->encode("<s><u>", {false, true}), (Ids{'<', 's', '>', 260}));
  EXPECT_EQ(tokenizer->decode(Ids{259, 260}, true), "<u>");
}

void expect_metadata_refused(const std::function<void(GgufMetadata&)>& damage, const std::string& part) {
  expect_damage_refused(byte_level("gpt-2"), damage, make_from_metadata, "test.gguf", part);
}

TEST(TokenizerGguf, DamageIsRefused) {
  expect_metadata_refused([](auto& m) { m["tokenizer.ggml.model"] = std::string("bert"); }, "bert");
  expect_metadata_refused([](auto& m) { m.erase("tokenizer.ggml.model"); }, "tokenizer.ggml.model");
  expect_metadata_refused([](auto& m) { m["tokenizer.ggml.pre"] = std::string("mystery"); }, "mystery");
  expect_metadata_refused([](auto& m) { m.erase("tokenizer.ggml.tokens"); }, "tokens");
  expect_metadata_refused(
      [](auto& m) {
        m["tokenizer.ggml.tokens"] = array_of(Strings{"a", "a"});
      },
      "token_type");
  expect_metadata_refused([](auto& m) { m["tokenizer.ggml.token_type"] = array_of(std::vector<int64_t>{1}); },
                          "expected 261");
  expect_metadata_refused(
      [](auto& m) { m["tokenizer.ggml.token_type"] = array_of(std::vector<int64_t>(261, 9)); }, "found 9");
  expect_metadata_refused([](auto& m) { m["tokenizer.ggml.merges"] = array_of(Strings{"ab"}); }, "merge 0");
  expect_metadata_refused(
      [](auto& m) {
        m["tokenizer.ggml.merges"] = array_of(Strings{"a b", "a b"});
      },
      "both");
  expect_metadata_refused([](auto& m) { m["tokenizer.ggml.merges"] = array_of(Strings{"a z"}); },
                          "does not have");
  expect_metadata_refused([](auto& m) { m["tokenizer.ggml.bos_token_id"] = uint64_t{1} << 60; },
                          "bos_token_id");
  expect_metadata_refused(
      [](auto& m) {
        m.erase("tokenizer.ggml.token_type");
        m["tokenizer.ggml.tokens"] = array_of(Strings{"a", "b", "a"});
        m["tokenizer.ggml.merges"] = array_of(Strings{});
        m.erase("tokenizer.ggml.bos_token_id");
      },
      "two ids");
  expect_metadata_refused([](auto& m) { m["tokenizer.ggml.model"] = std::string("llama"); }, "scores");
}

/// <unk> 0, <s> 1, </s> 2, bytes 3 to 258, U+2581 259, a, b, ab, U+2581 ab 263, <x> 264, <y> 265; `types` of <unk>
/// and of the last two.
GgufMetadata sentencepiece_keys(int64_t unknown_type, int64_t other_type) {
  const std::string space = "\xE2\x96\x81";
  Strings tokens = {"<unk>", "<s>", "</s>"};
  for (int b = 0; b < 256; ++b) tokens.push_back(fmt::format("<0x{:02X}>", b));
  for (const std::string& more : {space, std::string("a"), std::string("b"), std::string("ab"), space + "ab",
                                  std::string("<x>"), std::string("<y>")}) {
    tokens.push_back(more);
  }
  std::vector<int64_t> types(tokens.size(), 1);
  types[0] = unknown_type;
  types[1] = types[2] = 3;
  std::fill(types.begin() + 3, types.begin() + 259, 6);
  types[264] = types[265] = other_type;
  std::vector<double> scores;
  for (size_t id = 0; id < tokens.size(); ++id) scores.push_back(id > 261 ? 0.0 - double(id) : -1000.0);
  GgufMetadata metadata;
  metadata["tokenizer.ggml.model"] = std::string("llama");
  metadata["tokenizer.ggml.tokens"] = array_of(tokens);
  metadata["tokenizer.ggml.token_type"] = array_of(types);
  metadata["tokenizer.ggml.scores"] = array_of(scores);
  metadata["tokenizer.ggml.bos_token_id"] = uint64_t{1};
  metadata["tokenizer.ggml.eos_token_id"] = uint64_t{2};
  return metadata;
}

// Types 2 unknown, 3 control: some files type <unk> as control, others type many tokens as unknown.
TEST(TokenizerGguf, TheUnknownPieceIsTheOneThatTheFileNames) {
  const std::string text = "ab\xC3\xA9 ab<x>ab";
  const auto usual = make_from_metadata(sentencepiece_keys(2, 3));
  const Ids expected = usual->encode(text, {});
  ASSERT_EQ(expected, (Ids{1, 263, 3 + 0xC3, 3 + 0xA9, 263, 264, 263}));
  for (const auto& [unknown_type, other_type] :
       {std::pair(3, 3), std::pair(2, 2), std::pair(3, 2), std::pair(1, 2)}) {
    for (const bool named : {true, false}) {
      SCOPED_TRACE(fmt::format("<unk> of type {}, others {}, named {}", unknown_type, other_type, named));
      GgufMetadata metadata = sentencepiece_keys(unknown_type, other_type);
      if (named) metadata["tokenizer.ggml.unknown_token_id"] = uint64_t{0};
      const auto tokenizer = make_from_metadata(metadata);
      EXPECT_EQ(tokenizer->encode(text, {}), expected);
      EXPECT_EQ(tokenizer->decode(Ids{262, 0}, false), usual->decode(Ids{262, 0}, false));
      EXPECT_EQ(tokenizer->decode(expected, true), usual->decode(expected, true));
    }
  }
  const auto refused = [](const std::function<void(GgufMetadata&)>& damage, const std::string& part) {
    expect_damage_refused(sentencepiece_keys(3, 3), damage, make_from_metadata, "test.gguf", part);
  };
  refused([](auto& m) { m["tokenizer.ggml.unknown_token_id"] = uint64_t{266}; }, "unknown_token_id");
  refused(
      [](auto& m) {
        Strings tokens = gguf_strings(m, "tokenizer.ggml.tokens", "test");
        tokens[0] = "<pad>";
        m["tokenizer.ggml.tokens"] = array_of(tokens);
      },
      "expected tokenizer.ggml.unknown_token_id");
}

// Gemma has runs of spaces and newlines as user-defined pieces, which no merge reaches; files have them with plain
// spaces.
TEST(TokenizerGguf, UserDefinedRunsOfSpacesAreFound) {
  GgufMetadata metadata = sentencepiece_keys(2, 4);
  Strings tokens = gguf_strings(metadata, "tokenizer.ggml.tokens", "test");
  tokens[264] = "  ";
  tokens[265] = "\n\n";
  metadata["tokenizer.ggml.tokens"] = array_of(tokens);
  metadata["tokenizer.ggml.add_space_prefix"] = false;
  const auto tokenizer = make_from_metadata(metadata);
  const Ids expected = {262, 264, 262, 265, 262, 263};
  EXPECT_EQ(tokenizer->encode("ab  ab\n\nab ab", kPlain), expected);
  EXPECT_EQ(tokenizer->decode(expected, true), "ab  ab\n\nab ab");
}

TEST(GgufTokenizerFiles, MakeTheSameTokenizerFromAFolder) {
  std::vector<std::string> files = {golden_path("language/qwen2-tiny/gguf/qwen2-tiny-F16.gguf")};
  if (!smollm2_path().empty()) files.push_back(smollm2_path());
  for (const std::string& file : files) {
    SCOPED_TRACE(file);
    const auto json = gguf_tokenizer_files(file);
    ASSERT_TRUE(json);
    const TemporaryFolder folder;
    std::ofstream(folder.path("tokenizer.json")) << json->tokenizer.dump();
    std::ofstream(folder.path("tokenizer_config.json")) << json->config.dump();
    const auto expected = load_tokenizer(file), found = load_tokenizer(folder.path(""));
    EXPECT_EQ(found->vocab_size(), expected->vocab_size());
    EXPECT_EQ(found->bos_id(), expected->bos_id());
    EXPECT_EQ(found->eos_id(), expected->eos_id());
    for (const Json& text : golden_json("language/tokenizers/strings.json")) {
      for (const bool special : {false, true}) {
        EncodeOptions options;
        options.add_special = special;
        EXPECT_EQ(found->encode(text.at("text").get<std::string>(), options),
                  expected->encode(text.at("text").get<std::string>(), options))
            << text;
      }
    }
  }
  EXPECT_FALSE(gguf_tokenizer_files(golden_path("language/llama-tiny/gguf/llama-tiny-F32.gguf")));
}

}  // namespace
}  // namespace ropescope::testing
