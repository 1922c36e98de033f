// Distractors: what they are, where they put what follows, and that going through one once for all lengths
// changes nothing.
#include "miniature/distractors.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/file.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/decoder.h"

#include "miniature/model.h"
#include "miniature/words.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

constexpr int64_t kImageTokens = 16 + 8 * (8 + 1);  // of an 8x8 grid, with newlines

Group random_group(const Shape& shape, int64_t pictures, uint64_t seed) {
  Rng rng = make_rng(seed, {7});
  std::vector<int64_t> colours, glyphs;
  for (int64_t i = 0; i < pictures; ++i) {
    const Picture picture = random_picture(shape, rng);
    colours.insert(colours.end(), picture.colours.begin(), picture.colours.end());
    glyphs.insert(glyphs.end(), picture.glyphs.begin(), picture.glyphs.end());
  }
  Group group;
  group.shape = shape;
  group.colours = at::tensor(colours, at::kLong).view({pictures, -1});
  group.glyphs = at::tensor(glyphs, at::kLong).view({pictures, -1});
  const auto image = static_cast<int64_t>(view_of(shape, Order::kLlavaNext).sources.size());
  group.features = at::randn({pictures, image, ModelSize().tower_width});
  return group;
}

TEST(Distractors, IsWordsThatNameNothing) {
  Rng rng = make_rng(3, {1}), again = make_rng(3, {1});
  const std::vector<int64_t> words = made_up_words(5000, rng), fewer = made_up_words(100, again);
  ASSERT_EQ(words.size(), 5000U);
  EXPECT_TRUE(std::equal(fewer.begin(), fewer.end(), words.begin()));
  std::set<int64_t> kinds, lengths;
  int64_t letters = 0;
  for (const int64_t word : words) {
    kinds.insert(word);
    if (word != ' ') {
      ++letters;
      continue;
    }
    lengths.insert(letters);
    letters = 0;
  }
  EXPECT_EQ(kinds.size(), 27U);
  EXPECT_EQ(*kinds.begin(), ' ');
  EXPECT_EQ(*kinds.rbegin(), 'z');
  EXPECT_EQ(lengths, (std::set<int64_t>{2, 3, 4, 5, 6, 7, 8}));
}

TEST(Distractors, LengthsOfTrainingAreThoseGivenAndNoneWithoutThem) {
  TrainingDistractors texts({0, 8, 32}, 5), same({0, 8, 32}, 5), none({}, 5);
  std::map<int64_t, int> drawn;
  for (int i = 0; i < 300; ++i) {
    const int64_t length = texts.next_length();
    EXPECT_EQ(length, same.next_length());
    ++drawn[length];
  }
  ASSERT_EQ(drawn.size(), 3U);
  // Equal chance: standard deviation 8.2 of 100.
  for (const auto& [length, count] : drawn) EXPECT_NEAR(count, 100, 35) << length;
  EXPECT_EQ(none.next_length(), 0);
  EXPECT_FALSE(none.words(4, 0).defined());
  const at::Tensor words = texts.words(3, 8);
  EXPECT_TRUE(words.equal(same.words(3, 8)));
  EXPECT_FALSE(words[0].equal(words[1]));
}

// By hand: <s> is 0, the picture follows, then three words, then questions.
TEST(Distractors, PutsQuestionsSoManyIdsLater) {
  const Llava llava = fresh_model({}, 1e4, 1);
  const Shape shape{8, 8};
  RoomSettings settings;
  settings.questions = 2;
  for (const auto& [scheme, next] : {std::pair<const char*, int64_t>{"vanilla", 1 + kImageTokens},
                                     {"id-align", 1 + 16},
                                     {"dipe+vanilla", 1 + kImageTokens},
                                     {"dipe+id-align+vanilla", 1 + 16}}) {
    settings.scheme = scheme;
    const SequenceEncoding encoding = sequence_of(llava, settings, shape, {}, 3);
    const Positions& positions = encoding.positions();
    ASSERT_EQ(positions.coordinates.size(1), 1 + kImageTokens + 3 + 4) << scheme;
    for (int64_t i = 0; i < 7; ++i) {  // three words, colour, glyph, colour, glyph
      EXPECT_EQ(positions.coordinates[0][1 + kImageTokens + i].item<double>(), static_cast<double>(next + i))
          << scheme;
      if (positions.anchors.defined()) {
        EXPECT_EQ(positions.anchors[0][1 + kImageTokens + i].item<double>(), static_cast<double>(next));
      }
    }
    EXPECT_EQ(positions.anchors.defined(), std::string(scheme).rfind("dipe", 0) == 0);
    const Room room(llava, settings, shape, {}, 3);
    EXPECT_EQ(room.tokens, 1 + kImageTokens + 7);
    EXPECT_TRUE(room.asked.equal(at::tensor({1 + kImageTokens + 3, 1 + kImageTokens + 5}, at::kLong)));
    EXPECT_TRUE(room.in_cells.equal(Room(llava, settings, shape, {}, 0).in_cells));
  }
}

struct Whole {
  at::Tensor hidden, visual_share;
};

/// Everything in one pass without a cache.
Whole whole_pass(const Llava& llava, const RoomSettings& settings, const Shape& shape, const Batch& batch) {
  const Room room(llava, settings, shape, {}, batch.distractor.defined() ? batch.distractor.size(1) : 0);
  Whole whole;
  whole.hidden = hidden_of_pictures(llava, room, batch).asked;
  const at::Tensor& table = llava.decoder.weights.embed_tokens;
  std::vector<at::Tensor> parts = {embed_pictures(llava, room, batch)};
  if (batch.distractor.defined()) parts.push_back(at::embedding(table, batch.distractor));
  parts.push_back(at::embedding(table, batch.dialogue));
  ForwardInput input;
  input.inputs_embeds = at::cat(parts, 1);
  input.encoding = &room.encoding;
  Taps taps;
  std::vector<at::Tensor> shares;
  std::vector<int64_t> asked(room.asked.const_data_ptr<int64_t>(),
                             room.asked.const_data_ptr<int64_t>() + room.asked.numel());
  taps.attention = AttentionRows{asked, [&](int64_t, const at::Tensor& rows) {
                                   shares.push_back(rows.narrow(3, 1, kImageTokens).sum(3).mean({1, 2}));
                                 }};
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  forward(llava.decoder, input, options, taps);
  whole.visual_share = at::stack(shares).mean(0);
  return whole;
}

TEST(Distractors, OnceForAllLengthsIsAWholePassForEach) {
  const at::NoGradGuard no_grad;
  const Llava llava = fresh_model({}, 1e4, 2);
  const Shape shape{8, 8};
  const Group group = random_group(shape, 2, 1);
  for (const char* scheme : {"vanilla", "id-align", "dipe+vanilla", "dipe+id-align+mrope-interleave",
                             "circlerope:move_to_origin=true,radius=10,alpha=0.5"}) {
    RoomSettings settings;
    settings.scheme = scheme;
    settings.questions = 3;
    settings.library = true;
    Rooms rooms(llava, settings, {});
    Rng rng = make_rng(4, {2});
    Batch batch = make_batch({}, group, at::arange(2, at::kLong), 3, rng);
    const std::vector<int64_t> lengths = {0, 5, 1200};  // the last takes two passes of text
    std::vector<at::Tensor> texts;
    for (int row = 0; row < 2; ++row) texts.push_back(at::tensor(made_up_words(1200, rng), at::kLong));
    const at::Tensor text = at::stack(texts);
    batch.distractor = text;
    const std::vector<Behind> shared = asked_behind(llava, rooms, shape, batch, lengths);
    ASSERT_EQ(shared.size(), 3U);
    for (size_t i = 0; i < lengths.size(); ++i) {
      batch.distractor = lengths[i] == 0 ? at::Tensor() : text.narrow(1, 0, lengths[i]);
      const Whole whole = whole_pass(llava, settings, shape, batch);
      EXPECT_TRUE(testing::all_close(shared[i].hidden, whole.hidden, 2e-4)) << scheme << " " << lengths[i];
      EXPECT_TRUE(testing::all_close(shared[i].visual_share, whole.visual_share, 1e-5))
          << scheme << " " << lengths[i];
    }
    // It is not the same whatever the length.
    EXPECT_FALSE(testing::all_close(shared[0].hidden, shared[2].hidden, 1e-2)) << scheme;
  }
}

TEST(Distractors, BehindNoneIsWhatMeasureCounts) {
  const Llava llava = fresh_model({}, 1e4, 2);
  Album album;
  album.groups = {random_group({8, 8}, 6, 1), random_group({12, 4}, 5, 2)};
  for (const char* scheme : {"id-align", "dipe"}) {
    RoomSettings settings;
    settings.scheme = scheme;
    settings.seed = 3;
    for (const int64_t pictures : {int64_t{0}, int64_t{10}}) {
      const Score plain = measure(llava, settings, album, pictures).answers;
      const std::vector<FadingPoint> points = measure_fading(llava, settings, album, {40, 0, 40}, pictures);
      ASSERT_EQ(points.size(), 2U);
      EXPECT_EQ(points[0].length, 0);
      EXPECT_EQ(points[0].answers.right, plain.right);
      EXPECT_EQ(points[0].answers.asked, plain.asked);
      EXPECT_EQ(points[0].pictures, pictures == 0 ? 11 : 10);
      EXPECT_EQ(points[1].length, 40);
      EXPECT_EQ(points[1].answers.asked, plain.asked);
      EXPECT_GT(points[1].visual_share, 0.0);
      EXPECT_LT(points[1].visual_share, points[0].visual_share);
    }
  }
  EXPECT_TRUE(measure_fading(llava, {}, album, {}, 4).empty());
}

int run_step(const std::string& arguments) {
  return WEXITSTATUS(
      std::system((testing::miniature_path() + " " + arguments + " --quiet >/dev/null 2>&1").c_str()));
}

TEST(Distractors, WholeRunInSeconds) {
  const testing::TemporaryFolder folder;
  std::filesystem::create_directories(folder.path("runs"));
  const std::string runs = folder.path("runs");
  for (const std::string seed : {"0", "1"}) {
    const std::string from = folder.path("seed-" + seed);
    ASSERT_EQ(run_step("prepare --seed " + seed + " --output " + from +
                       " --pictures 16 --test-pictures 6 --tower-steps 2 --width 64 --heads 2"),
              0);
    ASSERT_EQ(run_step("text --seed " + seed + " --from " + from + " --text-steps 2 --text-batch 4"), 0);
    ASSERT_EQ(
        run_step("train --from " + from + " --seed " + seed +
                 " --schemes 'vanilla;id-align;dipe+vanilla' --steps 3 --batch 4 --measure-every 3"
                 " --distractor-lengths 0,6,20 --measure-lengths 0,16,32 --length-pictures 4 --output '" +
                 runs + "/{scheme}-" + seed + ".json'"),
        0);
  }
  const std::string from = folder.path("seed-0");
  const Json result = read_json_file(runs + "/dipe+vanilla-0.json");
  EXPECT_EQ(result["settings"]["distractor_lengths"], Json({0, 6, 20}));
  ASSERT_EQ(result["fading"]["seen"].size(), 3U);
  EXPECT_EQ(result["fading"]["seen"][2]["answers"]["asked"], 4 * 8);
  ASSERT_EQ(run_step("fading --results " + runs + " --output " + folder.path("fading")), 0);
  const std::string table = read_file(folder.path("fading.md"));
  for (const char* part :
       {"| dipe+vanilla − vanilla |", "| vanilla − id-align |", "32 questions about 4 pictures"})
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  const std::string lines = read_file(folder.path("fading-runs.csv"));
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 1 + 3 * 2 * 2 * 3);
  EXPECT_GT(std::filesystem::file_size(folder.path("fading.png")), 1000U);
  EXPECT_GT(std::filesystem::file_size(folder.path("fading.h5")), 1000U);
  // Text of length 0 alone is a run without text, to the last bit.
  const std::string plain =
      "train --from " + from + " --scheme id-align --steps 3 --batch 4 --measure-every 3";
  ASSERT_EQ(run_step(plain + " --output " + folder.path("plain.json") + " --save " + folder.path("plain")),
            0);
  ASSERT_EQ(run_step(plain + " --distractor-lengths 0 --output " + folder.path("zero.json") + " --save " +
                     folder.path("zero")),
            0);
  EXPECT_EQ(read_json_file(folder.path("plain.json"))["curve"],
            read_json_file(folder.path("zero.json"))["curve"]);
  EXPECT_EQ(read_file(folder.path("plain/model.safetensors")),
            read_file(folder.path("zero/model.safetensors")));
  // Refused: runs without such measures, looks that ask behind no text, a length beyond all bounds.
  std::filesystem::create_directories(folder.path("others"));
  std::filesystem::rename(folder.path("plain.json"), folder.path("others/plain.json"));
  EXPECT_EQ(run_step("fading --results " + folder.path("others") + " --output " + folder.path("none")), 3);
  EXPECT_EQ(
      run_step(plain + " --distractor-lengths 4 --stop-when-solved 3 --output " + folder.path("x.json")), 2);
  EXPECT_EQ(run_step(plain + " --measure-lengths 1000000 --output " + folder.path("x.json")), 2);
  EXPECT_FALSE(std::filesystem::exists(folder.path("x.json")));
}

}  // namespace
}  // namespace ropescope::miniature
