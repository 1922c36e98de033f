// What the readers make of odd and damaged tokenizer files. The vocabulary is the 256 bytes and a few merges.
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/text/byte_alphabet.h"
#include "ropescope/text/tokenizer_readers.h"

#include "tests/support/golden.h"
#include "tests/text/encodings.h"

namespace ropescope::testing {
namespace {

/// Bytes have the ids 0 to 255 in their own order; then "ab" 256, "abc" 257, "Ġab" 258, "12" 259.
Json small_tokenizer() {
  Json vocabulary = Json::object();
  for (int b = 0; b < 256; ++b) vocabulary[byte_as_text(static_cast<uint8_t>(b))] = b;
  const std::string space = byte_as_text(' ');
  vocabulary["ab"] = 256;
  vocabulary["abc"] = 257;
  vocabulary[space + "ab"] = 258;
  vocabulary["12"] = 259;
  Json file;
  file["added_tokens"] = Json::array();
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] =
      Json::parse(R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})");
  file["post_processor"] = nullptr;
  file["model"] = {{"type", "BPE"}, {"vocab", vocabulary}};
  file["model"]["merges"] = Json::array({"a b", "ab c", space + " ab", "1 2"});
  return file;
}

std::unique_ptr<Tokenizer> make_from_json(const Json& file) {
  return read_tokenizer_json(file, "nowhere/tokenizer.json");
}

void expect_json_refused(const std::function<void(Json&)>& damage, const std::string& part) {
  expect_damage_refused(small_tokenizer(), damage, make_from_json, "tokenizer.json", part);
}

Json added(const std::string& content, int64_t id, const Json& flags = Json::object()) {
  Json token = {{"content", content}, {"id", id}, {"special", false}, {"normalized", false}};
  token.update(flags);
  return token;
}

TEST(TokenizerFiles, MergesInOrder) {
  const auto tokenizer = make_from_json(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("abc ab xab", kPlain), (Ids{257, 258, ' ', 'x', 256}));
  EXPECT_EQ(tokenizer->vocab_size(), 260);
  EXPECT_EQ(tokenizer->token(258), byte_as_text(' ') + "ab");
  EXPECT_EQ(tokenizer->decode(Ids{257, 258, 0xC3, 0xA9, 0xE2, 0x82, 'x'}, false),
            "abc ab\xC3\xA9\xEF\xBF\xBDx");
  EXPECT_THROW(tokenizer->decode(Ids{260}, false), InputError);
  EXPECT_THROW(tokenizer->decode(Ids{-1}, false), InputError);
  EXPECT_THROW(tokenizer->token(int64_t{1} << 60), InputError);
}

TEST(TokenizerFiles, BrokenInputIsReadAsReplacementCharacters) {
  const auto tokenizer = make_from_json(small_tokenizer());
  const Ids replacement = {0xEF, 0xBF, 0xBD};
  EXPECT_EQ(tokenizer->encode("\xE2\x82", kPlain), replacement);
  EXPECT_EQ(tokenizer->encode("\xFF", kPlain), replacement);
  EXPECT_EQ(tokenizer->encode("\xED\xA0\x80", kPlain).size(), 9u);
}

TEST(TokenizerFiles, MergesAsPairsOrAsText) {
  Json file = small_tokenizer();
  file["model"]["merges"] = Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"})});
  EXPECT_EQ(make_from_json(file)->encode("abc", kPlain), (Ids{257}));
}

TEST(TokenizerFiles, IgnoreMergesTakesWholeWords) {
  Json file = small_tokenizer();
  file["model"]["merges"] = Json::array({"a b"});
  EXPECT_EQ(make_from_json(file)->encode("abc", kPlain), (Ids{256, 'c'}));
  file["model"]["ignore_merges"] = true;
  EXPECT_EQ(make_from_json(file)->encode("abc abcd", kPlain), (Ids{257, ' ', 256, 'c', 'd'}));
}

TEST(TokenizerFiles, MissingByteTokens) {
  Json file = small_tokenizer();
  file["model"]["vocab"].erase("x");
  // Both references drop such a byte unless an unknown token is named.
  EXPECT_EQ(make_from_json(file)->encode("xaxxb", kPlain), (Ids{256}));
  file["model"]["unk_token"] = "c";
  EXPECT_EQ(make_from_json(file)->encode("xaxxb", kPlain), (Ids{'c', 'a', 'c', 'c', 'b'}));
  file["model"]["fuse_unk"] = true;
  EXPECT_EQ(make_from_json(file)->encode("xaxxb", kPlain), (Ids{'c', 'a', 'c', 'b'}));
}

TEST(TokenizerFiles, AddedTokensAreFoundFirst) {
  Json file = small_tokenizer();
  file["added_tokens"] = Json::array(
      {added("<x>", 300, {{"special", true}}), added("<x>y", 301), added("w", 302, {{"single_word", true}}),
       added("[l]", 303, {{"lstrip", true}}), added("[r]", 304, {{"rstrip", true}})});
  // Only the letter in the vocabulary would stand in the way.
  file["model"]["vocab"].erase("w");
  const auto tokenizer = make_from_json(file);
  EXPECT_EQ(tokenizer->vocab_size(), 305);
  EXPECT_EQ(tokenizer->encode("<x>y<x>", kPlain), (Ids{301, 300}));
  EXPECT_EQ(tokenizer->encode("<x>y<x>", {false, true}), (Ids{301, '<', 'x', '>'}));
  EXPECT_EQ(tokenizer->encode("w a-w", kPlain), (Ids{302, ' ', 'a', '-', 302}));
  EXPECT_EQ(tokenizer->encode("aw", kPlain), (Ids{'a'}));
  EXPECT_EQ(tokenizer->encode("a \xC2\xA0[l] a", kPlain), (Ids{'a', 303, ' ', 'a'}));
  EXPECT_EQ(tokenizer->encode("a [r] \n[l]a", kPlain), (Ids{'a', ' ', 304, 303, 'a'}));
  EXPECT_EQ(tokenizer->decode(Ids{300, 'a', 301}, true), "a<x>y");
  EXPECT_EQ(tokenizer->decode(Ids{300, 'a', 301}, false), "<x>a<x>y");
  // Ids between the vocabulary and the added tokens belong to nothing.
  EXPECT_THROW(tokenizer->decode(Ids{280}, false), InputError);
}

TEST(TokenizerFiles, NormalizedAddedTokens) {
  Json file = small_tokenizer();
  file["normalizer"] = {{"type", "NFC"}};
  file["added_tokens"] =
      Json::array({added("<e\xCC\x81>", 300, {{"normalized", true}}), added("<a\xCC\x80>", 301)});
  const auto tokenizer = make_from_json(file);
  EXPECT_EQ(tokenizer->encode("<\xC3\xA9>", kPlain), (Ids{300}));
  EXPECT_EQ(tokenizer->encode("<a\xCC\x80>", kPlain), (Ids{301}));
  EXPECT_EQ(tokenizer->encode("<\xC3\xA0>", kPlain), (Ids{'<', 0xC3, 0xA0, '>'}));
}

TEST(TokenizerFiles, NormalisationEndsWithUnicode9) {
  Json file = small_tokenizer();
  file["normalizer"] = {{"type", "NFC"}};
  const auto tokenizer = make_from_json(file);
  // U+0316 (class 220) goes before U+0301 (class 230); U+1AC0 (class 220) is of Unicode 13 and stays.
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("x\xCC\x81\xCC\x96", kPlain), false), "x\xCC\x96\xCC\x81");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("x\xCC\x81\xE1\xAB\x80", kPlain), false),
            "x\xCC\x81\xE1\xAB\x80");
}

TEST(TokenizerFiles, StartAndEndTokens) {
  Json file = small_tokenizer();
  file["post_processor"] = Json::parse(R"({"type": "Sequence", "processors": [
    {"type": "ByteLevel"},
    {"type": "TemplateProcessing",
     "single": [{"SpecialToken": {"id": "S"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "E"}}],
     "special_tokens": {"S": {"id": "S", "ids": [97, 98]}, "E": {"id": "E", "ids": [99]}}}]})");
  EXPECT_EQ(make_from_json(file)->encode("x", EncodeOptions{}), (Ids{'a', 'b', 'x', 'c'}));
  EXPECT_EQ(make_from_json(file)->encode("x", kPlain), (Ids{'x'}));
}

TEST(TokenizerFiles, LongWordsAreNotQuadratic) {
  const auto tokenizer = make_from_json(small_tokenizer());
  std::string letters;
  for (int i = 0; i < 200'000; ++i) letters += "abxab";
  EXPECT_EQ(tokenizer->encode(letters, kPlain).size(), 600'000u);
  EXPECT_EQ(tokenizer->encode(std::string(1'000'000, ' '), kPlain).size(), 1'000'000u);
  EXPECT_EQ(tokenizer->encode(std::string(1'000'000, '\n'), kPlain).size(), 1'000'000u);
}

TEST(TokenizerFiles, ThreadsShareATokenizer) {
  const auto tokenizer = make_from_json(small_tokenizer());
  std::vector<Ids> results(8);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t] {
      // More words than one generation of the cache holds, in another order in each thread.
      for (size_t i = 0; i < 40'000; ++i) tokenizer->encode(std::to_string(i * (2 * t + 1) % 40'009), kPlain);
      results[t] = tokenizer->encode("abc 12 ab 121", kPlain);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ids& ids : results) EXPECT_EQ(ids, (Ids{257, ' ', 259, 258, ' ', 259, '1'}));
}

TEST(TokenizerFiles, ContradictionsAreRefused) {
  expect_json_refused([](Json& f) { f["model"]["vocab"]["zz"] = int64_t{1} << 60; }, "expected 0 to");
  expect_json_refused([](Json& f) { f["model"]["vocab"]["zz"] = 2'000'000'000; }, "expected 0 to");
  expect_json_refused([](Json& f) { f["model"]["vocab"]["zz"] = -1; }, "expected 0 to");
  expect_json_refused([](Json& f) { f["model"]["vocab"]["zz"] = "1"; }, "expected an id");
  expect_json_refused([](Json& f) { f["model"]["vocab"]["zz"] = 5; }, "belongs to");
  expect_json_refused([](Json& f) { f["model"]["vocab"][""] = 270; }, "empty");
  expect_json_refused([](Json& f) { f["model"]["vocab"] = Json::array({"a"}); }, "vocab");
  expect_json_refused(
      [](Json& f) {
        f["model"]["vocab"] = {{"abc", 0}, {"abd", 1}};
      },
      "no token for any single byte");
  expect_json_refused([](Json& f) { f["model"]["merges"].push_back("a z"); }, "does not have");
  expect_json_refused([](Json& f) { f["model"]["merges"].push_back("q\xC3\xA9 \xE2\x82\xAC"); },
                      "does not have");
  expect_json_refused([](Json& f) { f["model"]["merges"].push_back("a b"); }, "both");
  expect_json_refused([](Json& f) { f["model"]["merges"].push_back("a b c"); }, "left right");
  expect_json_refused([](Json& f) { f["model"]["merges"].push_back(7); }, "left right");
  expect_json_refused([](Json& f) { f["model"]["merges"] = "a b"; }, "merges");
  expect_json_refused([](Json& f) { f["model"]["type"] = "Unigram"; }, "Unigram");
  expect_json_refused([](Json& f) { f["model"]["type"] = "WordPiece"; }, "WordPiece");
  expect_json_refused([](Json& f) { f["model"]["byte_fallback"] = true; }, "byte_fallback");
  expect_json_refused([](Json& f) { f["model"]["dropout"] = 0.1; }, "dropout");
  expect_json_refused([](Json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix");
  expect_json_refused([](Json& f) { f.erase("model"); }, "model");
  expect_json_refused([](Json& f) { f["normalizer"] = {{"type", "Lowercase"}}; }, "Lowercase");
  expect_json_refused([](Json& f) { f["pre_tokenizer"] = {{"type", "UnicodeScripts"}}; }, "UnicodeScripts");
  expect_json_refused(
      [](Json& f) {
        f["pre_tokenizer"] = Json::parse(R"({"type": "Sequence", "pretokenizers": [
    {"type": "ByteLevel"}, {"type": "Digits"}]})");
      },
      "must be the last");
  expect_json_refused([](Json& f) { f["post_processor"] = {{"type", "Other"}}; }, "Other");
  expect_json_refused(
      [](Json& f) {
        const Json roberta =
            Json::parse(R"({"type": "RobertaProcessing", "cls": ["a", 97], "sep": ["b", 98]})");
        f["post_processor"] = {{"type", "Sequence"}, {"processors", Json::array({roberta, roberta})}};
      },
      "two post-processors");
}

TEST(TokenizerFiles, CharactersThatAreNotSupportedAreRefused) {
  const Json characters = Json::parse(R"({"model": {"type": "BPE", "unk_token": "<u>",
    "vocab": {"<u>": 0, "a": 1, "b": 2, "ab": 3}, "merges": ["a b"]}})");
  const Json unigram = Json::parse(R"({"model": {"type": "Unigram", "unk_id": 0,
    "vocab": [["<u>", 0], ["a", -1], ["ab", -1.5]]}})");
  EXPECT_EQ(make_from_json(characters)->encode("abca", kPlain), (Ids{3, 0, 1}));
  EXPECT_EQ(make_from_json(unigram)->encode("aabc", kPlain), (Ids{1, 2, 0}));
  const auto refused = [](Json file, const std::function<void(Json&)>& damage, const std::string& part) {
    expect_damage_refused(std::move(file), damage, make_from_json, "tokenizer.json", part);
  };
  refused(
      characters, [](Json& f) { f["model"]["unk_token"] = "<x>"; }, "<x>");
  refused(
      characters,
      [](Json& f) {
        f["normalizer"] = {{"type", "Lowercase"}};
      },
      "Lowercase");
  refused(
      characters,
      [](Json& f) {
        f["decoder"] = {{"type", "WordPiece"}};
      },
      "WordPiece");
  refused(
      characters,
      [](Json& f) {
        f["decoder"] = {{"type", "Strip"}, {"content", ""}};
      },
      "Strip");
  refused(
      characters,
      [](Json& f) {
        f["pre_tokenizer"] = {{"type", "Metaspace"}, {"prepend_scheme", "last"}};
      },
      "last");
  refused(
      characters,
      [](Json& f) {
        f["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}};
      },
      "damaged");
  refused(
      characters,
      [](Json& f) {
        f["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "*"}};
      },
      "base64");
  refused(
      unigram, [](Json& f) { f["model"]["unk_id"] = 3; }, "unk_id");
  refused(
      unigram, [](Json& f) { f["model"]["vocab"][2][0] = "a"; }, "two ids");
  refused(
      unigram, [](Json& f) { f["model"]["vocab"][2][0] = ""; }, "empty");
  refused(
      unigram, [](Json& f) { f["model"]["vocab"][2] = "a"; }, "piece 2");
  refused(
      unigram, [](Json& f) { f["model"]["vocab"] = Json::array(); }, "no pieces");
  refused(
      unigram,
      [](Json& f) {
        f["pre_tokenizer"] = {{"type", "ByteLevel"}};
      },
      "Unigram");
  // A text that the model has no way to write.
  Json bare = unigram;
  bare["model"].erase("unk_id");
  EXPECT_THROW(make_from_json(bare)->encode("c", kPlain), InputError);
}

TEST(TokenizerFiles, PatternsThatDoNotWorkAreRefused) {
  const auto with_pattern = [](const std::string& pattern) {
    Json file = small_tokenizer();
    const Json split = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    file["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers", Json::array({split, {{"type", "ByteLevel"}, {"use_regex", false}}})}};
    return file;
  };
  for (const char* bad :
       {"(", "[a", "a{2,1}", "[a&&b]", "[[a]]", "\\p{Nonsense}", "(?s:.)", "a(?i)b|c", "[[:a", "\\p{L"}) {
    EXPECT_THROW(make_from_json(with_pattern(bad)), InputError) << bad;
  }
  // Exponential backtracking ends in an error, not in a hang.
  const auto slow = make_from_json(with_pattern("(?:a+)+$(?<=b)"));
  EXPECT_THROW(slow->encode(std::string(60, 'a') + "!", kPlain), InputError);
}

TEST(TokenizerFiles, AddedTokensThatContradictAreRefused) {
  const auto with = [](const Json& token) {
    return [token](Json& f) { f["added_tokens"].push_back(token); };
  };
  expect_json_refused(with(added("<x>", 97)), "belongs to");
  expect_json_refused(with(added("a", 300)), "two ids");
  expect_json_refused(with(added("<x>", int64_t{1} << 40)), "expected 0 to");
  expect_json_refused(with(added("<x>", -5)), "expected 0 to");
  expect_json_refused(with(added(std::string(2000, 'x'), 300)), "at most");
  expect_json_refused(with({{"content", 5}, {"id", 300}}), "content");
  expect_json_refused(with({{"content", "<x>"}}), "id");
  expect_json_refused(
      [](Json& f) {
        f["added_tokens"] = Json::array({added("<x>", 300), added("<y>", 300)});
      },
      "two");
  expect_json_refused(
      [](Json& f) {
        f["added_tokens"] = Json::array({added("<x>", 300), added("<x>", 301)});
      },
      "two");
  expect_json_refused([](Json& f) { f["added_tokens"] = 3; }, "list");
}

TEST(TokenizerFiles, ConfigurationBesideTheVocabulary) {
  const TemporaryFolder folder;
  std::ofstream(folder.path("tokenizer.json")) << small_tokenizer().dump();
  std::ofstream(folder.path("tokenizer_config.json")) << R"({
    "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "<e>", "add_bos_token": true,
    "add_eos_token": true, "additional_special_tokens": ["ab"],
    "added_tokens_decoder": {"270": {"content": "<s>"}, "271": {"content": "<e>", "special": true}}})";
  std::ofstream(folder.path("added_tokens.json")) << R"({"<tool>": 272})";
  const auto tokenizer = load_tokenizer(folder.path(""));
  EXPECT_EQ(tokenizer->encode("x<tool>ab", EncodeOptions{}), (Ids{270, 'x', 272, 256, 271}));
  EXPECT_EQ(tokenizer->decode(Ids{270, 'x', 272, 256, 271}, true), "x<tool>");
  EXPECT_EQ(tokenizer->bos_id(), 270);
  EXPECT_EQ(tokenizer->eos_id(), 271);
  for (const char* bad : {"[1]", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}",
                          "{\"bos_token\": 3}", "{\"add_bos_token\": \"yes\"}", "{\"legacy\": 1}", "{"}) {
    std::ofstream(folder.path("tokenizer_config.json")) << bad;
    EXPECT_THROW(load_tokenizer(folder.path("")), InputError) << bad;
  }
}

TEST(TokenizerFiles, FoldersWithoutATokenizer) {
  const TemporaryFolder folder;
  EXPECT_THROW(load_tokenizer(folder.path("")), InputError);
  EXPECT_THROW(load_tokenizer(folder.path("missing")), InputError);
  // A converted SentencePiece model without the original beside it.
  Json file = small_tokenizer();
  file["pre_tokenizer"] = nullptr;
  std::ofstream(folder.path("tokenizer.json")) << file.dump();
  EXPECT_EQ(load_tokenizer(folder.path(""))->description(), "BPE on characters (tokenizer.json)");
  // With the original, that is taken.
  std::filesystem::copy_file(golden_path("language/llama-tiny/safetensors-fp32/tokenizer.model"),
                             folder.path("tokenizer.model"));
  EXPECT_EQ(load_tokenizer(folder.path(""))->description(), "SentencePiece");
}

TEST(TokenizerFiles, VocabularyAndMergesAsFiles) {
  const TemporaryFolder folder;
  Json vocabulary = small_tokenizer()["model"]["vocab"];
  vocabulary["<|endoftext|>"] = 260;
  const std::string mark = byte_as_text(0xCC);
  vocabulary["x" + mark] = 261;
  std::ofstream(folder.path("vocab.json")) << vocabulary.dump();
  std::ofstream(folder.path("merges.txt")) << "#version: 0.2\r\na b\r\nab c\n\n1 2\nx " << mark << "\n";
  const auto tokenizer = load_tokenizer(folder.path(""));
  EXPECT_EQ(tokenizer->description(), "byte-level BPE (gpt2)");
  EXPECT_EQ(tokenizer->encode("abc<|endoftext|>12", kPlain), (Ids{257, 260, 259}));
  EXPECT_EQ(tokenizer->eos_id(), 260);
  // Qwen2 keeps digits apart.
  std::ofstream(folder.path("config.json")) << R"({"model_type": "qwen2"})";
  EXPECT_EQ(load_tokenizer(folder.path(""))->encode("12", kPlain), (Ids{'1', '2'}));
  EXPECT_EQ(load_tokenizer(folder.path(""))->encode("x\xCC\x96", kPlain), (Ids{'x', 0xCC, 0x96}));
  // Qwen 3.5 keeps marks with their letters, whatever class it names.
  std::ofstream(folder.path("config.json")) << R"({"model_type": "qwen3_5"})";
  for (const char* name : {"Qwen2Tokenizer", "Qwen3_5Tokenizer", ""}) {
    std::ofstream(folder.path("tokenizer_config.json")) << Json{{"tokenizer_class", name}}.dump();
    EXPECT_EQ(load_tokenizer(folder.path(""))->encode("x\xCC\x96", kPlain), (Ids{261, 0x96})) << name;
  }
  std::ofstream(folder.path("tokenizer_config.json")) << R"({"tokenizer_class": "CLIPTokenizer"})";
  EXPECT_THROW(load_tokenizer(folder.path("")), InputError);
  std::ofstream(folder.path("tokenizer_config.json")) << "{}";
  std::ofstream(folder.path("merges.txt")) << "a b c\n";
  EXPECT_THROW(load_tokenizer(folder.path("")), InputError);
}

}  // namespace
}  // namespace ropescope::testing
