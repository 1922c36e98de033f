// C2RoPE against its released code's table, and its mask against a count of rings.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/scheme.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

std::vector<double> c2_values(const at::Tensor& row) {
  const at::Tensor own = row.contiguous();
  return {own.const_data_ptr<double>(), own.const_data_ptr<double>() + own.numel()};
}

/// The released code numbers the 24 columns (rows) of a picture -11..0, 0..11, plus 11.
int64_t place_of_24(int64_t i) { return (i <= 11 ? i - 11 : i - 12) + 11; }

TEST(C2rope, PlacesA24x24PictureAsTheReleasedCode) {
  const Positions p = Scheme("c2rope").positions(parse_layout("text:5,image:24x24,text:2"));
  const auto at_token = [&](int64_t row, int64_t token) { return p.coordinates[row][token].item<double>(); };
  for (int64_t r = 0; r < 24; ++r) {
    for (int64_t c = 0; c < 24; ++c) {
      const int64_t token = 5 + r * 24 + c;
      ASSERT_EQ(at_token(0, token), static_cast<double>(token));
      ASSERT_EQ(at_token(1, token), static_cast<double>(place_of_24(c)));
      ASSERT_EQ(at_token(2, token), static_cast<double>(22 - place_of_24(r)));
    }
  }
  for (const int64_t text : {4, 5 + 576}) {
    for (int64_t row = 0; row < 3; ++row) EXPECT_EQ(at_token(row, text), static_cast<double>(text));
  }
  EXPECT_EQ(p.next, 5 + 576 + 2);
}

TEST(C2rope, OddAndUnequalSidesKeepTheCentre) {
  const Positions p = Scheme("c2rope").positions(parse_layout("image:3x4"));
  EXPECT_EQ(c2_values(p.coordinates[1]), (std::vector<double>{0, 1, 1, 2, 0, 1, 1, 2, 0, 1, 1, 2}));
  EXPECT_EQ(c2_values(p.coordinates[2]), (std::vector<double>{2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0}));
}

/// Rings around the centre written out: how far a cell is from the middle of the sides' halves.
int64_t ring_of(int64_t i, int64_t n) {
  return n % 2 == 1 ? std::abs(i - n / 2) : (i < n / 2 ? n / 2 - 1 - i : i - n / 2);
}

void compare_mask(const std::string& scheme, bool inwards, int64_t h, int64_t w) {
  const Scheme c2(scheme);
  const std::string picture = std::to_string(h) + "x" + std::to_string(w);
  const Positions p = c2.positions(parse_layout("text:2,image:" + picture + ",text:1,image:" + picture));
  const at::Tensor allowed = allowed_pairs(c2, p);
  const int64_t cells = h * w, tokens = p.tokens();
  const auto picture_of = [&](int64_t token) {
    return token >= 2 && token < 2 + cells ? 0 : token >= 3 + cells ? 1 : -1;
  };
  const auto ring = [&](int64_t token) {
    const int64_t cell = token - (picture_of(token) == 0 ? 2 : 3 + cells);
    return std::max(ring_of(cell / w, h), ring_of(cell % w, w));
  };
  for (int64_t q = 0; q < tokens; ++q) {
    for (int64_t k = 0; k < tokens; ++k) {
      const bool together = picture_of(q) >= 0 && picture_of(q) == picture_of(k);
      const bool sees = together ? (inwards ? ring(k) >= ring(q) : ring(k) <= ring(q)) : k <= q;
      ASSERT_EQ(allowed[q][k].item<bool>(), sees) << scheme << " " << picture << ": " << q << " " << k;
    }
  }
}

TEST(C2rope, RingsAroundTheCentreSeeEachOther) {
  for (const auto& [h, w] : {std::pair<int64_t, int64_t>{4, 4}, {3, 5}, {5, 2}, {1, 4}}) {
    compare_mask("c2rope", true, h, w);
    compare_mask("c2rope:causality=outwards", false, h, w);
  }
}

// The released code's mask is CCA's, whose rings are counted from the border.
TEST(C2rope, MasksASquareAsConcentricCausalAttention) {
  const Layout layout = parse_layout("text:2,image:8x8,text:2");
  const Scheme c2("c2rope"), cca("cca");
  EXPECT_TRUE(allowed_pairs(c2, c2.positions(layout)).equal(allowed_pairs(cca, cca.positions(layout))));
}

TEST(C2rope, TheSlowestChannelsFollowThePlace) {
  const auto axis_of = [](const std::string& text, int64_t dim) {
    const at::Tensor axis = Scheme(text).frequencies({}, dim, 1, 0, 1).axis.contiguous();
    return std::vector<int64_t>(axis.const_data_ptr<int64_t>(),
                                axis.const_data_ptr<int64_t>() + axis.numel());
  };
  const std::vector<int64_t> released = axis_of("c2rope", 128);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(released[i], i < 58 ? 0 : (i < 61 ? 1 : 2)) << i;
  const std::vector<int64_t> in_turn = axis_of("c2rope/tail:sections=48/8/8", 128);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(in_turn[i], i < 48 ? 0 : static_cast<int64_t>(1 + i % 2)) << i;
  EXPECT_EQ(axis_of("c2rope", 8), (std::vector<int64_t>{0, 0, 1, 2}));
  EXPECT_THROW(axis_of("c2rope/tail:sections=48/9/7", 128), UsageError);
  EXPECT_THROW(Scheme("c2rope:causality=sideways"), UsageError);
}

}  // namespace
}  // namespace ropescope
