// The criteria against golden numbers, and against a quadratic count of the same definitions.
#include "ropescope/rope/criteria.h"

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/visual_runs.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::golden_json;

// Names of the golden records -> scheme text.
const std::map<std::string, std::string> kGoldenSchemes = {
    {"vanilla", "vanilla"},
    {"v2pe(stride 16)", "v2pe"},
    {"mrope", "mrope"},
    {"mrope-interleave", "mrope-interleave"},
    {"mrope-interleave(reset)", "mrope-interleave:spatial_reset=true"},
    {"mhrope(reset, 2/3/3 of 8)", "mhrope:sections=2/3/3,spatial_reset=true"},
    {"videorope", "videorope"},
    {"hope(stride 1)", "hope:temporal_stride=1"},
    {"circlerope(published)", "circlerope:move_to_origin=true,radius=10,alpha=0.5"},
    {"omnirope(public code)", "omnirope"},
    {"ilrope(public code)", "ilrope"},
    {"omnirope(text h=w=0)", "omnirope:text_spatial_zero=true"},
    {"ilrope(text h=w=0)", "ilrope:text_spatial_zero=true"},
    {"mmrope", "mmrope"},
    {"grape(interleaved)", "grape:frequency_allocation=interleaved"},
};

Criteria criteria_of(const std::string& scheme, const Layout& layout, const CriteriaOptions& options = {}) {
  const Scheme parsed(scheme);
  return judge(parsed, layout, parsed.positions(layout), options);
}

TEST(Criteria, EqualTheGoldenNumbers) {
  const Json golden = golden_json("positions/criteria.json");
  CriteriaOptions options;
  options.head_dim = golden.at("head_dim");
  options.generated_tokens = golden.at("generated_tokens");
  int64_t compared = 0;
  for (const auto& [name, records] : golden.at("schemes").items()) {
    for (const auto& [layout_name, expected] : records.items()) {
      SCOPED_TRACE(name + " on " + layout_name);
      const Layout layout = layouts_from_json(golden.at("layouts").at(layout_name), layout_name).front();
      const Json actual = to_json(criteria_of(kGoldenSchemes.at(name), layout, options));
      ASSERT_EQ(actual.size(), expected.size() + 2);  // ptd, ptd_following: schemes_2026_golden_test
      for (const auto& [field, value] : expected.items()) {
        if (field == "frequency_bin_coverage") {
          for (const char* axis : {"t", "h", "w"}) {
            EXPECT_NEAR(actual.at(field).at(axis).get<double>(), value.at(axis).get<double>(), 1e-4) << axis;
          }
        } else if (value.is_number_float()) {
          EXPECT_NEAR(actual.at(field).get<double>(), value.get<double>(), 1e-4) << field;
        } else {
          EXPECT_EQ(actual.at(field), value) << field;
        }
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 15 * 2 * 12);
}

// Pairs counted one by one on all axes (the schemes below use all they have).
TEST(Criteria, CollisionsEqualAQuadraticCount) {
  const Layout layout =
      parse_layout("text:6,anyres:4x5+9x8,text:3,image:4x6,video:3x4x3,text:2,anyres:4x4+4x7:no-newline");
  for (const std::string text :
       {"vanilla", "cca", "pype:interval=1", "mrope", "videorope", "circlerope", "v2pe:delta=0.25", "dipe",
        "id-align", "id-align:resize=bilinear", "id-align:newline=shared", "id-align:newline=counted",
        "id-align+mrope", "id-align:resize=nearest-exact", "id-align+cca", "id-align+dipe"}) {
    SCOPED_TRACE(text);
    const Scheme scheme(text);
    const Positions positions = scheme.positions(layout);
    const int64_t tokens = positions.tokens();
    const double* values = positions.coordinates.const_data_ptr<double>();
    const auto same = [&](int64_t a, int64_t b) {
      for (int64_t axis = 0; axis < scheme.axes(); ++axis) {
        if (std::abs(values[axis * tokens + a] - values[axis * tokens + b]) > 1e-6) return false;
      }
      return true;
    };
    // Cells of ID-Align by their definition, for the blocks at tokens 6 and, past 4*5+9*9+3+24+36+2, at 172.
    std::vector<int64_t> cell(static_cast<size_t>(tokens), -1);
    const auto fill = [&](const Segment& block, int64_t first) {
      const auto own = own_cells(block, scheme.alignment().value());
      int64_t token = first + block.grid.tokens();
      for (int64_t i = 0; i < block.grid.tokens(); ++i) cell[static_cast<size_t>(first + i)] = first + i;
      int64_t newlines = 0;
      for (int64_t i = 0; i < block.high_h * block.high_w; ++i) {
        cell[static_cast<size_t>(token++)] = first + own[static_cast<size_t>(i)];
        if (!block.newline || (i + 1) % block.high_w != 0) continue;
        const bool inherits = text.find("newline") == std::string::npos;
        cell[static_cast<size_t>(token)] = inherits ? cell[static_cast<size_t>(token - 1)] : 1'000'000;
        ++token;
        ++newlines;
      }
      EXPECT_EQ(newlines, block.newline_tokens());
    };
    if (scheme.alignment()) {
      fill(layout.segments[1], 6);
      fill(layout.segments[6], 172);
    }
    int64_t with_text = 0, among_visual = 0;
    for (int64_t a = 0; a < tokens; ++a) {
      for (int64_t b = 0; b < a; ++b) {
        if (!same(a, b)) continue;
        const bool visual_a = positions.modality[a].item<int>() != 0;
        const bool visual_b = positions.modality[b].item<int>() != 0;
        const int64_t cell_a = cell[static_cast<size_t>(a)], cell_b = cell[static_cast<size_t>(b)];
        with_text += visual_a != visual_b;
        among_visual += visual_a && visual_b && (cell_a < 0 || cell_a != cell_b);
      }
    }
    CriteriaOptions options;
    options.generated_tokens = 0;
    const Criteria criteria = criteria_of(text, layout, options);
    EXPECT_EQ(criteria.visual_text_collisions, with_text);
    EXPECT_EQ(criteria.visual_visual_collisions, among_visual);
  }
}

TEST(Criteria, AlignedTokensMayShareTheirOwnCellOnly) {
  const Layout layout = parse_layout("text:35,anyres:24x24+48x48,text:20");
  const Criteria aligned = criteria_of("id-align+mrope-interleave", layout);
  EXPECT_EQ(aligned.visual_visual_collisions, 0);
  EXPECT_NEAR(aligned.affine_residual, 0, 1e-9);
  EXPECT_TRUE(aligned.coherent() && aligned.full_frequency() && aligned.text_prior());
  EXPECT_NEAR(aligned.growth_per_visual_token, 24.0 / 2928, 1e-12);
  const Criteria mixed = criteria_of("id-align:resize=bilinear", layout);
  EXPECT_GT(mixed.visual_visual_collisions, 1000);
  const Criteria flat = criteria_of("id-align", layout);
  EXPECT_EQ(flat.affine_rank, 1);
  EXPECT_EQ(flat.affine_rank_needed, 2);
  EXPECT_NEAR(flat.growth_per_visual_token, 576.0 / 2928, 1e-12);
}

TEST(Criteria, ChangedFrequenciesBreakTheTextPrior) {
  const Layout layout = parse_layout("text:4,image:3x3,text:4");
  EXPECT_FALSE(criteria_of("mrope:base_scale=100", layout).text_frequencies);
  EXPECT_FALSE(criteria_of("grape:log_freq_scale=1.25", layout).text_frequencies);
  EXPECT_FALSE(criteria_of("alibi", layout).text_prior());
  CriteriaOptions spare;
  spare.kv_heads = 9;
  EXPECT_FALSE(criteria_of("mhrope:sections=2/3/3", layout, spare).text_prior());
  spare.kv_heads = 4;
  EXPECT_THROW(criteria_of("mhrope:sections=2/3/3", layout, spare), UsageError);
  // A checkpoint's own scaling is what its text knows.
  CriteriaOptions scaled;
  scaled.rope.type = RopeType::kLinear;
  scaled.rope.factor = 8;
  EXPECT_TRUE(criteria_of("mrope", layout, scaled).text_prior());
}

TEST(Criteria, EveryRegisteredSchemeIsJudgedOnEveryKindOfLayout) {
  for (const SchemeDefinition& definition : scheme_definitions()) {
    const std::string text = definition.name == "pype" ? "pype:interval=2" : definition.name;
    for (const std::string layout :
         {"text:5", "image:4x4", "image:1x1,image:1x7,text:1", "text:3,video:2x3x4",
          "text:3,anyres:4x4+7x6,anyres:4x4,text:2", "anyres:3x3+0x4,text:1"}) {
      SCOPED_TRACE(text + " on " + layout);
      const bool no_whole_tiles = definition.name == "rope-dhr" && layout.find("+7x6") != std::string::npos;
      const bool no_views = definition.name == "panorope" && (layout.find("video") != std::string::npos ||
                                                              layout.find("anyres") != std::string::npos);
      if (no_whole_tiles || no_views) {
        EXPECT_THROW(criteria_of(text, parse_layout(layout)), UsageError);
        continue;
      }
      const Criteria criteria = criteria_of(text, parse_layout(layout));
      EXPECT_LE(criteria.affine_rank, criteria.affine_rank_needed);
      EXPECT_EQ(coherence_faults(criteria).empty(), criteria.coherent());
      EXPECT_EQ(frequency_faults(criteria).empty(), criteria.full_frequency());
      EXPECT_EQ(text_prior_faults(criteria).empty(), criteria.text_prior());
      if (layout == "text:5") {
        EXPECT_TRUE(criteria.coherent());
      }
    }
  }
}

// Where the paper judges the form that is our default, its prose and our numbers agree.
TEST(Criteria, AgreeWithThePapersProse) {
  const Layout layout = parse_layout("text:10,image:6x8,text:5");
  for (const std::string text : {"vanilla", "v2pe", "mrope", "mrope-interleave", "mhrope", "videorope",
                                 "circlerope:move_to_origin=true,radius=10,alpha=0.5",
                                 "omnirope:text_spatial_zero=true", "ilrope:text_spatial_zero=true"}) {
    SCOPED_TRACE(text);
    const auto published = published_verdict(Scheme(text));
    ASSERT_TRUE(published.has_value());
    const Criteria ours = criteria_of(text, layout);
    EXPECT_EQ(published->coherent.value(), ours.coherent());
    EXPECT_EQ(published->text_prior.value(), ours.text_prior());
    if (published->full_frequency) {
      EXPECT_EQ(*published->full_frequency, ours.full_frequency());
    }
  }
  EXPECT_FALSE(published_verdict(Scheme("id-align+mrope")).has_value());
  EXPECT_FALSE(published_verdict(Scheme("mrope/interleaved")).has_value());
  EXPECT_FALSE(published_verdict(Scheme("mrope:diagonal=true")).has_value());
  EXPECT_FALSE(published_verdict(Scheme("mmrope")).has_value());
}

}  // namespace
}  // namespace ropescope
