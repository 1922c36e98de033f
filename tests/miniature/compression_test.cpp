// Which tokens a compression leaves and where they sit: by hand on small grids, against the scheme ppe and its golden ids.
#include "miniature/compression.h"

#include <set>

#include <gtest/gtest.h>

#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/encoding.h"

#include "miniature/merged_ids.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

constexpr int64_t kRounds = 2;  // of the conversation

PictureSequence sequence_of(const Shape& shape, Order order = Order::kLlavaNext) {
  const View view = view_of(shape, order);
  return picture_sequence(shape, view, layout_of(view, 2 * kRounds));
}

EncodedModel small_model() {
  EncodedModel model;
  model.head_dim = 32;
  model.heads = model.kv_heads = 3;
  model.layers = 3;
  return model;
}

std::vector<double> row_of(const at::Tensor& ids, int64_t row = 0) {
  const at::Tensor one = ids[row].contiguous();
  return {one.const_data_ptr<double>(), one.const_data_ptr<double>() + one.numel()};
}

TEST(Compression, ReadsItsNames) {
  EXPECT_EQ(compression_text(parse_compression("", "")), "");
  EXPECT_TRUE(parse_compression("none", "").none());
  for (const char* text : {"pool-2", "pool-4", "drop-50", "tome-75", "prune-90", "tofu-1"}) {
    EXPECT_EQ(compression_text(parse_compression(text, "")), text);
    EXPECT_EQ(compression_text(parse_compression(text, "after")), std::string(text) + ", after");
  }
  for (const char* text :
       {"pool", "pool-1", "pool-9", "drop-0", "drop-100", "drop-5x", "drop--5", "none-3", "squeeze-2"}) {
    EXPECT_THROW(parse_compression(text, ""), UsageError) << text;
  }
  EXPECT_THROW(parse_compression("pool-2", "middle"), UsageError);
  EXPECT_THROW(parse_compression("drop-50", "mean"), UsageError);
  EXPECT_THROW(parse_compression("prune-50", "ppe"), UsageError);
  EXPECT_THROW(parse_compression("", "mean"), UsageError);
}

TEST(Compression, CountsWhatIsLeft) {
  EXPECT_EQ(parse_compression("drop-75", "").left(64, 0), 16);
  EXPECT_EQ(parse_compression("drop-90", "").left(48, 2), 5);  // 43.2 go
  const Compression prune = parse_compression("prune-75", "");
  EXPECT_EQ(prune.left(64, 0), 64);
  EXPECT_EQ(prune.left(64, 1), 16);
  const Compression tofu = parse_compression("tofu-75", "");
  EXPECT_EQ(tofu.left(64, 0), 64);
  EXPECT_EQ(tofu.left(64, 1), 32);  // half, and half of that
  EXPECT_EQ(tofu.left(64, 2), 16);
  EXPECT_EQ(parse_compression("tome-99", "").left(10, 0), 1);  // one at least
}

TEST(Compression, PoolsTakeSquaresAndTheNewlinesOfTheirRows) {
  // 10 columns and 4 rows in squares of 4: of a row 4, 4 and 2 columns.
  const PictureSequence sequence = sequence_of({10, 4});
  ASSERT_EQ(sequence.high.size(), 40U);
  ASSERT_EQ(sequence.newlines.size(), 4U);
  const Members members = pooled(sequence, 4);
  ASSERT_EQ(members.size(), 1U + 16U + 3U + 1U + 2U * kRounds);
  std::set<int64_t> once;
  for (const auto& some : members) once.insert(some.begin(), some.end());
  EXPECT_EQ(static_cast<int64_t>(once.size()), sequence.tokens);
  EXPECT_EQ(members[16], std::vector<int64_t>{16});
  const int64_t first = 17, step = 11;  // of the high-resolution rows
  EXPECT_EQ(members[17].size(), 16U);
  EXPECT_EQ(members[17][4], first + step);
  EXPECT_EQ(members[19], (std::vector<int64_t>{first + 8, first + 9, first + step + 8, first + step + 9,
                                               first + 2 * step + 8, first + 2 * step + 9,
                                               first + 3 * step + 8, first + 3 * step + 9}));
  EXPECT_EQ(members[20], sequence.newlines);
  EXPECT_EQ(members.back(), std::vector<int64_t>{sequence.tokens - 1});
}

TEST(Compression, KnowsWhichCellMembersShare) {
  const PictureSequence square = sequence_of({8, 8}), narrow = sequence_of({12, 4});
  std::vector<int64_t> cells;
  for (const auto& members : pooled(square, 2)) {
    const int64_t cell = cell_of_members(square, members);
    if (cell >= 0) cells.push_back(cell);
  }
  std::vector<int64_t> all(16);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(cells, all);  // a square of 2x2 is a cell
  for (const auto& members : pooled(narrow, 2))
    EXPECT_EQ(cell_of_members(narrow, members), -1);  // of two rows
  for (const auto& members : pooled(square, 4)) EXPECT_EQ(cell_of_members(square, members), -1);
}

TEST(Compression, ChanceAndScores) {
  Rng rng = make_rng(1, {2});
  std::vector<int64_t> times(10, 0);
  for (int i = 0; i < 2000; ++i) {
    const std::vector<int64_t> some = chosen_by_chance(10, 3, rng);
    ASSERT_EQ(std::set<int64_t>(some.begin(), some.end()).size(), 3U);
    ASSERT_TRUE(std::is_sorted(some.begin(), some.end()));
    for (const int64_t place : some) ++times[static_cast<size_t>(place)];
  }
  for (const int64_t count : times) EXPECT_NEAR(static_cast<double>(count), 600, 5 * std::sqrt(600 * 0.7));
  EXPECT_EQ(largest({3, 9, 1, 9, 4, 9}, 2), (std::vector<int64_t>{1, 3}));  // the earlier of equal ones
}

TEST(Compression, MatchesAsToMeDoes) {
  // Directions in degrees; tokens 0, 2, 4 choose among 1, 3, 5.
  const std::vector<double> degrees = {0, 40, 42, 90, 100, 10};
  std::vector<float> features;
  for (const double angle : degrees) {
    features.push_back(static_cast<float>(2 * std::cos(angle * M_PI / 180)));
    features.push_back(static_cast<float>(2 * std::sin(angle * M_PI / 180)));
  }
  EXPECT_EQ(alike(features, 6, 2, 5, true), (Members{{0}, {1, 2}, {3}, {4}, {5}}));  // 2 degrees
  EXPECT_EQ(alike(features, 6, 2, 3, true), (Members{{0, 5}, {1, 2}, {3, 4}}));      // 10 each
  EXPECT_EQ(alike(features, 6, 2, 3, false), (Members{{1}, {3}, {5}}));              // who joined is lost
  // The second round: {0, 5} at 5 degrees and {3, 4} at 95 choose {1, 2} at 41, the first being nearer.
  EXPECT_EQ(alike(features, 6, 2, 2, true), (Members{{0, 1, 2, 5}, {3, 4}}));
}

// Ids of each order, on a picture of 8x8 tokens (newlines: one a row) over a thumbnail of 4x4.
TEST(MergedIds, OfEachOrderByHand) {
  const PictureSequence sequence = sequence_of({8, 8});
  const auto ids_of = [&](const char* scheme, const char* compress, const char* merged_id,
                          const Members& members) {
    return row_of(MergedIds(Scheme(scheme), small_model(), sequence, parse_compression(compress, merged_id))
                      .coordinates(members));
  };
  const Members pools = pooled(sequence, 2);
  // ID-Align: a square of 2x2 is a thumbnail cell, whichever way it is reckoned; a pooled newline has the last cell's id.
  for (const char* merged_id : {"cell", "mean", "after"}) {
    const std::vector<double> ids = ids_of("id-align", "pool-2", merged_id, pools);
    ASSERT_EQ(ids.size(), 1U + 16 + 20 + 2 * kRounds);
    for (int64_t cell = 0; cell < 16; ++cell) {
      EXPECT_EQ(ids[static_cast<size_t>(1 + cell)], 1 + cell);
      EXPECT_EQ(ids[static_cast<size_t>(17 + cell / 4 * 5 + cell % 4)], 1 + cell) << merged_id;
    }
    for (int64_t row = 0; row < 4; ++row) EXPECT_EQ(ids[static_cast<size_t>(17 + 5 * row + 4)], 4 + 4 * row);
    EXPECT_EQ(ids[37], 17);  // text goes on after the thumbnail
  }
  // Plain: the first row's squares have the tokens 17, 18 and 26, 27 first.
  const std::vector<double> first = ids_of("vanilla", "pool-2", "cell", pools),
                            mean = ids_of("vanilla", "pool-2", "mean", pools),
                            after = ids_of("vanilla", "pool-2", "after", pools);
  EXPECT_EQ(first[17], 17);
  EXPECT_EQ(mean[17], (17 + 18 + 26 + 27) / 4.0);
  EXPECT_EQ(mean[21], (25 + 34) / 2.0);  // newlines of two rows
  for (size_t token = 0; token < after.size(); ++token) EXPECT_EQ(after[token], static_cast<double>(token));
  EXPECT_EQ(first[37], static_cast<double>(17 + 72));  // as if nothing had been pooled
  // Pools of 4x4 before ID-Align: a grid of 2x2 over the thumbnail takes the cells (0, 0), (0, 2), (2, 0), (2, 2).
  const Members wide = pooled(sequence, 4);
  const std::vector<double> nearest = ids_of("id-align", "pool-4", "after", wide);
  EXPECT_EQ(std::vector<double>(nearest.begin() + 17, nearest.begin() + 23),
            (std::vector<double>{1, 3, 3, 9, 11, 11}));
  // After it: all four cells of a square have as many members, so the first, or their mean.
  EXPECT_EQ(ids_of("id-align", "pool-4", "cell", wide)[17], 1);
  EXPECT_EQ(ids_of("id-align", "pool-4", "mean", wide)[17], (1 + 2 + 5 + 6) / 4.0);
}

TEST(MergedIds, OfWhatIsNoGrid) {
  const PictureSequence sequence = sequence_of({8, 8});
  const auto high = [&](int64_t row, int64_t column) {
    return sequence.high[static_cast<size_t>(8 * row + column)];
  };
  Members groups;  // three in cell 0, one in cell 1: the cell is 0, the mean place row 1/4, column 1
  groups.push_back({0, 1, 2, 8});
  groups.push_back({63});
  const Members members = in_sequence(sequence.tokens, sequence.high, groups);
  ASSERT_EQ(members.size(), static_cast<size_t>(sequence.tokens) - 62);
  ASSERT_EQ(members[17], (std::vector<int64_t>{high(0, 0), high(0, 1), high(0, 2), high(1, 0)}));
  const auto ids_of = [&](const char* scheme, const char* merged_id) {
    return row_of(MergedIds(Scheme(scheme), small_model(), sequence, parse_compression("tome-97", merged_id))
                      .coordinates(members));
  };
  EXPECT_EQ(ids_of("id-align", "cell")[17], 1);
  EXPECT_EQ(ids_of("id-align", "mean")[17], (3 * 1 + 2) / 4.0);
  EXPECT_EQ(ids_of("id-align", "after")[17], 1);
  EXPECT_EQ(ids_of("vanilla", "cell")[17], 17);
  const std::vector<double> counted = ids_of("vanilla", "after");
  for (size_t token = 0; token < counted.size(); ++token)
    EXPECT_EQ(counted[token], static_cast<double>(token));
  // V2PE counts a picture's tokens by half.
  const std::vector<double> halves = ids_of("v2pe:delta=0.5", "after");
  EXPECT_EQ(halves[17] - halves[16], 0.5);
  const auto make = [&](const char* scheme, const char* merged_id) {
    MergedIds(Scheme(scheme), small_model(), sequence, parse_compression("tome-97", merged_id));
  };
  EXPECT_THROW(make("mrope", "after"), UsageError);
  EXPECT_THROW(make("dipe", "cell"), UsageError);
  EXPECT_THROW(make("circlerope:move_to_origin=true,radius=10,alpha=0.5,age=alternate", "cell"), UsageError);
  EXPECT_NO_THROW(make("id-align+mrope", "after"));
}

/// Of golden positions: text, a picture of which a token a list of members is left, text.
PictureSequence sequence_of_golden(const Json& segments) {
  PictureSequence sequence;
  const Json& picture = segments.at(1).at("merged");
  const int64_t before = segments.at(0).at("text"), after = segments.at(2).at("text");
  const int64_t frames = picture.at("t"), rows = picture.at("h"), columns = picture.at("w");
  sequence.layout = layouts_from_json(
      Json::array(
          {segments.at(0), {{"image", {{"t", frames}, {"h", rows}, {"w", columns}}}}, segments.at(2)}),
      "golden")[0];
  sequence.rows = rows;
  sequence.columns = columns;
  sequence.tokens = before + frames * rows * columns + after;
  sequence.place_of.assign(static_cast<size_t>(sequence.tokens), -1);
  for (int64_t token = before; token < sequence.tokens - after; ++token) {
    sequence.place_of[static_cast<size_t>(token)] = token - before;
    sequence.high.push_back(token);
  }
  return sequence;
}

// The ids and, channel by channel, the angles of the scheme ppe, whose ids equal its public code's.
TEST(MergedIds, PpeIsTheSchemes) {
  const Json golden = testing::golden_json("positions-2026/ppe.json");
  int64_t compared = 0;
  for (const Json& record : golden.at("layouts")) {
    const Json &segments = record.at("segments"), &parameters = record.at("params");
    if (segments.size() != 3 || !segments.at(1).contains("merged") || parameters.at("k") != kPpeMembers)
      continue;
    if (segments.at(1).at("merged").at("t") != 1) continue;
    const auto sections = parameters.at("sections").get<std::vector<int64_t>>();
    const std::string text = fmt::format("sections={}", fmt::join(sections, "/"));
    EncodedModel model;
    model.head_dim = 2 * (sections[0] + sections[1] + sections[2]);
    model.heads = model.kv_heads = 1;
    const PictureSequence sequence = sequence_of_golden(segments);
    Members members;
    const int64_t before = segments.at(0).at("text"), after = segments.at(2).at("text");
    for (int64_t token = 0; token < before; ++token) members.push_back({token});
    for (const Json& some : segments.at(1).at("merged").at("members")) {
      members.emplace_back();
      for (const int64_t token : some) members.back().push_back(before + token);
    }
    for (int64_t token = sequence.tokens - after; token < sequence.tokens; ++token)
      members.push_back({token});
    const MergedIds ids(Scheme("mrope:" + text), model, sequence, parse_compression("tome-50", "ppe"));
    const at::Tensor found = ids.coordinates(members);
    const Json& rows = record.at("coordinates");
    for (int64_t row = 0; row < found.size(0); ++row) {
      EXPECT_EQ(row_of(found, row), rows.at(static_cast<size_t>(row)).get<std::vector<double>>()) << row;
    }
    const Layout merged = layouts_from_json(segments, "golden")[0];
    const PassEncoding expected = SequenceEncoding(Scheme("ppe:k=8," + text), merged, model)
                                      .pass(0, static_cast<int64_t>(members.size()));
    const RotaryTable table = ids.table(members);
    EXPECT_TRUE(testing::all_close(table.cos, expected.table(0).cos, 0.0));
    EXPECT_TRUE(testing::all_close(table.sin, expected.table(0).sin, 0.0));
    ++compared;
  }
  EXPECT_GE(compared, 1);
}

}  // namespace
}  // namespace ropescope::miniature
