// Schemes on random layouts, and what their text may say.
#include "ropescope/rope/scheme.h"

#include <random>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/encoding.h"

#include "tests/support/golden.h"
#include "tests/support/schemes.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

/// `tiles`: tiles one by one, each as large as the thumbnail.
Layout random_layout(std::mt19937_64& rng, bool videos, bool tiles = false) {
  const auto pick = [&rng](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(rng() % static_cast<uint64_t>(high - low + 1));
  };
  std::string text = fmt::format("text:{}", pick(1, 9));
  for (int64_t i = pick(1, 4); i > 0; --i) {
    const int64_t kind = pick(0, videos ? 2 : 1);
    if (kind == 0) text += fmt::format(",image:{}x{}", pick(1, 9), pick(1, 9));
    if (kind == 1 && tiles) {
      const int64_t h = pick(1, 5), w = pick(1, 5);
      text += fmt::format(",anyres:{}x{}+{}x{}:tiles-first", h, w, h * pick(1, 3), w * pick(1, 3));
    } else if (kind == 1) {
      text += fmt::format(",anyres:{}x{}+{}x{}{}", pick(1, 6), pick(1, 6), pick(1, 14), pick(0, 14),
                          pick(0, 1) == 1 ? "" : ":no-newline");
    }
    if (kind == 2) text += fmt::format(",video:{}x{}x{}", pick(1, 5), pick(1, 6), pick(1, 6));
    if (pick(0, 3) > 0) text += fmt::format(",text:{}", pick(1, 9));
  }
  return parse_layout(text);
}

class SchemesOnRandomLayouts : public ::testing::TestWithParam<std::string> {
 protected:
  std::vector<Layout> layouts(int64_t count) {
    std::mt19937_64 rng(7);
    std::vector<Layout> result;
    const bool tiles = needs_tiles(GetParam());
    for (int64_t i = 0; i < count; ++i) result.push_back(random_layout(rng, !tiles, tiles));
    return result;
  }
  Scheme scheme_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Schemes, SchemesOnRandomLayouts, ::testing::ValuesIn(all_schemes()),
                         [](const auto& entry) { return test_name(entry.param); });

TEST_P(SchemesOnRandomLayouts, EveryTokenIsPlacedAndTextGoesOnByOne) {
  for (const Layout& layout : layouts(40)) {
    SCOPED_TRACE(layout_text(layout));
    const Positions p = scheme_.positions(layout);
    ASSERT_EQ(p.coordinates.sizes(), (std::vector<int64_t>{scheme_.axes(), layout.tokens()}));
    ASSERT_TRUE(p.coordinates.abs().lt(1e6).all().item<bool>());
    const auto* t = p.coordinates.const_data_ptr<double>();
    const auto* modality = p.modality.const_data_ptr<uint8_t>();
    int64_t token = 0;
    double last_text = -1;
    for (const Segment& segment : layout.segments) {
      for (int64_t i = 0; i < segment.tokens(); ++i, ++token) {
        if (segment.kind != Segment::Kind::kText) {
          ASSERT_NE(modality[token], 0);
          continue;
        }
        ASSERT_EQ(modality[token], 0);
        ASSERT_GT(t[token], last_text) << token;
        if (i > 0) {
          ASSERT_NEAR(t[token], t[token - 1] + 1, 1e-12);
        }
        last_text = t[token];
      }
    }
    // The first generated token is past every text token.
    EXPECT_GT(p.next, last_text);
    const at::Tensor generated = scheme_.generated_positions(p, 3, 2);
    EXPECT_EQ(generated[0][1].item<double>(), p.next + 4);
  }
}

TEST_P(SchemesOnRandomLayouts, MoreTextBeforeShiftsTheRestWithoutBendingIt) {
  for (const Layout& layout : layouts(20)) {
    SCOPED_TRACE(layout_text(layout));
    const Positions p = scheme_.positions(layout);
    const int64_t more = 13, old = layout.segments[0].text;
    Layout longer = layout;
    longer.segments[0].text += more;
    const Positions q = scheme_.positions(longer);
    EXPECT_NEAR(q.next - p.next, double{more}, 1e-4);
    const int64_t rest = layout.tokens() - old;
    const at::Tensor moved =
        q.coordinates.narrow(1, old + more, rest).sub(p.coordinates.narrow(1, old, rest));
    // An axis moves as a whole, unless the scheme resets it in every picture.
    const at::Tensor t = moved[0];
    EXPECT_NEAR(t.min().item<double>(), double{more}, 1e-4);
    EXPECT_NEAR(t.max().item<double>(), double{more}, 1e-4);
    for (int64_t axis = 1; axis < scheme_.axes(); ++axis) {
      EXPECT_TRUE(
          moved[axis].sub(double{more}).abs().lt(1e-4).logical_or(moved[axis].eq(0)).all().item<bool>());
    }
  }
}

TEST_P(SchemesOnRandomLayouts, LayersWithoutNeedHaveTheSameIds) {
  const Layout layout = parse_layout("text:3,image:6x8,text:2");
  const bool same = scheme_.positions(layout, 0).coordinates.equal(scheme_.positions(layout, 3).coordinates);
  EXPECT_EQ(same, !scheme_.depends_on_layer());
}

TEST(IdAlign, TheIdSpanDoesNotGrowWithResolution) {
  for (const std::string base :
       {"", "+v2pe:delta=0.5", "+mrope", "+mrope-interleave", "+circlerope", "+cca"}) {
    const Scheme scheme("id-align" + base);
    const double span = scheme.positions(parse_layout("text:5,anyres:24x24+24x24,text:7")).next;
    for (const char* high : {"48x48", "24x72", "37x48", "72x0", "1x1", "0x5"}) {
      EXPECT_EQ(scheme.positions(parse_layout(fmt::format("text:5,anyres:24x24+{},text:7", high))).next,
                span);
    }
  }
}

TEST(IdAlign, HighResolutionTokensAndNewlinesTakeTheirCellsCoordinates) {
  const Scheme scheme("id-align+mrope");
  const Positions p = scheme.positions(parse_layout("text:2,anyres:2x3+4x6,text:1"));
  for (int64_t axis = 0; axis < 3; ++axis) {
    const at::Tensor row = p.coordinates[axis];
    for (int64_t y = 0; y < 4; ++y) {
      for (int64_t x = 0; x < 7; ++x) {  // column 6 is the newline
        const int64_t cell = y / 2 * 3 + std::min<int64_t>(x, 5) / 2;
        EXPECT_EQ(row[2 + 6 + y * 7 + x].item<double>(), row[2 + cell].item<double>());
      }
    }
  }
  // A picture without high-resolution columns still closes its rows.
  const Positions narrow = Scheme("id-align").positions(parse_layout("anyres:2x3+4x0,text:1"));
  EXPECT_EQ(narrow.coordinates[0][6].item<double>(), 2);
  EXPECT_EQ(narrow.coordinates[0][9].item<double>(), 5);
  EXPECT_EQ(narrow.coordinates[0][10].item<double>(), 6);
  // A single tile is plain text order.
  const Positions single = Scheme("id-align").positions(parse_layout("anyres:2x3,text:2"));
  EXPECT_TRUE(single.coordinates[0].equal(at::arange(9, at::kDouble)));
}

TEST(Dipe, MoreTextOfTheSameRunDoesNotMoveThePicture) {
  const Scheme scheme("dipe");
  const Positions near = scheme.positions(parse_layout("text:4,image:3x3,text:2"));
  const Positions far = scheme.positions(parse_layout("text:4,image:3x3,text:2000"));
  EXPECT_TRUE(far.anchors.select(1, far.tokens() - 1).equal(near.anchors.select(1, near.tokens() - 1)));
}

TEST(SchemeSettings, AblationsAreSettings) {
  const Layout layout = parse_layout("text:4,image:5x3,text:2");
  const at::Tensor diagonal = Scheme("mrope:diagonal=true").positions(layout).coordinates;
  EXPECT_TRUE(diagonal.equal([&] {
    at::Tensor centred = Scheme("videorope").positions(layout).coordinates.clone();
    centred.narrow(1, 19, 2).copy_(diagonal.narrow(1, 19, 2));  // only `next` differs
    return centred;
  }()));
  const Positions gap = Scheme("mrope:modality_interval=10").positions(layout);
  EXPECT_EQ(gap.coordinates[0][4].item<double>(), 14);
  EXPECT_EQ(gap.next, Scheme("mrope").positions(layout).next + 20);
  EXPECT_EQ(Scheme("mrope:text_spatial_zero=true").positions(layout).coordinates[1][3].item<double>(), 0);
  EXPECT_NEAR(Scheme("mrope:base_scale=100").rope_theta(1e4), 1e6, 1e-6);
  EXPECT_NEAR(Scheme("grape:log_freq_scale=2").rope_theta(1e4), 1e2, 1e-10);
  // A position design with the frequencies of another.
  const at::Tensor axis = Scheme("mrope/interleaved").frequencies({}, 128, 1, 0, 1).axis;
  EXPECT_TRUE(axis.equal(Scheme("mrope-interleave").frequencies({}, 128, 1, 0, 1).axis));
}

TEST(SchemeSettings, ContextScalingAndPartialRotaryCompose) {
  RopeConfig yarn;
  yarn.type = RopeType::kYarn;
  yarn.factor = 4;
  yarn.original_max_position_embeddings = 4096;
  for (const std::string& text : all_schemes()) {
    const Scheme scheme(text);
    const Frequencies scaled = scheme.frequencies(yarn, 64, 3, 0, 100);
    EXPECT_EQ(scaled.attention_scale != 1.0, text.find("alibi") == std::string::npos) << text;
    RopeConfig partial;
    partial.partial_rotary_factor = 0.5;
    EXPECT_EQ(scheme.frequencies(partial, 64, 3, 0, 100).axis.size(1), 16) << text;
  }
}

void expect_refused(const std::string& text, const std::string& words) {
  try {
    const Scheme scheme(text);
    scheme.frequencies({}, 64, 4, 0, 1);
    ADD_FAILURE() << text << " was accepted";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << text << ": " << error.what();
  }
}

/// t of the first token of each frame, then the next base.
std::vector<double> frame_ids(const std::string& scheme) {
  const Positions positions = Scheme(scheme).positions(parse_layout("text:3,video:4x2x2,text:2"));
  std::vector<double> ids;
  for (int64_t frame = 0; frame < 4; ++frame) {
    ids.push_back(positions.coordinates[0][3 + 4 * frame].item<double>());
  }
  ids.push_back(positions.coordinates[0][19].item<double>());
  return ids;
}

// get_rope_index of Qwen2.5-VL: (frame * stride).long() in float32, the next base from the whole numbers.
TEST(SchemeVideo, FramesOfMropeTakeWholeIds) {
  using Ids = std::vector<double>;
  for (const std::string name : {"mrope", "mrope-interleave", "mhrope", "dipe+mrope", "grape"}) {
    EXPECT_EQ(frame_ids(name + ":temporal_stride=1.5"), (Ids{3, 4, 6, 7, 8})) << name;
    EXPECT_EQ(frame_ids(name + ":temporal_stride=0.8"), (Ids{3, 3, 4, 5, 6})) << name;
    EXPECT_EQ(frame_ids(name + ":temporal_stride=0.6666666666666666"), (Ids{3, 3, 4, 5, 6})) << name;
    EXPECT_EQ(frame_ids(name + ":temporal_stride=2"), (Ids{3, 5, 7, 9, 10})) << name;
  }
  // Their sources keep real ids.
  EXPECT_EQ(frame_ids("videorope:temporal_stride=1.5"), (Ids{3, 4.5, 6, 7.5, 8.5}));
  EXPECT_EQ(frame_ids("hope:temporal_stride=1.5"), (Ids{3, 4.5, 6, 7.5, 8.5}));
}

TEST(SchemeText, WhatCannotBeReadIsNamed) {
  for (const char* two : {"dipe+cca", "dipe+alibi", "dipe+pype:interval=2"}) {
    expect_refused(two, "exclude each other");
  }
  expect_refused("idalign", "unknown scheme \"idalign\"; did you mean \"id-align\"?");
  expect_refused("", "expected a name");
  expect_refused("mrope+", "expected a name");
  expect_refused("mrope+v2pe", "expected one position design, found mrope and v2pe");
  expect_refused("id-align+id-align", "given twice");
  expect_refused("mrope:", "key=value");
  expect_refused("mrope:sections", "key=value");
  expect_refused("mrope:stride=2", "unknown parameter \"stride\"");
  expect_refused("vanilla:a=1", "it has none");
  expect_refused("mrope:temporal_stride=x", "expected a number");
  expect_refused("mrope:temporal_stride=1,temporal_stride=2", "given twice");
  expect_refused("mrope:sections=8/12", "3 numbers");
  expect_refused("mrope:sections=8/12/13", "expected 32 channels");
  expect_refused("mrope:sections=8/12/1.5", "integers");
  expect_refused("mhrope:sections=2/2/2", "key/value head");
  expect_refused("mhrope:sections=0/2/2", "key/value head");
  expect_refused("v2pe:delta=0", "above 0");
  expect_refused("v2pe:delta=1,visual_stride=4", "found both");
  expect_refused("pype", "interval");
  expect_refused("pype:interval=0", "at least 1");
  expect_refused("id-align+rope-dhr", "name one of");
  expect_refused("panorope+id-align", "id-align+panorope, in this order");
  expect_refused("id-align:wrong=left", "shift-n");
  expect_refused("id-align:resize=cubic", "nearest, nearest-exact, bilinear");
  expect_refused("vanilla/interleaved", "needs three coordinates");
  expect_refused("mrope/zigzag", "unknown frequency allocation");
  expect_refused("circlerope:radius=round", "number");
  EXPECT_THROW(Scheme("circlerope:dff_rate=0.3").positions(parse_layout("video:2x2x2")), UsageError);
}

TEST(SchemeText, ListsMayUseCommasWhereNoSchemeIsCut) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(split_scheme_list("vanilla,id-align"), (Texts{"vanilla", "id-align"}));
  EXPECT_EQ(split_scheme_list("mrope:sections=8/12/12,temporal_stride=1,dipe"),
            (Texts{"mrope:sections=8/12/12,temporal_stride=1", "dipe"}));
  EXPECT_EQ(split_scheme_list("a:x=1,y=2;b"), (Texts{"a:x=1,y=2", "b"}));
  EXPECT_EQ(split_scheme_list("v2pe:delta=0.5,mrope:temporal_stride=1e+0"),
            (Texts{"v2pe:delta=0.5", "mrope:temporal_stride=1e+0"}));
  EXPECT_EQ(Scheme("mrope:temporal_stride=1e+1").positions(parse_layout("video:2x1x1")).next, 11);
}

TEST(Layouts, TextAndJsonFormsAgree) {
  const std::string text =
      "text:5,image:4x6,video:3x4x6,anyres:24x24+48x48,anyres:3x3+5x0:no-newline,anyres:2x2";
  const Layout layout = parse_layout(text);
  EXPECT_EQ(layout_text(layout), text);
  EXPECT_EQ(layout.tokens(), 5 + 24 + 72 + (576 + 48 * 49) + 9 + 5);
  const Json json = Json::parse(R"([{"text":5},{"image":{"h":4,"w":6}},{"video":{"t":3,"h":4,"w":6}},
    {"anyres":{"h0":24,"w0":24,"h1":48,"w1":48,"newline":true}},
    {"anyres":{"h0":3,"w0":3,"h1":5,"w1":0,"newline":false}},{"anyres":{"h0":2,"w0":2}}])");
  EXPECT_EQ(layout_text(layouts_from_json(json, "x").front()), text);
}

TEST(Layouts, WhatCannotBeIsRefused) {
  for (const char* text : {"", "text", "text:0", "text:-1", "text:1x2", "image:4", "image:0x4", "image:4x",
                           "video:4x4", "anyres:4x4+4", "anyres:4x4+4x4:newlines", "text:1;text:2",
                           "image:99999x99999", "text:9999999999999999999", "clip:3"}) {
    EXPECT_THROW(parse_layout(text), UsageError) << text;
  }
  for (const char* text :
       {"[]", "{}", "3", R"([{"text":"a"}])", R"([{"text":1,"image":2}])", R"([{"image":4}])",
        R"([{"image":{"h":4}}])", R"({"layouts":[]})", R"({"layouts":[{"name":"a"}]})",
        R"([{"video":{"t":1000000,"h":1000000,"w":1000000}}])", R"([{"audio":{"t":1}}])"}) {
    EXPECT_THROW(layouts_from_json(Json::parse(text), "x"), InputError) << text;
  }
}

}  // namespace
}  // namespace ropescope
