// Encodings of 2025-11 to 2026-11 against the numbers of their public code and of a second implementation.
#include <cmath>

#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/rope/criteria.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/rope/misalignment.h"
#include "ropescope/rope/scheme.h"

#include "tests/support/golden.h"
#include "tests/support/schemes.h"

namespace ropescope {
namespace {

using testing::all_close;
using testing::golden_json;

Layout layout_of(const Json& record) {
  return layouts_from_json(record.at("segments"), record.at("name").get<std::string>()).front();
}

/// "name:key=value,...", values that are lists joined by '/'.
std::string text_with(const std::string& name, const Json& params) {
  std::string text = name;
  for (const auto& [key, value] : params.items()) {
    text += (text == name ? ":" : ",") + key + "=" + testing::setting_text(value);
  }
  return text;
}

at::Tensor matrix(const Json& rows) {
  std::vector<double> values;
  for (const Json& row : rows) {
    for (const Json& value : row) values.push_back(value.get<double>());
  }
  return at::tensor(values, at::kDouble).view({static_cast<int64_t>(rows.size()), -1});
}

std::vector<int64_t> axis_of(const Scheme& scheme, int64_t head_dim, const RopeConfig& rope = {}) {
  const at::Tensor axis = scheme.frequencies(rope, head_dim, 1, 0, 1).axis.contiguous();
  return {axis.const_data_ptr<int64_t>(), axis.const_data_ptr<int64_t>() + axis.numel()};
}

/// Every record of `layouts`, ids and next; returns how many there were.
int64_t compare_layouts(const Json& layouts, const std::string& name, double tolerance = 0) {
  for (const Json& record : layouts) {
    const std::string text = text_with(name, record.at("params"));
    SCOPED_TRACE(text + " on " + record.at("name").get<std::string>());
    const Positions positions = Scheme(text).positions(layout_of(record));
    EXPECT_TRUE(all_close(positions.coordinates, matrix(record.at("coordinates")), tolerance));
    EXPECT_NEAR(positions.next, record.at("next").get<double>(), tolerance);
  }
  return static_cast<int64_t>(layouts.size());
}

/// q [T, head_dim] turned at the record's positions [rows][T].
void compare_rotation(const Json& record, const Scheme& scheme, const RopeConfig& rope, int64_t head_dim) {
  const Frequencies frequencies = scheme.frequencies(rope, head_dim, 1, 0, 1);
  const PairLayout pairing = record.at("pairing") == "half" ? PairLayout::kHalfSplit : PairLayout::kAdjacent;
  const RotaryTable table =
      make_rotary_table(matrix(record.at("positions")).unsqueeze(1), frequencies, pairing);
  const at::Tensor q = matrix(record.at("q")).to(at::kFloat).unsqueeze(0).unsqueeze(0);
  EXPECT_TRUE(all_close(apply_rotary(q, table)[0][0], matrix(record.at("q_rotated")), 2e-5));
}

TEST(Schemes2026, XdRopeEqualsThePublicCode) {
  const Json golden = golden_json("positions-2026/xd_rope.json");
  EXPECT_EQ(compare_layouts(golden.at("layouts"), "xd-rope"), 30);
  EXPECT_EQ(Scheme("xd-rope").row_names(), golden.at("rows").get<std::vector<std::string>>());
  for (const Json& record : golden.at("channels")) {
    const std::string rows = std::to_string(record.at("sections").size());
    const Scheme scheme("xd-rope:rows=" + rows + ",sections=" + testing::setting_text(record.at("sections")));
    EXPECT_EQ(axis_of(scheme, record.at("head_dim")), record.at("axis").get<std::vector<int64_t>>());
  }
  // Equal sections are the default.
  EXPECT_EQ(axis_of(Scheme("xd-rope"), 128), axis_of(Scheme("xd-rope:sections=16/16/16/16"), 128));
}

TEST(Schemes2026, VropeEqualsThePublicCode) {
  const Json golden = golden_json("positions-2026/vrope.json");
  EXPECT_EQ(compare_layouts(golden.at("layouts"), "vrope"), 25);
  EXPECT_EQ(Scheme("vrope").row_names(), golden.at("rows").get<std::vector<std::string>>());
  for (const Json& record : golden.at("channels")) {
    EXPECT_EQ(axis_of(Scheme("vrope"), 2 * record.at("channels").get<int64_t>()),
              record.at("axis").get<std::vector<int64_t>>());
  }
}

TEST(Schemes2026, RopeDhrEqualsThePublicCode) {
  const Json golden = golden_json("positions-2026/rope_dhr.json");
  EXPECT_EQ(compare_layouts(golden.at("layouts"), "rope-dhr"), 20);
  for (const Json& record : golden.at("layouts")) {
    const Layout layout = layout_of(record);
    if (record.at("params") == Json{{"tile_order", "column"}}) continue;
    EXPECT_TRUE(Scheme("id-align:resize=dhr")
                    .positions(layout)
                    .coordinates.equal(Scheme("rope-dhr").positions(layout).coordinates));
  }
}

TEST(Schemes2026, RopeDhrIsCountedAgainstNearest) {
  const Json golden = golden_json("positions-2026/rope_dhr.json");
  int64_t compared = 0;
  for (const Json& record : golden.at("against_nearest")) {
    const auto side = record.at("side").get<int64_t>();
    const auto tiles = record.at("tiles_columns_rows").get<std::vector<int64_t>>();
    const Layout layout = parse_layout(fmt::format("text:2,anyres:{0}x{0}+{1}x{2}:tiles-first,text:1", side,
                                                   side * tiles[1], side * tiles[0]));
    const Scheme scheme("rope-dhr:tile_order=" + record.at("tile_order").get<std::string>());
    const Json actual = to_json(resize_misalignment(scheme, layout), layout);
    for (const char* field : {"tokens", "same_as_nearest", "row_differs", "column_differs",
                              "not_overlapping_the_assigned_cell"}) {
      EXPECT_EQ(actual.at(field), record.at(field)) << field << " " << record.dump();
      ++compared;
    }
  }
  EXPECT_EQ(compared, 100);
}

// A token that stands for a cluster has its members' ids, and every channel follows one of them.
TEST(Schemes2026, PpeEqualsThePublicCode) {
  const Json golden = golden_json("positions-2026/ppe.json");
  EXPECT_EQ(compare_layouts(golden.at("layouts"), "ppe"), 10);
  for (const Json& record : golden.at("layouts")) {
    const Scheme scheme(text_with("ppe", record.at("params")));
    const auto rows = record.at("dimension_row").get<std::vector<int64_t>>();
    const int64_t channels = static_cast<int64_t>(rows.size()) / 2;
    const std::vector<int64_t> first_half(rows.begin(), rows.begin() + channels);
    EXPECT_EQ(axis_of(scheme, 2 * channels), first_half);
    // Under another design a merged token has its first member's place.
    const Positions first = Scheme("mrope:temporal_stride=1").positions(layout_of(record));
    const int64_t kept = record.at("params").at("k");
    const at::Tensor all =
        Scheme(text_with("ppe", record.at("params"))).positions(layout_of(record)).coordinates;
    for (int64_t axis = 0; axis < 3; ++axis) EXPECT_TRUE(first.coordinates[axis].equal(all[axis * kept]));
    EXPECT_EQ(layout_text(parse_layout(layout_text(layout_of(record)))), layout_text(layout_of(record)));
  }
}

TEST(Schemes2026, PtdEqualsPlainSums) {
  const Json golden = golden_json("positions-2026/ptd.json");
  int64_t compared = 0;
  for (const Json& record : golden.at("entries")) {
    const std::string name = record.at("scheme");
    const std::string text = text_with(name, record.at("params"));
    SCOPED_TRACE(text + " on " + record.at("name").get<std::string>());
    const Layout layout = layout_of(record);
    const Json actual = to_json(judge(Scheme(text), layout, Scheme(text).positions(layout), {}));
    for (const char* field : {"ptd", "ptd_following"}) {
      const Json& expected = record.at(field);
      ASSERT_EQ(actual.at(field).is_null(), expected.is_null()) << field;
      if (expected.is_null()) continue;
      EXPECT_NEAR(actual.at(field).get<double>(), expected.get<double>(), name == "circlerope" ? 1e-5 : 1e-9)
          << field;
      ++compared;
    }
  }
  EXPECT_GE(compared, 240);
}

TEST(Schemes2026, CircleRopeAlternatesItsLayers) {
  const Json golden = golden_json("positions-2026/circlerope_age.json");
  const std::map<std::string, std::string> strategies = {
      {"strategy_2", "first_half"}, {"strategy_3", "second_half"}, {"strategy_4", "alternate"}};
  for (const Json& record : golden.at("layouts")) {
    const Layout layout = layout_of(record);
    const std::string text = text_with("circlerope", record.at("params"));
    const at::Tensor circle = matrix(record.at("coordinates_circle")),
                     plain = matrix(record.at("coordinates_plain"));
    const double next = record.at("next_when_decoding_every_layer");
    for (const auto& [name, layers] : golden.at("circle_layers_of_36").items()) {
      SCOPED_TRACE(text + " " + name + " on " + layout.name);
      const Scheme scheme(text + ",age=" + strategies.at(name));
      EXPECT_TRUE(all_close(scheme.positions(layout).coordinates, circle, 1e-6));
      EXPECT_TRUE(scheme.depends_on_layer());
      for (int64_t layer = 0; layer < 36; ++layer) {
        const Positions at_layer = scheme.positions(layout, layer, 36);
        const bool bent = layers[static_cast<size_t>(layer)] == 1;
        EXPECT_TRUE(all_close(at_layer.coordinates, bent ? circle : plain, bent ? 1e-6 : 0)) << layer;
        EXPECT_NEAR(at_layer.next, next, 1e-6) << layer;
        const Scheme one(text + ",layers=36,age=" + strategies.at(name) + ",layer=" + std::to_string(layer));
        EXPECT_TRUE(one.positions(layout).coordinates.equal(at_layer.coordinates)) << layer;
      }
    }
  }
}

TEST(Schemes2026, AllocationsEqualThePublicCode) {
  const Json golden = golden_json("positions-2026/allocations.json");
  for (const Json& record : golden.at("allocations")) {
    SCOPED_TRACE(record.at("name").get<std::string>());
    const Scheme scheme("mrope/" + record.at("allocation").get<std::string>() +
                        ":sections=" + testing::setting_text(record.at("sections")));
    RopeConfig rope;
    const int64_t head_dim = record.at("head_dim");
    if (record.contains("rotation") && !record.at("rotation").is_null()) {
      rope.theta = record.at("rotation").at("theta");
      rope.partial_rotary_factor = record.at("rotation").at("partial_rotary_factor");
      compare_rotation(record.at("rotation"), scheme, rope, head_dim);
    }
    EXPECT_EQ(axis_of(scheme, head_dim, rope), record.at("axis").get<std::vector<int64_t>>());
  }
  for (const Json& record : golden.at("pangu_two_sections")) {
    const auto row = record.at("row").get<std::vector<int64_t>>();
    Frequencies frequencies;
    allocate_channels(
        find_allocation("pangu"),
        {record.at("sections").get<std::vector<int64_t>>(), 2, static_cast<int64_t>(row.size()), 1, "pangu"},
        frequencies);
    EXPECT_TRUE(frequencies.axis[0].equal(at::tensor(row, at::kLong)));
  }
}

}  // namespace
}  // namespace ropescope
