// anyres geometry against 310 image sizes, both towers, both readings of the pinpoints.
#include "ropescope/vision/anyres.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using ::testing::HasSubstr;

AnyresOptions options_of(const Json& golden, const std::string& family, PinpointRule rule) {
  AnyresOptions options;
  options.pinpoints = parse_pinpoints(golden["pinpoints"][family], family);
  options.tile_size = golden["tile"][family];
  options.rule = rule;
  return options;
}

TEST(Anyres, EveryGoldenSize) {
  const Json golden = testing::golden_json("vision/anyres.json");
  ASSERT_GE(golden["images"].size(), 300u);
  for (const char* family : {"clip", "siglip"}) {
    for (const PinpointRule rule : {PinpointRule::kOriginal, PinpointRule::kHf}) {
      const AnyresOptions options = options_of(golden, family, rule);
      for (const Json& image : golden["images"]) {
        const Json& of_family = image[family];
        const Json* expected = &of_family[pinpoint_rule_name(rule)];
        if (*expected == "same") expected = &of_family["original"];
        const AnyresGeometry geometry = anyres_geometry(image["w"], image["h"], options);
        Json found = to_json(geometry);
        found.erase("size_wh");
        EXPECT_EQ(found, *expected) << family << " " << pinpoint_rule_name(rule) << " " << image["w"] << "x"
                                    << image["h"];
      }
    }
  }
}

TEST(Anyres, TheDefaultPinpointsAreThePublishedOnes) {
  const Json golden = testing::golden_json("vision/anyres.json");
  EXPECT_EQ(Json(default_pinpoints(336)), golden["pinpoints"]["clip"]);
  EXPECT_EQ(Json(default_pinpoints(384)), golden["pinpoints"]["siglip"]);
}

TEST(Anyres, PartsAddUp) {
  const AnyresOptions options{default_pinpoints(336), PinpointRule::kHf, 336, 14, true};
  AnyresOptions without = options;
  without.newline = false;
  for (const auto& [w, h] :
       std::vector<std::array<int64_t, 2>>{{1, 20000}, {20000, 1}, {335, 337}, {1009, 77}}) {
    const AnyresGeometry g = anyres_geometry(w, h, options);
    EXPECT_EQ(g.pad_ltrb[0] + g.resized_wh[0] + g.pad_ltrb[2], g.best_wh[0]);
    EXPECT_EQ(g.pad_ltrb[1] + g.resized_wh[1] + g.pad_ltrb[3], g.best_wh[1]);
    EXPECT_EQ(g.tokens - anyres_geometry(w, h, without).tokens, g.feat_H1W1[0]);
    EXPECT_EQ(g.feat_offset_rc.has_value(), g.feat_H1W1[0] * g.feat_H1W1[1] > 0);
  }
}

TEST(Anyres, RefusesWhatCannotBe) {
  const AnyresOptions good{default_pinpoints(336), PinpointRule::kHf, 336, 14, true};
  EXPECT_THROW(anyres_geometry(0, 5, good), InputError);
  EXPECT_THROW(anyres_geometry(5, int64_t{1} << 31, good), InputError);
  AnyresOptions odd = good;
  odd.pinpoints.push_back({336, 500});
  EXPECT_THROW(anyres_geometry(5, 5, odd), InputError);
  AnyresOptions none = good;
  none.pinpoints.clear();
  EXPECT_THROW(anyres_geometry(5, 5, none), InputError);
  AnyresOptions patch = good;
  patch.patch_size = 337;
  EXPECT_THROW(anyres_geometry(5, 5, patch), InputError);
  EXPECT_THROW(parse_pinpoint_rule("HF"), UsageError);
}

TEST(Anyres, PinpointsAsListOrAsText) {
  const std::vector<std::array<int64_t, 2>> expected = {{336, 672}, {672, 336}};
  EXPECT_EQ(parse_pinpoints(Json::parse("[[336,672],[672,336]]"), "x"), expected);
  EXPECT_EQ(parse_pinpoints(Json("[(336, 672), (672, 336)]"), "x"), expected);
  for (const char* wrong : {"[]", "[[1]]", "[[1,2,3]]", "[[0,1]]", "[[-1,1]]", "[[1.5,1]]", "7",
                            "\"\\\"a\\\"\"", "[[4000000000,1]]", "{}"}) {
    EXPECT_THROW(parse_pinpoints(Json::parse(wrong), "x"), InputError) << wrong;
  }
}

}  // namespace
}  // namespace ropescope
