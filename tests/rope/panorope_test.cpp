// PanoRoPE: what the public code adds to the ids of each view, written down by hand.
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/scheme.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

Positions placed(const std::string& scheme, const std::string& layout) {
  return Scheme(scheme).positions(parse_layout(layout));
}

/// What panorope adds on a row to the tokens of the pictures (3 rows of 3 of text, then views of 2x3).
std::vector<double> added(const std::string& base, const std::string& modifier, const std::string& layout,
                          int64_t row, const std::vector<int64_t>& first_tokens) {
  const Positions with = placed(modifier + "+" + base, layout), without = placed(base, layout);
  EXPECT_EQ(with.next, without.next) << "text goes on as without";
  const at::Tensor moved = with.coordinates.sub(without.coordinates);
  for (int64_t other = 0; other < moved.size(0); ++other) {
    if (other == row) continue;
    EXPECT_TRUE(moved[other].eq(0).all().item<bool>()) << other;
  }
  std::vector<double> shifts;
  for (const int64_t token : first_tokens) {
    shifts.push_back(moved[row][token].item<double>());
    EXPECT_TRUE(moved[row].narrow(0, token, 6).eq(shifts.back()).all().item<bool>()) << token;
  }
  EXPECT_EQ(moved[row][0].item<double>(), 0) << "text is not moved";
  return shifts;
}

const char* const kViews = "text:1,image:2x3,text:1,image:2x3,image:2x3,text:2,image:2x3,image:2x3,text:3";
const std::vector<int64_t> kFirst = {1, 8, 14, 22, 28};

// round(k 0.5 3) = 0, round(1.5), 3, round(4.5), halves to even: 2 and 4; the first picture is the panorama.
TEST(Panorope, MovesTheColumnsOfEachView) {
  EXPECT_EQ(added("mrope", "panorope", kViews, 2, kFirst), (std::vector<double>{0, 0, 2, 3, 4}));
  EXPECT_EQ(added("mrope-interleave:spatial_reset=true", "panorope:overlap=0.25", kViews, 2, kFirst),
            (std::vector<double>{0, 0, 2, 4, 7}));  // 2.25, 4.5, 6.75
  EXPECT_EQ(added("mrope", "panorope:global=false", kViews, 2, kFirst), (std::vector<double>{0, 2, 3, 4, 6}));
  EXPECT_EQ(added("xd-rope", "panorope:overlap=0", kViews, 1, kFirst), (std::vector<double>{0, 0, 3, 6, 9}));
}

TEST(Panorope, MovesTheIdsOfEachViewByItsTokens) {
  EXPECT_EQ(added("vanilla", "panorope", kViews, 0, kFirst), (std::vector<double>{0, 0, 3, 6, 9}));
  EXPECT_EQ(added("vanilla", "panorope:overlap=0.25", kViews, 0, kFirst),
            (std::vector<double>{0, 0, 4, 9, 14}));  // 4.5, 9, 13.5
}

TEST(Panorope, TakesTheTilesOfABlockForViewsAndItsThumbnailForThePanorama) {
  const std::string block = "text:1,anyres:2x3+2x12:tiles-first:before=1,text:2";
  // Each of four tiles of 2x3 behind one separator, then the thumbnail.
  EXPECT_EQ(added("mrope", "panorope", block, 2, {2, 9, 16, 23, 29}), (std::vector<double>{0, 2, 3, 4, 0}));
  EXPECT_EQ(added("vanilla", "panorope", block, 0, {2, 9, 16, 23, 29}), (std::vector<double>{0, 3, 6, 9, 0}));
}

TEST(Panorope, RefusesWhatHoldsNoViews) {
  EXPECT_THROW(placed("panorope", "video:2x3x3"), UsageError);
  EXPECT_THROW(placed("panorope", "anyres:2x2+4x4"), UsageError);
  EXPECT_THROW(Scheme("panorope+vrope"), UsageError);
  EXPECT_THROW(Scheme("panorope:overlap=1"), UsageError);
  EXPECT_THROW(Scheme("panorope:overlap=-0.1"), UsageError);
}

}  // namespace
}  // namespace ropescope
