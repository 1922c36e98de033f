// Distractors from files, the keys that prompts share, and what answers at several lengths come to.
#include "ropescope/eval/long_context.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/eval/fading.h"
#include "ropescope/eval/kept_prefix.h"
#include "ropescope/models/llava.h"

#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"

namespace ropescope::eval {
namespace {

using testing::TemporaryFolder;

void write(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

TEST(DistractorCorpus, FilesOfAFolderInByteOrderAndDocumentsOfAFile) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path("essays/more"));
  write(folder.path("essays/a.txt"), "  last one\r\nof all \n");
  write(folder.path("essays/B.text"), "\nfirst\none. ");
  write(folder.path("essays/.hidden"), "never");
  write(folder.path("essays/more/c.txt"), "never");
  const DistractorCorpus corpus = read_distractor_corpus(folder.path("essays"));
  EXPECT_EQ(corpus.text, "first one.last one of all");
  EXPECT_EQ(corpus.name, "essays");
  EXPECT_EQ(corpus.sha256.size(), 64u);
  write(folder.path("d.jsonl"), "{\"text\":\" one\\ntwo\"}\n{\"text\":\"three \"}\n");
  EXPECT_EQ(read_distractor_corpus(folder.path("d.jsonl")).text, "one twothree");
  write(folder.path("marked.txt"), "what an <image> is");
  EXPECT_THROW(read_distractor_corpus(folder.path("marked.txt")), InputError);
  std::filesystem::create_directories(folder.path("empty"));
  EXPECT_THROW(read_distractor_corpus(folder.path("empty")), InputError);
}

TEST(Distractors, ExactlySoManyTokensOfTheRepeatedCorpus) {
  const TemporaryFolder folder;
  const auto tokenizer = load_tokenizer(testing::make_tiny_llava(folder));
  const std::string corpus = "some words of an essay";
  const std::vector<int64_t> ids = tokenizer->encode(corpus, {false, false});
  const Distractors distractors(corpus, *tokenizer);
  EXPECT_EQ(distractors.text(0), "");
  const auto whole = static_cast<int64_t>(ids.size());
  EXPECT_EQ(distractors.text(whole), tokenizer->decode(ids, false));
  std::vector<int64_t> longer = ids;
  longer.insert(longer.end(), ids.begin(), ids.begin() + 3);
  EXPECT_EQ(distractors.text(whole + 3), tokenizer->decode(longer, false));
}

class Prefix : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = testing::make_tiny_llava(folder_);
    llava_ = load_llava(*open_checkpoint(path), read_llava_config(path), path, {});
    for (int64_t i = 0; i < 150; ++i) ids_.push_back(3 + (i * 37) % 600);
  }

  Layout layout(int64_t visual, int64_t tokens) const {
    return parse_layout(fmt::format("image:1x{},text:{}", visual, tokens - visual));
  }

  /// Keys of all layers of the first `tokens` ids, computed at once.
  KvCache at_once(const SequenceEncoding* encoding, int64_t tokens) const {
    const at::NoGradGuard no_grad;
    KvCache cache;
    ForwardInput pass;
    pass.input_ids = at::tensor(ids_, at::kLong).unsqueeze(0).narrow(1, 0, tokens);
    pass.cache = &cache;
    RotaryTable rotary;
    PassEncoding rules;
    if (encoding != nullptr) {
      rules = encoding->pass(0, tokens);
      pass.encoding = &rules;
    } else {
      rotary = plain_rotary_table(llava_.decoder.config, tokens);
      pass.rotary = &rotary;
    }
    forward(llava_.decoder, pass);
    return cache;
  }

  void expect_equal(const KvCache& a, const KvCache& b) const {
    ASSERT_EQ(a.length(), b.length());
    for (size_t layer = 0; layer < a.keys.size(); ++layer) {
      EXPECT_TRUE(testing::all_close(a.keys[layer], b.keys[layer], 1e-5, 1e-5));
      EXPECT_TRUE(testing::all_close(a.values[layer], b.values[layer], 1e-5, 1e-5));
    }
  }

  at::Tensor embeddings(int64_t tokens) const {
    const at::Tensor ids = at::tensor(ids_, at::kLong).narrow(0, 0, tokens);
    return llava_.decoder.weights.embed_tokens.index_select(0, ids).unsqueeze(0);
  }

  TemporaryFolder folder_;
  Llava llava_;
  std::vector<int64_t> ids_;
};

TEST_F(Prefix, GrowsShrinksAndEqualsOnePass) {
  for (const std::string scheme : {"", "vanilla", "id-align", "dipe"}) {
    SCOPED_TRACE(scheme);
    KeptPrefix prefix(llava_.decoder);
    const auto request = [&](int64_t tokens, int64_t common, const SequenceEncoding* encoding,
                             const std::vector<int64_t>& ids) {
      EXPECT_GT(tokens, common);
      return prefix.keys({ids, 20, common, encoding, [&] {
                            return MediaEmbeddings{embeddings(20), {}, {}};
                          }});
    };
    std::optional<SequenceEncoding> longest;
    if (!scheme.empty())
      longest.emplace(Scheme(scheme), layout(20, 150), encoded_model(llava_.decoder.config));
    const SequenceEncoding* encoding = longest ? &*longest : nullptr;
    expect_equal(request(150, 60, encoding, ids_), at_once(encoding, 60));
    EXPECT_EQ(prefix.computed(), 60);
    expect_equal(request(150, 140, encoding, ids_),
                 at_once(encoding, 140));  // what was there is not made again
    EXPECT_EQ(prefix.computed(), 140);
    expect_equal(request(150, 70, encoding, ids_), at_once(encoding, 70));  // nor is what is shorter
    EXPECT_EQ(prefix.computed(), 140);
    const std::vector<int64_t> before = ids_;
    std::vector<int64_t> other = ids_;
    other[100] = 5;
    EXPECT_EQ(request(150, 110, encoding, other).length(), 100);  // so few new tokens are left to the prompt
    EXPECT_EQ(prefix.computed(), 140);
    other[50] = 5;
    ids_ = other;
    expect_equal(request(150, 110, encoding, ids_), at_once(encoding, 110));
    EXPECT_EQ(prefix.computed(), 140 + 60);
    ids_ = before;
  }
}

TEST_F(Prefix, OtherPositionsAreOtherKeys) {
  KeptPrefix prefix(llava_.decoder);
  const EncodedModel model = encoded_model(llava_.decoder.config);
  const auto keys = [&](const SequenceEncoding& encoding) {
    return prefix.keys({ids_, 20, 90, &encoding, [&] { return MediaEmbeddings{embeddings(20), {}, {}}; }});
  };
  const SequenceEncoding vanilla(Scheme("vanilla"), layout(20, 150), model);
  const SequenceEncoding half(Scheme("v2pe:delta=0.5"), layout(20, 150), model);
  keys(vanilla);
  expect_equal(keys(half), at_once(&half, 90));
  expect_equal(keys(vanilla), at_once(&vanilla, 90));
  EXPECT_EQ(prefix.computed(), 3 * 90);
  prefix.forget();
  keys(vanilla);
  EXPECT_EQ(prefix.computed(), 4 * 90);
}

Scores scores_of(const std::vector<double>& scores, double share) {
  const Benchmark& ai2d = find_benchmark("ai2d");
  UnitCollector units(ai2d);
  const auto tally = ai2d.tally({});
  Scores out;
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto record = static_cast<int64_t>(i) + 1;
    units.add(record, {}, scores[i]);
    tally->add({}, {nullptr, std::nullopt, scores[i]});
    out.records.push_back(record);
    out.scores.push_back(scores[i]);
    out.visual_share.push_back(share + 0.01 * static_cast<double>(i % 2));
    out.uniform_share.push_back(0.5);
  }
  out.items = static_cast<int64_t>(scores.size());
  out.units = units.scores();
  out.aggregates = tally->aggregates();
  return out;
}

TEST(FadingCurves, DropsArePairedOverItems) {
  // 8 of 10 right at first; 5 behind a text, all of them among the 8.
  std::vector<double> near(10, 0.0), far(10, 0.0);
  std::fill(near.begin(), near.begin() + 8, 1.0);
  std::fill(far.begin(), far.begin() + 5, 1.0);
  std::map<Condition, Scores> scores;
  scores[{"vanilla", 0}] = scores_of(near, 0.4);
  scores[{"vanilla", 1024}] = scores_of(far, 0.1);
  scores[{"dipe", 0}] = scores_of(near, 0.4);
  scores[{"dipe", 1024}] = scores_of(near, 0.3);
  const auto curves = fading_curves(scores, find_benchmark("ai2d"), {"vanilla", "dipe"}, {0, 1024}, 1);
  ASSERT_EQ(curves.size(), 2u);
  const FadingPoint& start = curves[0].points[0];
  const FadingPoint& behind = curves[0].points[1];
  EXPECT_EQ(start.items, 10);
  EXPECT_DOUBLE_EQ(start.percent, 80);
  EXPECT_LT(start.interval.low, 80);
  EXPECT_GT(start.interval.high, 80);
  EXPECT_DOUBLE_EQ(start.drop.difference, 0);
  EXPECT_DOUBLE_EQ(behind.percent, 50);
  EXPECT_DOUBLE_EQ(behind.drop.difference, 30);
  EXPECT_GE(behind.drop.interval.low, 0);  // no item became right: paired, the drop cannot be a rise
  EXPECT_LE(behind.drop.interval.high, 70);
  EXPECT_DOUBLE_EQ(behind.relative, 0.625);
  EXPECT_NEAR(behind.visual_share, 0.105, 1e-12);
  EXPECT_LE(behind.share_interval.low, 0.105);
  EXPECT_DOUBLE_EQ(behind.uniform_share, 0.5);
  EXPECT_DOUBLE_EQ(curves[1].points[1].against_first.difference, 30);
  EXPECT_DOUBLE_EQ(*curves[1].points[1].against_first.p, 0.25);  // 3 of 3 discordant items
  const Json json = fading_json(curves);
  EXPECT_EQ(json[0]["points"][1]["drop"]["points"], 30);
  scores.erase({"dipe", 1024});
  EXPECT_THROW(fading_curves(scores, find_benchmark("ai2d"), {"vanilla", "dipe"}, {0, 1024}, 1), InputError);
}

}  // namespace
}  // namespace ropescope::eval
