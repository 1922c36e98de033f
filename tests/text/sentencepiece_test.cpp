// SentencePiece models: our reading of the file, our merging against the library's, and damage.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/text/sentencepiece_bpe.h"
#include "ropescope/text/sentencepiece_tokenizer.h"
#include "ropescope/text/tokenizer_readers.h"
#include "ropescope/text/utf8.h"

#include "tests/support/golden.h"
#include "tests/text/encodings.h"

namespace ropescope::testing {
namespace {

namespace fs = std::filesystem;

using Type = SentencePiece::Type;

SentencePieceModel tiny_model() {
  const std::string path = golden_path("language/tokenizers/sp-tiny.model");
  return parse_sentencepiece_model(read_file(path), path);
}

std::unique_ptr<Tokenizer> make_sentencepiece(const SentencePieceModel& model) {
  SentencePieceFiles files;
  files.what = "test.model";
  files.model = model;
  return make_sentencepiece_tokenizer(std::move(files));
}

/// Words, runs of spaces, U+2581, newlines, and characters that no piece has.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts = {"the",
                                                 "and",
                                                 "ing",
                                                 "a",
                                                 "e",
                                                 "n",
                                                 "t",
                                                 "er",
                                                 "1",
                                                 "2",
                                                 ".",
                                                 ",",
                                                 " ",
                                                 " ",
                                                 " ",
                                                 "  ",
                                                 "\n",
                                                 "\xE2\x96\x81",
                                                 "\xC3\xA9",
                                                 "\xE4\xBB\x8A",
                                                 "\xF0\x9F\x99\x82",
                                                 "\t",
                                                 "<0x0A>",
                                                 "</s>",
                                                 "aaaa",
                                                 std::string(1, '\0'),
                                                 "\xCC\x81"};
  std::string text;
  for (unsigned i = random() % 40; i > 0; --i) text += parts[random() % parts.size()];
  return text;
}

TEST(SentencePiece, WrittenModelsReadBackTheSame) {
  const SentencePieceModel model = tiny_model();
  const SentencePieceModel again = parse_sentencepiece_model(serialize_sentencepiece_model(model), "again");
  ASSERT_EQ(again.pieces.size(), 3000u);
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    EXPECT_EQ(again.pieces[id].text, model.pieces[id].text);
    EXPECT_EQ(again.pieces[id].score, model.pieces[id].score);
    EXPECT_EQ(again.pieces[id].type, model.pieces[id].type);
  }
  EXPECT_EQ(again.kind, SentencePieceModel::Kind::kBpe);
  EXPECT_TRUE(again.byte_fallback);
  EXPECT_TRUE(again.add_dummy_prefix);
  EXPECT_FALSE(again.remove_extra_whitespaces);
}

TEST(SentencePiece, OwnMergingEqualsTheLibrary) {
  for (const char* file :
       {"language/tokenizers/sp-tiny.model", "language/llama-tiny/safetensors-fp32/tokenizer.model"}) {
    const std::string bytes = read_file(golden_path(file));
    ASSERT_TRUE(SentencePieceBpe::applies(parse_sentencepiece_model(bytes, file)));
    const auto own = make_sentencepiece(parse_sentencepiece_model(bytes, file));
    sentencepiece::SentencePieceProcessor library;
    ASSERT_TRUE(library.LoadFromSerializedProto(bytes).ok());
    std::mt19937 random(7);
    for (int i = 0; i < 3000; ++i) {
      const std::string text = random_text(random);
      std::vector<int> expected;
      ASSERT_TRUE(library.Encode(text, &expected).ok());
      const std::vector<int64_t> ids = own->encode(text, kSpecialsAsText);
      ASSERT_EQ(std::vector<int>(ids.begin(), ids.end()), expected) << text;
    }
  }
}

TEST(SentencePiece, PiecesAcrossSpacesForbidCuts) {
  SentencePieceModel model = tiny_model();
  EXPECT_TRUE(SentencePieceBpe(model).cuts_before_spaces());
  EXPECT_TRUE(SentencePieceBpe(model).cuts_around_newlines());
  model.pieces.push_back({"a\xE2\x96\x81t", 100.0F, Type::kNormal});
  model.pieces.push_back({"\xE2\x96\x81t", 200.0F, Type::kNormal});
  std::erase_if(model.pieces, [seen = false](const SentencePiece& piece) mutable {
    // The same text twice would be refused; the later one goes.
    const bool again = piece.text == "\xE2\x96\x81t" && seen;
    seen = seen || piece.text == "\xE2\x96\x81t";
    return again;
  });
  EXPECT_FALSE(SentencePieceBpe(model).cuts_before_spaces());
  const auto own = make_sentencepiece(model);
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.LoadFromSerializedProto(serialize_sentencepiece_model(model)).ok());
  std::vector<int> expected;
  ASSERT_TRUE(library.Encode("banana the", &expected).ok());
  const std::vector<int64_t> ids = own->encode("banana the", kSpecialsAsText);
  EXPECT_EQ(std::vector<int>(ids.begin(), ids.end()), expected);
}

/// A unigram model with the library's default normalisation (a character map), trained here.
std::string train_unigram(const TemporaryFolder& folder) {
  std::ofstream text(folder.path("text"));
  for (int i = 0; i < 200; ++i)
    text << "the cat number " << i % 17 << " sat on the mat and ate " << i << " rats\n";
  text.close();
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      "--input=" + folder.path("text") + " --model_prefix=" + folder.path("m") +
      " --vocab_size=60 --model_type=unigram --hard_vocab_limit=false --minloglevel=3");
  EXPECT_TRUE(status.ok()) << status.ToString();
  return folder.path("m.model");
}

TEST(SentencePiece, OtherModelsGoThroughTheLibrary) {
  const TemporaryFolder folder;
  const std::string path = train_unigram(folder);
  const SentencePieceModel model = parse_sentencepiece_model(read_file(path), path);
  EXPECT_FALSE(SentencePieceBpe::applies(model));
  EXPECT_FALSE(model.character_map.empty());
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.Load(path).ok());
  const auto own = make_sentencepiece(model);
  for (const std::string text :
       {"the cat", "  two  spaces ", "\xEF\xBC\xA1 unknown \xE4\xBB\x8A", "", "12 rats"}) {
    std::vector<int> expected;
    ASSERT_TRUE(library.Encode(text, &expected).ok());
    const std::vector<int64_t> ids = own->encode(text, kSpecialsAsText);
    EXPECT_EQ(std::vector<int>(ids.begin(), ids.end()), expected) << text;
    std::string decoded;
    ASSERT_TRUE(library.Decode(expected, &decoded).ok());
    EXPECT_EQ(own->decode(ids, false), decoded);
  }
}

TEST(SentencePiece, DamagedCharacterMapsAreRefused) {
  const TemporaryFolder folder;
  const std::string path = train_unigram(folder);
  const SentencePieceModel model = parse_sentencepiece_model(read_file(path), path);
  std::mt19937 random(3);
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    SentencePieceModel damaged = model;
    std::string& map = damaged.character_map;
    for (int k = 0; k < 4; ++k)
      map[random() % std::min<size_t>(map.size(), 1 << 16)] = static_cast<char>(random());
    if (i % 3 == 0) map.resize(random() % map.size());
    try {
      check_sentencepiece_model(damaged, "test.model");
      // What passes must be harmless.
      make_sentencepiece(damaged)->encode("\xEF\xBC\xA1 text \xE4\xBB\x8A\xCC\x81 with \xE2\x84\xAB",
                                          kSpecialsAsText);
    } catch (const InputError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

void expect_model_refused(const std::function<void(SentencePieceModel&)>& damage, const std::string& part) {
  expect_damage_refused(tiny_model(), damage, make_sentencepiece, "test.model", part);
}

TEST(SentencePiece, ContradictionsAreRefused) {
  expect_model_refused([](auto& m) { m.pieces.clear(); }, "no pieces");
  expect_model_refused([](auto& m) { m.pieces[400].text = m.pieces[500].text; }, "twice");
  expect_model_refused([](auto& m) { m.pieces[400].text = ""; }, "empty");
  expect_model_refused([](auto& m) { m.pieces[400].text = "\xFF"; }, "UTF-8");
  expect_model_refused([](auto& m) { m.pieces[400].score = NAN; }, "score");
  expect_model_refused([](auto& m) { m.pieces[0].type = Type::kNormal; }, "unknown piece");
  expect_model_refused([](auto& m) { m.pieces[400].type = Type::kUnknown; }, "unknown piece");
  expect_model_refused([](auto& m) { m.pieces[5].type = Type::kNormal; }, "256 byte pieces");
  expect_model_refused([](auto& m) { m.pieces[400].type = Type::kByte; }, "byte piece");
  expect_model_refused([](auto& m) { m.character_map = "x"; }, "character map");
}

TEST(SentencePiece, BrokenFilesAreRefused) {
  const std::string bytes = read_file(golden_path("language/tokenizers/sp-tiny.model"));
  for (size_t length = 0; length < bytes.size(); length += 97) {
    try {
      parse_sentencepiece_model(bytes.substr(0, length), "cut");
    } catch (const InputError&) {
    }
  }
  EXPECT_THROW(parse_sentencepiece_model("", "empty"), InputError);
  EXPECT_THROW(parse_sentencepiece_model(bytes.substr(0, 5), "cut"), InputError);
  EXPECT_THROW(parse_sentencepiece_model("{\"json\": 1}", "json"), InputError);
  // A length of 2^63 and a number of eleven bytes.
  EXPECT_THROW(parse_sentencepiece_model("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", "long"), InputError);
  EXPECT_THROW(parse_sentencepiece_model("\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "long"),
               InputError);
}

TEST(SentencePiece, AddedTokensBesideTheModel) {
  const TemporaryFolder folder;
  fs::copy_file(golden_path("language/llama-tiny/safetensors-fp32/tokenizer.model"),
                folder.path("tokenizer.model"));
  std::ofstream(folder.path("tokenizer_config.json")) << R"({"bos_token": "<s>", "eos_token": "</s>",
    "add_bos_token": false, "add_eos_token": true, "added_tokens_decoder": {
      "400": {"content": "<image>", "special": true}, "401": {"content": "<pad>", "rstrip": true}}})";
  const auto tokenizer = load_tokenizer(folder.path(""));
  EXPECT_EQ(tokenizer->vocab_size(), 402);
  EXPECT_EQ(tokenizer->encode("<image> a<pad> a", EncodeOptions{}),
            (std::vector<int64_t>{400, 319, 265, 401, 265, 2}));
  EXPECT_EQ(tokenizer->decode(std::vector<int64_t>{1, 265, 400, 401, 265, 2}, true), "a<pad> a");
  EXPECT_EQ(tokenizer->decode(std::vector<int64_t>{1, 265, 400, 401, 265, 2}, false), "a<image><pad> a");
  EXPECT_THROW(tokenizer->decode(std::vector<int64_t>{399}, false), InputError);
}

}  // namespace
}  // namespace ropescope::testing
