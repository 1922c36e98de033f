// Every scheme on every golden layout: ids that the public Python implementations give.
#include <algorithm>

#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/scheme.h"

#include "tests/support/golden.h"
#include "tests/support/schemes.h"

namespace ropescope {
namespace {

using testing::all_close;
using testing::golden_json;
using testing::golden_tensors;

// The golden parameters as a scheme's text: upstream's names replaced by ours.
std::string scheme_text(const std::string& scheme, const Json& params) {
  std::string text = scheme;
  char separator = ':';
  for (const auto& [key, value] : params.items()) {
    std::string name = key;
    if (key == "num_key_value_heads") continue;
    if (key == "mrope_section") name = "sections";
    if (key == "temporal_stride_lst") name = "temporal_stride";
    text += separator + name + "=" + testing::setting_text(value);
    separator = ',';
  }
  return text;
}

std::map<std::string, Layout> golden_layouts() {
  std::map<std::string, Layout> result;
  std::vector<Layout> layouts = layouts_from_json(golden_json("positions/layouts.json"), "layouts.json");
  for (Layout& layout : layouts) {
    result.emplace(layout.name, std::move(layout));
  }
  return result;
}

// [axes, tokens] from three golden rows; a one-coordinate scheme has one row, which equals all three.
at::Tensor rows_tensor(const Json& rows, int64_t axes) {
  std::vector<double> values;
  for (int64_t axis = 0; axis < axes; ++axis) {
    for (const double value : rows[static_cast<size_t>(axis)]) values.push_back(value);
  }
  return at::tensor(values, at::kDouble).view({axes, -1});
}

class GoldenSchemes : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenSchemes, EqualsThePublicCode) {
  const std::string name = GetParam();
  const auto layouts = golden_layouts();
  const double tolerance = name == "v2pe" || name == "circlerope" ? 1e-4 : 0.0;
  int64_t records = 0;
  const Json golden = golden_json("positions/schemes/" + name + ".json");
  for (const Json& variant : golden.at("variants")) {
    const std::string text = scheme_text(name, variant.at("params"));
    const Scheme scheme(text);
    for (const auto& [layout, record] : variant.at("layouts").items()) {
      SCOPED_TRACE(text + " on " + layout);
      const Positions positions = scheme.positions(layouts.at(layout));
      EXPECT_TRUE(
          all_close(positions.coordinates, rows_tensor(record.at("positions"), scheme.axes()), tolerance));
      EXPECT_NEAR(positions.next, record.at("next").get<double>(), tolerance);
      ++records;
    }
  }
  EXPECT_GE(records, 19);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenSchemes,
                         ::testing::Values("vanilla", "v2pe", "mrope", "mrope-interleave", "mhrope",
                                           "videorope", "hope", "circlerope", "ilrope", "omnirope", "mmrope",
                                           "grape"),
                         [](const auto& entry) {
                           std::string name = entry.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(GoldenScheme, DipeAnchorsRuns) {
  const auto layouts = golden_layouts();
  const Json golden = golden_json("positions/schemes/dipe.json");
  for (const std::string text : {"dipe", "dipe+mrope", "mrope+dipe"}) {
    const Scheme scheme(text);
    for (const auto& [layout, record] : golden.at("layouts").items()) {
      SCOPED_TRACE(text + " on " + layout);
      const Positions positions = scheme.positions(layouts.at(layout));
      EXPECT_TRUE(all_close(positions.coordinates, rows_tensor(record.at("dynamic"), 3), 0));
      const Json& anchored = record.at("anchored");
      EXPECT_TRUE(all_close(positions.anchors, rows_tensor({anchored, anchored, anchored}, 3), 0));
      EXPECT_EQ(positions.next, record.at("next").get<double>());
      EXPECT_EQ(positions.next_anchor, record.at("next_anchored").get<double>());
      const Json& visual = record.at("visual");
      for (int64_t i = 0; i < positions.tokens(); ++i) {
        const bool is = positions.modality[i].item<int>() != static_cast<int>(Modality::kText);
        ASSERT_EQ(is, visual[static_cast<size_t>(i)].get<int>() == 1);
      }
    }
  }
}

std::vector<std::string> mask_rows(const at::Tensor& allowed) {
  std::vector<std::string> rows;
  for (int64_t q = 0; q < allowed.size(0); ++q) {
    std::string row;
    for (int64_t k = 0; k < allowed.size(1); ++k) row += allowed[q][k].item<bool>() ? '1' : '0';
    rows.push_back(row);
  }
  return rows;
}

void expect_record(const Scheme& scheme, const Layout& layout, const Json& record,
                   std::optional<int64_t> layer = std::nullopt) {
  const Positions positions = scheme.positions(layout, layer);
  EXPECT_TRUE(all_close(positions.coordinates, rows_tensor(Json::array({record.at("positions")}), 1), 0));
  EXPECT_EQ(positions.next, record.at("next").get<double>());
  if (record.contains("allowed")) {
    EXPECT_EQ(mask_rows(allowed_pairs(scheme, positions)),
              record.at("allowed").get<std::vector<std::string>>());
  }
}

TEST(GoldenScheme, RingsAndTheirMasks) {
  const Json golden = golden_json("positions/schemes/cca_pype.json");
  for (const auto& [name, segments] : golden.at("layouts").items()) {
    const Layout layout = layouts_from_json(segments, name).front();
    SCOPED_TRACE(name);
    expect_record(Scheme("cca"), layout, golden.at("cca").at(name));
    for (const Json& record : golden.at("pype").at(name)) {
      const auto interval = record.at("interval").get<int64_t>(), layer = record.at("layer").get<int64_t>();
      SCOPED_TRACE(fmt::format("interval {} layer {}", interval, layer));
      expect_record(Scheme(fmt::format("pype:interval={},layer={}", interval, layer)), layout, record);
      expect_record(Scheme(fmt::format("pype:interval={}", interval)), layout, record, layer);
    }
  }
}

// Golden variant -> scheme text.
const std::map<std::string, std::string> kAlignedVariants = {
    {"vanilla", "vanilla"},
    {"id_align", "id-align"},
    {"id_align.nearest_exact", "id-align:resize=nearest-exact"},
    {"id_align.newline_counted", "id-align:newline=counted"},
    {"id_align.newline_shared", "id-align:newline=shared"},
    {"id_align.bilinear_round", "id-align:resize=bilinear"},
    {"v2pe_0.5", "v2pe:delta=0.5"},
    {"v2pe_0.5+id_align", "id-align+v2pe:delta=0.5"},
    {"v2pe_1_16", "v2pe:delta=0.0625"},
    {"v2pe_1_16+id_align", "v2pe:delta=0.0625+id-align"},
    {"mrope_two_images", "mrope"},
    {"mrope+id_align", "id-align+mrope"},
    {"mrope_reset+id_align", "id-align+mrope-interleave:spatial_reset=true"},
};

TEST(GoldenIdAlign, EveryCaseAndVariant) {
  const auto tensors = golden_tensors("positions/idalign.safetensors");
  int64_t compared = 0;
  const Json golden = golden_json("positions/idalign_cases.json");
  for (const Json& record : golden.at("cases")) {
    const std::string name = record.at("name");
    const Layout layout = layouts_from_json(record, name).front();
    ASSERT_EQ(layout.tokens(), record.at("length").get<int64_t>());
    for (const auto& [variant, next] : record.at("next").items()) {
      SCOPED_TRACE(name + " " + variant);
      const Positions positions = Scheme(kAlignedVariants.at(variant)).positions(layout);
      EXPECT_NEAR(positions.next, next.get<double>(), 1e-4);
      const auto found = tensors.find(name + "/" + variant);
      if (found == tensors.end()) continue;
      const at::Tensor expected = found->second.dim() == 1 ? found->second.unsqueeze(0) : found->second;
      // Ties of the bilinear raster may fall to either side; everything else is exact (floats to 1e-4).
      const double tolerance = variant == "id_align.bilinear_round" ? 1.0
                               : variant.rfind("v2pe", 0) == 0      ? 1e-4
                                                                    : 0;
      EXPECT_TRUE(all_close(positions.coordinates, expected.to(at::kDouble), tolerance));
      ++compared;
    }
  }
  EXPECT_EQ(compared, static_cast<int64_t>(tensors.size()));
}

TEST(GoldenAlibi, SlopesAndBias) {
  const Json golden = golden_json("positions/alibi.json");
  for (const auto& [heads, slopes] : golden.at("slopes").items()) {
    const auto actual = Scheme("alibi").bias_slopes(std::stoll(heads));
    EXPECT_TRUE(all_close(at::tensor(actual, at::kDouble),
                          at::tensor(slopes.get<std::vector<double>>(), at::kDouble), 1e-15));
    EXPECT_EQ(Scheme("alibi:heads=" + heads).bias_slopes(3), actual);
  }
  for (const Json& record : golden.at("bias")) {
    const auto heads = record.at("heads").get<int64_t>();
    Positions positions;
    positions.coordinates = at::tensor(record.at("ids").get<std::vector<double>>(), at::kDouble).unsqueeze(0);
    const at::Tensor bias = bias_of_pairs(Scheme("alibi"), positions, heads);
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t q = 0; q < positions.tokens(); ++q) {
        for (int64_t k = 0; k < positions.tokens(); ++k) {
          const Json& value = record.at("bias").at(h).at(q).at(k);
          const double expected = value.is_null() ? 0.0 : value.get<double>();
          ASSERT_NEAR(bias[h][q][k].item<double>(), expected, 1e-6) << h << " " << q << " " << k;
        }
      }
    }
  }
}

TEST(GoldenAllocation, ChannelAndHeadAxes) {
  const Json golden = golden_json("positions/frequencies.json");
  for (const Json& record : golden.at("channel_axis")) {
    std::string name = record.at("scheme");
    std::string settings;
    if (name == "grape_chunked") name = "grape", settings = "frequency_allocation=chunked";
    if (name == "grape_interleaved") name = "grape", settings = "frequency_allocation=interleaved";
    const auto head_dim = record.at("head_dim").get<int64_t>();
    const at::Tensor expected = at::tensor(record.at("axis").get<std::vector<int64_t>>(), at::kLong);
    SCOPED_TRACE(fmt::format("{} {}", name, head_dim));
    const auto axis = [&](const std::string& text) {
      return Scheme(text).frequencies({}, head_dim, 1, 0, 1).axis[0];
    };
    // The papers' sections are the defaults.
    EXPECT_TRUE(axis(name + (settings.empty() ? "" : ":" + settings)).equal(expected));
    if (record.at("section").is_null() || name == "mmrope" || settings == "frequency_allocation=interleaved")
      continue;
    std::string sections = "sections=";
    for (const Json& n : record.at("section")) sections += n.dump() + "/";
    sections.pop_back();
    EXPECT_TRUE(axis(name + ":" + sections + (settings.empty() ? "" : "," + settings)).equal(expected));
  }
  for (const Json& record : golden.at("kv_head_axis")) {
    const auto section = record.at("section").get<std::vector<int64_t>>();
    const Scheme scheme(fmt::format("mhrope:sections={}/{}/{}", section[0], section[1], section[2]));
    const at::Tensor axis =
        scheme.frequencies({}, 64, record.at("num_key_value_heads").get<int64_t>(), 0, 1).axis;
    const at::Tensor expected = at::tensor(record.at("axis").get<std::vector<int64_t>>(), at::kLong);
    EXPECT_TRUE(axis.eq(expected.unsqueeze(1)).all().item<bool>());
  }
}

}  // namespace
}  // namespace ropescope
