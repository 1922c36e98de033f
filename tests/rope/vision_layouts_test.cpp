// Layouts of vision-language models: ids of the reference implementations, and ID-Align where tiles stand in
// the sequence one by one (tests/golden/vlm).
#include <algorithm>

#include <gtest/gtest.h>

#include <ATen/ops/full.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/id_align.h"
#include "ropescope/rope/scheme.h"
#include "ropescope/rope/tiled_block.h"

#include "tests/support/golden.h"
#include "tests/support/schemes.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

Segment text_run(int64_t tokens) {
  Segment text;
  text.text = tokens;
  return text;
}

// ---- Qwen and GLM: spans and grids of the golden cases

struct Clips {
  std::vector<Grid> images, videos;
};

std::vector<Grid> grids_of(const Json& record, const char* field) {
  std::vector<Grid> grids;
  if (!record.contains(field) || record[field].is_null()) return grids;
  for (const Json& thw : record[field]) {
    grids.push_back({thw[0].get<int64_t>(), thw[1].get<int64_t>() / 2, thw[2].get<int64_t>() / 2});
  }
  return grids;
}

// A span that holds one frame pair of a clip takes its grid again for the next pair.
Layout layout_of_spans(const Json& record, double tokens_per_second) {
  Clips clips{grids_of(record, "image_grid_thw"), grids_of(record, "video_grid_thw")};
  for (size_t i = 0; i < clips.videos.size() && tokens_per_second > 0; ++i) {
    clips.videos[i].step =
        static_cast<float>(tokens_per_second) * record.at("second_per_grid_ts")[i].get<float>();
  }
  Layout layout;
  int64_t done = 0, frames_left = 0;
  size_t image = 0, video = 0;
  for (const Json& span : record.at("spans")) {
    const int64_t first = span[1].get<int64_t>(), tokens = span[2].get<int64_t>();
    if (first > done) layout.segments.push_back(text_run(first - done));
    Segment block;
    // GLM's frames carry the kind of an image.
    const bool clip = span[0] == "video" || clips.images.empty();
    block.kind = span[0] == "video" ? Segment::Kind::kVideo : Segment::Kind::kImage;
    if (!clip) {
      block.grid = clips.images.at(image++);
    } else if (clips.videos.at(video).tokens() == tokens) {
      block.grid = clips.videos.at(video++);
    } else {
      if (frames_left == 0) frames_left = clips.videos.at(video).t;
      block.grid = clips.videos.at(video);
      block.grid.t = 1;
      if (--frames_left == 0) ++video;
    }
    EXPECT_EQ(block.tokens(), tokens);
    layout.segments.push_back(block);
    done = first + tokens;
  }
  const int64_t length = record.at("length").get<int64_t>();
  if (length > done) layout.segments.push_back(text_run(length - done));
  return layout;
}

class NativeIds : public ::testing::TestWithParam<std::string> {};

TEST_P(NativeIds, AreThoseOfTheReference) {
  const std::string folder = "vlm/" + GetParam() + "/";
  const auto tensors = golden_tensors(folder + "expected.safetensors");
  const double tokens_per_second = GetParam() == "qwen2_5_vl" ? 2 : 0;
  const Scheme extent("mrope:temporal_stride=1,after=extent"), largest("mrope:temporal_stride=1");
  int64_t cases = 0;
  const Json expected = golden_json(folder + "expected.json");
  for (const Json& record : expected.at("cases")) {
    const std::string name = record.at("name");
    SCOPED_TRACE(GetParam() + " " + name);
    const Layout layout = layout_of_spans(record, tokens_per_second);
    const auto expect = [&](const Scheme& scheme, const std::string& ids) {
      const Positions positions = scheme.positions(layout);
      EXPECT_TRUE(all_close(positions.coordinates, tensors.at(name + "." + ids).to(at::kDouble), 0));
      return positions.next;
    };
    const double next = expect(extent, "position_ids");
    // generate() goes on behind the prompt's last id, the rope delta behind its largest.
    EXPECT_EQ(next, record.at("generated_position_first_last")[0].get<double>());
    const std::string older = name + ".position_ids_transformers4";
    const bool differs = tensors.count(older) > 0;
    const double longest = expect(largest, differs ? "position_ids_transformers4" : "position_ids");
    EXPECT_EQ(longest == next, !differs);
    ++cases;
  }
  EXPECT_GE(cases, 5);
}

INSTANTIATE_TEST_SUITE_P(Families, NativeIds,
                         ::testing::Values("qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen3_5", "glm4v"),
                         [](const auto& entry) { return entry.param; });

TEST(GridStep, StandsInForTheTemporalStrideOfEveryDesignWithFrames) {
  for (const char* name : {"mrope", "mrope-interleave", "mhrope", "grape", "videorope", "hope", "ilrope",
                           "omnirope", "mmrope", "circlerope", "dipe"}) {
    SCOPED_TRACE(name);
    const Layout own = parse_layout("text:2,video:3x2x3,text:2"),
                 clip = parse_layout("text:2,video:3x2x3:step=2.75,text:2");
    const Scheme plain(name), stride(std::string(name) + ":temporal_stride=2.75");
    EXPECT_TRUE(plain.positions(clip).coordinates.equal(stride.positions(own).coordinates));
    EXPECT_EQ(plain.positions(clip).next, stride.positions(own).next);
    EXPECT_FALSE(plain.positions(clip).coordinates.equal(plain.positions(own).coordinates));
  }
}

// ---- ID-Align

struct TiledFamily {
  std::string name, order;  ///< of the block's text behind the sizes
};

// One letter a token, as in the golden files.
std::string kinds_of(const Layout& layout) {
  std::string kinds;
  for (const Segment& segment : layout.segments) {
    if (segment.kind == Segment::Kind::kText) kinds.append(static_cast<size_t>(segment.text), 't');
    for (const Piece& piece : segment.pieces) {
      kinds.append(static_cast<size_t>(piece.tokens), "ohbat"[static_cast<size_t>(piece.role)]);
    }
    if (segment.kind != Segment::Kind::kAnyres || !segment.pieces.empty()) continue;
    kinds.append(static_cast<size_t>(segment.grid.tokens()), 'o');
    for (int64_t row = 0; row < segment.high_h; ++row) {
      kinds.append(static_cast<size_t>(segment.high_w), 'h');
      if (segment.newline) kinds += 'a';
    }
  }
  return kinds;
}

const Json& case_of(const Json& expected, const std::string& name) {
  for (const Json& record : expected.at("cases")) {
    if (record.at("name") == name) return record;
  }
  throw InternalError("no case {}", name);
}

Layout idalign_layout(const TiledFamily& family, const Json& record, const std::string& kinds) {
  const Json& sizes = record.at("layout")[0];
  const auto pair = [&](const char* name) {
    return fmt::format("{}x{}", sizes.at(name)[0].get<int64_t>(), sizes.at(name)[1].get<int64_t>());
  };
  const std::string block = "anyres:" + pair("H0W0") + "+" + pair("H1W1") + family.order;
  const auto before = static_cast<int64_t>(kinds.find_first_not_of('t'));
  const int64_t inside = parse_layout(block).tokens();
  return parse_layout(
      fmt::format("text:{},{},text:{}", before, block, static_cast<int64_t>(kinds.size()) - before - inside));
}

void PrintTo(const TiledFamily& family, std::ostream* out) { *out << family.name; }

class TiledIdAlign : public ::testing::TestWithParam<TiledFamily> {};

TEST_P(TiledIdAlign, IdsAndCorrespondenceAreThoseOfTheReference) {
  const std::string folder = "vlm/" + GetParam().name + "/";
  const auto tensors = golden_tensors(folder + "expected.safetensors");
  const Json expected = golden_json(folder + "expected.json");
  int64_t cases = 0;
  for (const auto& [name, record] : expected.at("idalign").items()) {
    SCOPED_TRACE(GetParam().name + " " + name);
    const std::string kinds = record.at("kinds");
    const Layout layout = idalign_layout(GetParam(), case_of(expected, name), kinds);
    ASSERT_EQ(kinds_of(layout), kinds);
    EXPECT_EQ(kinds_of(parse_layout(layout_text(layout))), kinds) << layout_text(layout);
    for (const std::string reading : {"counted", "inherit", "in_place"}) {
      SCOPED_TRACE(reading);
      const Positions positions = Scheme("id-align:newline=" + reading).positions(layout);
      EXPECT_TRUE(
          all_close(positions.coordinates[0], tensors.at(name + ".idalign." + reading).to(at::kDouble), 0));
      EXPECT_EQ(positions.next, record.at(reading).at("next").get<double>());
      EXPECT_EQ(positions.largest(), record.at(reading).at("max").get<double>());
    }
    const Segment& block = layout.segments[1];
    const BlockTokens tokens(block);
    const AlignedRaster raster(block.grid, block.high_h, block.high_w, ResizeRule::kNearest);
    const int64_t first = layout.segments[0].tokens();
    at::Tensor correspondence = at::full({layout.tokens()}, -1, at::kLong);
    for (int64_t row = 0; row < block.high_h; ++row) {
      for (int64_t column = 0; column < block.high_w; ++column) {
        correspondence[first + tokens.high(row, column)] = first + tokens.thumbnail(raster.cell(row, column));
      }
    }
    EXPECT_TRUE(correspondence.equal(tensors.at(name + ".idalign.correspondence")));
    ++cases;
  }
  EXPECT_GE(cases, 2);
}

INSTANTIATE_TEST_SUITE_P(
    Families, TiledIdAlign,
    ::testing::Values(TiledFamily{"llava_onevision", ""}, TiledFamily{"internvl", ":tiles-first"},
                      TiledFamily{"idefics3", ":tiles-first:before=2:row=1:gap=2:end=1"},
                      TiledFamily{"smolvlm", ":tiles-first:before=2:row=1:gap=2:end=1"},
                      TiledFamily{"gemma3", ":thumbnail-first:before=2:between=1:after=2:gap=13"}),
    [](const auto& entry) { return entry.param.name; });

const std::vector<std::string>& tiled_layouts() {
  static const std::vector<std::string> all = {
      "text:3,anyres:3x3+6x9:tiles-first,text:4",
      "text:5,anyres:3x2+6x4:tiles-first:before=2:row=1:gap=2:end=1,text:3,anyres:2x2+2x6:tiles-first,text:2",
      "text:2,anyres:4x4+4x8:thumbnail-first:before=2:between=1:after=2:gap=5,text:4",
      "anyres:2x3+4x3:pieces=before1/tile2.0.2.3/text2/thumbnail/tile0.0.1.3/tile1.0.1.3/after3,text:1"};
  return all;
}

// The layout with every piece as a segment of its own.
Layout as_segments(const Layout& layout) {
  Layout result;
  for (const Segment& segment : layout.segments) {
    if (segment.pieces.empty()) result.segments.push_back(segment);
    for (const Piece& piece : segment.pieces) {
      Segment one = text_run(piece.tokens);
      if (piece.is_grid()) {
        one.kind = Segment::Kind::kImage;
        one.text = 0;
        one.grid = {1, piece.h, piece.w};
      }
      result.segments.push_back(one);
    }
  }
  return result;
}

class SchemesOnTiles : public ::testing::TestWithParam<std::string> {};

TEST_P(SchemesOnTiles, PiecesAreImagesAndText) {
  const Scheme scheme(GetParam());
  for (const std::string& text : tiled_layouts()) {
    SCOPED_TRACE(text);
    const Layout layout = parse_layout(text);
    const Positions tiled = scheme.positions(layout), plain = scheme.positions(as_segments(layout));
    EXPECT_TRUE(tiled.coordinates.equal(plain.coordinates));
    EXPECT_EQ(tiled.next, plain.next);
    EXPECT_TRUE(tiled.raster.equal(plain.raster));
    EXPECT_TRUE(tiled.modality.eq(0).equal(plain.modality.eq(0)));
    EXPECT_TRUE(allowed_pairs(scheme, tiled).equal(allowed_pairs(scheme, plain)));
  }
}

TEST_P(SchemesOnTiles, IdAlignGivesAllCoordinatesOfTheThumbnail) {
  const Scheme base(GetParam());
  for (const std::string& text : tiled_layouts()) {
    const Layout layout = parse_layout(text);
    const Positions plain = base.positions(layout);
    for (const std::string reading : {"counted", "inherit", "in_place"}) {
      SCOPED_TRACE(text + " " + reading);
      const Scheme scheme("id-align:newline=" + reading + "+" + GetParam());
      const Positions aligned = scheme.positions(layout);
      const auto same_place = [&](int64_t a, int64_t b) {
        return aligned.coordinates.select(1, a).equal(aligned.coordinates.select(1, b));
      };
      EXPECT_TRUE(aligned.modality.equal(plain.modality));
      int64_t first = 0;
      for (const Segment& block : layout.segments) {
        if (!block.pieces.empty()) {
          const BlockTokens tokens(block);
          const AlignedRaster raster(block.grid, block.high_h, block.high_w, ResizeRule::kNearest);
          for (int64_t i = 0; i < block.high_h * block.high_w; ++i) {
            const int64_t row = i / block.high_w, column = i % block.high_w;
            EXPECT_TRUE(same_place(first + tokens.high(row, column),
                                   first + tokens.thumbnail(raster.cell(row, column))));
          }
        }
        first += block.tokens();
      }
      if (reading == "in_place") {
        EXPECT_EQ(aligned.next, plain.next);
        const at::Tensor others = aligned.modality.ne(static_cast<int64_t>(Modality::kHighRes));
        EXPECT_TRUE(aligned.coordinates.masked_select(others).equal(plain.coordinates.masked_select(others)));
      } else {
        EXPECT_LT(aligned.next, plain.next);
      }
    }
  }
}

std::vector<std::string> unaligned_schemes() {
  std::vector<std::string> all = runnable_schemes();
  std::erase_if(all, [](const std::string& text) { return Scheme(text).aligned(); });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Schemes, SchemesOnTiles, ::testing::ValuesIn(unaligned_schemes()),
                         [](const auto& entry) { return test_name(entry.param); });

TEST(TiledDipe, AnchorsEachVisualRunOfAPicture) {
  // Two touching tiles, two words, the thumbnail behind them; the tiles' separators are text.
  const Layout layout = parse_layout("text:2,anyres:2x2+2x4:tiles-first:gap=2,text:1");
  const Positions positions = Scheme("dipe").positions(layout);
  const std::vector<double> expected = {0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 6, 6, 8, 8, 8, 8, 10};
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(positions.anchors[0][static_cast<int64_t>(i)].item<double>(), expected[i]) << i;
  }
  const Positions aligned = Scheme("dipe+id-align+mrope").positions(layout);
  const std::vector<double> inherited = {0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 6};
  for (size_t i = 0; i < inherited.size(); ++i) {
    EXPECT_EQ(aligned.anchors[0][static_cast<int64_t>(i)].item<double>(), inherited[i]) << i;
  }
}

}  // namespace
}  // namespace ropescope
