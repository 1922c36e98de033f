// Prior attention against brute force: mean vectors rotated by the same code that rotates a model's.
#include "ropescope/analysis/prior.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include "ropescope/analysis/statistics.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/rotation.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;
using ::testing::HasSubstr;

constexpr int64_t kPriorLayers = 2, kPriorHeads = 6, kPriorKvHeads = 3, kPriorDim = 32;

Samples random_samples(int64_t texts = 0) {
  at::manual_seed(5);
  Samples samples;
  samples.model.num_key_value_heads = kPriorKvHeads;
  samples.model.rope = RopeConfig{};
  samples.model.max_position_embeddings = 64;
  MomentSet moments;
  moments.mean_q = at::randn({kPriorLayers, kPriorHeads, kPriorDim}, at::kDouble);
  moments.mean_k = at::randn({kPriorLayers, kPriorHeads, kPriorDim}, at::kDouble);
  moments.count = at::full({kPriorLayers, kPriorHeads}, 100, at::kLong);
  if (texts > 0) {
    const auto of_texts = [&](at::Tensor& mean) {
      const at::Tensor each =
          (mean + 0.2 * at::randn({texts, kPriorLayers, kPriorHeads, kPriorDim}, at::kDouble)).to(at::kFloat);
      mean = each.to(at::kDouble).mean(0);
      return each;
    };
    moments.text_mean_q = of_texts(moments.mean_q);
    moments.text_mean_k = of_texts(moments.mean_k);
    moments.text_count = at::full({texts}, 10, at::kLong);
    moments.count.fill_(10 * texts);
  }
  samples.moments = moments;
  return samples;
}

PriorOptions options_for(const std::string& query, std::vector<int64_t> lengths = {0}) {
  PriorOptions options;
  options.query = parse_prior_query(query);
  options.text_lengths = std::move(lengths);
  options.by_head = true;
  return options;
}

SchemePrior prior_of(const Samples& samples, const std::string& layout, const std::string& scheme,
                     const PriorOptions& options) {
  return compute_prior(samples, parse_layout(layout), {scheme}, options).schemes.front();
}

/// Every registered scheme and some combinations.
std::vector<std::string> all_schemes() {
  std::vector<std::string> texts;
  for (const SchemeDefinition& definition : scheme_definitions()) {
    texts.push_back(definition.name == "pype" ? "pype:interval=1" : definition.name);
  }
  for (const char* text : {"id-align+mrope", "id-align+v2pe:delta=0.5", "dipe+id-align", "mrope/interleaved",
                           "mrope-interleave:spatial_reset=true", "omnirope:text_spatial_zero=true"}) {
    texts.push_back(text);
  }
  return texts;
}

/// [L, H, K] expected logits (NaN: hidden) by rotating mean_q to the query's ids and mean_k to every key's.
at::Tensor brute_force(const Samples& samples, const Scheme& scheme, const Layout& layout, int64_t query,
                       const RopeConfig& rope) {
  std::vector<at::Tensor> layers;
  for (int64_t layer = 0; layer < kPriorLayers; ++layer) {
    const Positions positions = scheme.positions(layout, layer);
    const int64_t tokens = positions.tokens();
    const Frequencies frequencies =
        scheme.frequencies(rope, kPriorDim, kPriorKvHeads, 64, positions.largest() + 1);
    at::Tensor query_ids = positions.coordinates.select(1, query).unsqueeze(1).repeat({1, tokens});
    if (positions.anchors.defined()) {
      const at::Tensor visual = positions.modality.ne(0);
      const at::Tensor cross = visual.ne(visual[query]);
      query_ids = at::where(cross, positions.anchors.select(1, query).unsqueeze(1), query_ids);
    }
    const auto rotated = [&](const at::Tensor& mean, const at::Tensor& ids) {
      const at::Tensor each = mean[layer].unsqueeze(1).repeat({1, tokens, 1}).unsqueeze(0);
      return apply_rotary(each, make_rotary_table(ids.unsqueeze(1), frequencies)).squeeze(0);
    };
    const at::Tensor q = rotated(samples.moments->mean_q, query_ids);
    const at::Tensor k = rotated(samples.moments->mean_k, positions.coordinates);
    at::Tensor logits = (q * k).sum(-1);
    if (const at::Tensor bias = bias_of_pairs(scheme, positions, kPriorHeads); bias.defined()) {
      logits = logits + bias.select(1, query).to(at::kDouble) * std::sqrt(kPriorDim);
    }
    const at::Tensor hidden = allowed_pairs(scheme, positions)[query].logical_not();
    layers.push_back(logits.masked_fill(hidden.unsqueeze(0), NAN));
  }
  return at::stack(layers);
}

at::Tensor softmax_of(const at::Tensor& logits) {
  return (logits / std::sqrt(static_cast<double>(kPriorDim))).nan_to_num(-INFINITY).softmax(-1);
}

void expect_brute_force(const Samples& samples, const std::string& layout, const std::string& query,
                        const std::string& text, const PriorOptions& options) {
  SCOPED_TRACE(text + ", " + layout + ", query " + query);
  const SchemePrior prior = prior_of(samples, layout, text, options);
  const RopeConfig rope = options.rope.value_or(*samples.model.rope);
  const at::Tensor expected = brute_force(samples, Scheme(text), parse_layout(layout), prior.query, rope);
  const at::Tensor hidden = expected.isnan();
  EXPECT_TRUE(prior.logits_by_head.isnan().equal(hidden));
  // The brute force has float32 tables and its angles' errors; logits here are of size 10.
  EXPECT_TRUE(all_close(prior.logits_by_head.nan_to_num(0.0), expected.nan_to_num(0.0).to(at::kFloat), 2e-4));
  const at::Tensor attention = softmax_of(expected);
  EXPECT_TRUE(all_close(prior.attention_by_head, attention.to(at::kFloat), 2e-5));
  EXPECT_TRUE(all_close(prior.attention, attention.mean({0, 1}), 2e-5));
  EXPECT_TRUE(all_close(prior.logits.nan_to_num(0.0), expected.nanmean({0, 1}).nan_to_num(0.0), 2e-4));
  EXPECT_TRUE(all_close(prior.logits_by_layer.nan_to_num(0.0), expected.nanmean(1).nan_to_num(0.0), 2e-4));
}

class EveryScheme : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryScheme, EqualsRotatedMeanVectors) {
  const Samples samples = random_samples();
  const bool views = GetParam() == "panorope";  // no tiles that are sewn together
  const std::string layout = views ? "text:5,image:4x6,text:3,image:4x4,image:3x4,text:4"
                                   : "text:5,anyres:4x6+8x12,text:3,image:4x4,text:4";
  for (const char* query : {"last", "high:5,7", "15", "2"}) {
    if (views && query[0] == 'h') continue;
    expect_brute_force(samples, layout, query, GetParam(), options_for(query));
  }
}

TEST_P(EveryScheme, EqualsRotatedMeanVectorsOnTiles) {
  const Samples samples = random_samples();
  const std::string layout =
      "text:3,anyres:2x3+4x6:thumbnail-first:before=1:row=1:gap=2,text:2,anyres:2x2+2x4:tiles-first,text:4";
  for (const char* query : {"last", "high:3,4", "37"}) {
    expect_brute_force(samples, layout, query, GetParam(), options_for(query));
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryScheme, ::testing::ValuesIn(all_schemes()), [](const auto& entry) {
  std::string name = entry.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
});

TEST(Prior, ContextScalingAndPartialRotation) {
  const Samples samples = random_samples();
  PriorOptions options = options_for("last");
  for (const RopeType type : {RopeType::kYarn, RopeType::kDynamic, RopeType::kLlama3}) {
    options.rope = RopeConfig{};
    options.rope->type = type;
    options.rope->factor = 4;
    expect_brute_force(samples, "text:5,anyres:4x6+8x12,text:3", "last", "mrope", options);
  }
  options.rope = RopeConfig{};
  options.rope->partial_rotary_factor = 0.5;
  expect_brute_force(samples, "text:5,image:5x6,text:3", "last", "mrope", options);
}

TEST(Prior, DipeTakesTheGoldenIds) {
  const Scheme scheme("dipe");
  const Json golden = testing::golden_json("positions/schemes/dipe.json");
  const auto layouts = layouts_from_json(testing::golden_json("positions/layouts.json"), "layouts.json");
  for (const Layout& layout : layouts) {
    if (!golden.at("layouts").contains(layout.name)) continue;
    SCOPED_TRACE(layout.name);
    const Json& record = golden["layouts"][layout.name];
    const int64_t tokens = layout.tokens();
    for (const int64_t query : {tokens - 1, tokens / 2}) {
      const Displacements found = displacements(scheme, scheme.positions(layout), query);
      ASSERT_EQ(found.key.size(0), query + 1);
      const auto q = static_cast<size_t>(query);
      for (int64_t key = 0; key <= query; ++key) {
        const auto k = static_cast<size_t>(key);
        const bool same = record["visual"][q] == record["visual"][k];
        for (int64_t axis = 0; axis < 3; ++axis) {
          const Json& dynamic = record["dynamic"][static_cast<size_t>(axis)];
          const double asking = same ? dynamic[q].get<double>() : record["anchored"][q].get<double>();
          ASSERT_EQ(found.delta[axis][found.distinct[key].item<int64_t>()].item<double>(),
                    asking - dynamic[k].get<double>());
        }
      }
    }
  }
}

TEST(Prior, MovingEverythingChangesNothingForRelativeSchemes) {
  const Samples samples = random_samples();
  for (const char* text :
       {"vanilla", "id-align", "mrope", "dipe", "cca", "alibi", "videorope", "v2pe:delta=0.5"}) {
    const at::Tensor near =
        prior_of(samples, "text:3,anyres:4x4+8x8,text:5", text, options_for("last")).logits;
    const at::Tensor far =
        prior_of(samples, "text:503,anyres:4x4+8x8,text:5", text, options_for("last")).logits;
    EXPECT_TRUE(all_close(far.slice(0, 500), near, 1e-9)) << text;
  }
}

TEST(Prior, FadingIsTheShareOfALongerLayout) {
  const Samples samples = random_samples();
  for (const char* text : {"vanilla", "id-align", "mrope", "dipe", "pype:interval=1", "alibi", "mhrope"}) {
    SCOPED_TRACE(text);
    const SchemePrior prior =
        prior_of(samples, "text:5,anyres:4x4+8x8,text:3", text, options_for("last", {0, 7, 300}));
    EXPECT_DOUBLE_EQ(prior.fading[0].mean, prior.number("visual_share").mean);
    const SchemePrior longer =
        prior_of(samples, "text:5,anyres:4x4+8x8,text:303", text, options_for("last", {0}));
    EXPECT_NEAR(prior.fading[2].mean, longer.number("visual_share").mean, 1e-12);
    const at::Tensor visual =
        Scheme(text).positions(parse_layout("text:5,anyres:4x4+8x8,text:303")).modality.ne(0);
    EXPECT_NEAR(prior.fading[2].mean, longer.attention.masked_select(visual).sum().item<double>(), 1e-12);
    EXPECT_NEAR(prior.uniform_share[2], 88.0 / 396.0, 1e-12);
  }
}

TEST(Prior, TextGoesBetweenTheImageAndTheTokenThatAsks) {
  const auto asked = [](const std::string& layout, int64_t query, int64_t count) {
    const AskedLayout result = with_text_between(parse_layout(layout), query, count);
    return layout_text(result.layout) + " @" + std::to_string(result.query);
  };
  EXPECT_EQ(asked("text:2,image:2x2,text:3", 8, 10), "text:2,image:2x2,text:10,text:3 @18");
  EXPECT_EQ(asked("text:2,image:2x2,text:3", 6, 10), "text:2,image:2x2,text:10,text:3 @16");
  EXPECT_EQ(asked("text:2,image:2x2,text:3", 8, 0), "text:2,image:2x2,text:3 @8");
  // A visual query, or one before the image, lets the last token ask.
  EXPECT_EQ(asked("text:2,image:2x2,text:3", 3, 10), "text:2,image:2x2,text:10,text:3 @18");
  EXPECT_EQ(asked("text:2,image:2x2,text:3", 0, 10), "text:2,image:2x2,text:10,text:3 @18");
  EXPECT_EQ(asked("text:2,image:2x2", 5, 10), "text:2,image:2x2,text:10,text:1 @16");
  EXPECT_EQ(asked("text:2,image:2x2,text:1,image:1x3,text:1", 6, 4),
            "text:2,image:2x2,text:4,text:1,image:1x3,text:1 @10");
  EXPECT_THROW(with_text_between(parse_layout("text:2"), 1, int64_t{1} << 40), UsageError);
}

TEST(Prior, NumbersAreThoseOfTheMaps) {
  const Samples samples = random_samples();
  const std::string layout = "text:5,anyres:4x6+8x12,text:3";
  const Layout parsed = parse_layout(layout);
  for (const char* text : {"vanilla", "mrope", "mhrope", "cca"}) {
    SCOPED_TRACE(text);
    // The last high-resolution token shows the last thumbnail cell; its row is closed by a newline each.
    const SchemePrior prior = prior_of(samples, layout, text, options_for("high:7,11"));
    EXPECT_EQ(prior.query, 5 + 24 + 7 * 13 + 11);
    const at::Tensor attention = prior.attention_by_head.to(at::kDouble);
    const at::Tensor thumbnail = attention.slice(2, 5, 29), own = attention.select(2, 28);
    EXPECT_TRUE(all_close(prior.number("partner_share").by_head, own / thumbnail.sum(-1), 1e-6));
    const at::Tensor rank = (thumbnail - own.unsqueeze(-1)).gt(1e-9).sum(-1);
    if (std::string(text) != "cca" && std::string(text) != "mhrope") {  // rings and heads of axis t tie
      EXPECT_TRUE(all_close(prior.number("partner_rank").by_head, rank.to(at::kDouble) + 1, 0));
    }
    const at::Tensor at_zero = (samples.moments->mean_q * samples.moments->mean_k).sum(-1);
    EXPECT_TRUE(all_close(
        prior.number("partner_logit").by_head,
        (prior.logits_by_head.select(2, 28).to(at::kDouble) - at_zero) / std::sqrt(kPriorDim), 1e-5));
    const double uniform = 1.0 / static_cast<double>(attention.gt(0).sum(-1).max().item<int64_t>());
    EXPECT_TRUE(all_close(prior.number("sink_first").by_head,
                          (attention.slice(2, 0, 4) - uniform).clamp_min(0.0).sum(-1), 1e-6));
    const at::Tensor visual = attention.slice(2, 5, parsed.tokens() - 3);
    EXPECT_TRUE(all_close(prior.number("sink_visual").by_head, visual.amax({-1}) - uniform, 1e-6));
    EXPECT_TRUE(all_close(prior.number("visual_share").by_head, visual.sum(-1), 1e-6));
  }
}

TEST(Prior, AlignedPartnersAreAtNoDistance) {
  const Samples samples = random_samples();
  for (const char* text : {"id-align", "id-align+mrope", "id-align+v2pe:delta=0.5"}) {
    EXPECT_EQ(prior_of(samples, "text:5,anyres:4x6+9x13,text:3", text, options_for("last"))
                  .number("partner_logit")
                  .mean,
              0.0)
        << text;
  }
  EXPECT_NE(prior_of(samples, "text:5,anyres:4x6+9x13,text:3", "vanilla", options_for("last"))
                .number("partner_logit")
                .mean,
            0.0);
}

TEST(Prior, PartnersOfTilesAreFoundInTheOrderOfTheSequence) {
  const Samples samples = random_samples();
  const std::string tiles = "text:5,anyres:2x3+4x6:tiles-first:before=1,text:3";
  const auto partner_logit = [&](const std::string& text, const char* scheme) {
    return prior_of(samples, text, scheme, options_for("last")).number("partner_logit").mean;
  };
  const std::string behind = "text:5,anyres:2x3+4x6:thumbnail-first:before=1,text:3";
  EXPECT_EQ(partner_logit(behind, "id-align"), 0.0);
  EXPECT_NE(partner_logit(behind, "vanilla"), 0.0);
  // Tiles in front of their thumbnail cannot see it.
  EXPECT_TRUE(std::isnan(partner_logit(tiles, "id-align")));
  const Layout layout = parse_layout(tiles);
  // Behind 5 words: tag, tile (0,0), tag, tile (0,1), ... each tile 2x3; row 3, column 4 is in the last.
  const int64_t query = query_token(layout, parse_prior_query("high:3,4"));
  EXPECT_EQ(query, 5 + 3 * 7 + 1 + 1 * 3 + 1);
  const std::optional<AnyresTokens> block = first_anyres(layout);
  ASSERT_TRUE(block.has_value());
  EXPECT_EQ(block->place_of(query), (std::array<int64_t, 2>{3, 4}));
  EXPECT_EQ(block->place_of(5), std::nullopt);
  EXPECT_EQ(block->thumbnail(0), 5 + 4 * 7);
  const CellPlaces places = cell_places(layout);
  EXPECT_EQ(places.row[query].item<int>(), 3);
  EXPECT_EQ(places.column[query].item<int>(), 4);
  EXPECT_EQ(places.raster[query].item<int>(), 1);
  EXPECT_EQ(places.raster[5].item<int>(), -1);
  EXPECT_EQ(places.raster[5 + 28].item<int>(), 0);
  const Layout rasters = parse_layout("text:2,video:2x1x2,anyres:2x2+2x3,anyres:2x2,image:1x1,text:1");
  EXPECT_TRUE(cell_places(rasters).raster.equal(Scheme("vanilla").positions(rasters).raster));
}

TEST(Prior, IntervalsAreThoseOfTheDeleteOneTextJackknife) {
  constexpr int64_t kTexts = 12;
  const Samples samples = random_samples(kTexts);
  const PriorOptions options = options_for("last", {0, 200});
  const std::string layout = "text:5,anyres:4x4+8x8,text:3";
  for (const char* text : {"mhrope", "dipe", "pype:interval=1"}) {
    SCOPED_TRACE(text);
    const PriorResult result = compute_prior(samples, parse_layout(layout), {text}, options);
    EXPECT_THAT(result.interval, HasSubstr("delete-one-text jackknife"));
    std::map<std::string, std::vector<double>> without;
    for (int64_t left_out = 0; left_out < kTexts; ++left_out) {
      Samples rest = samples;
      MomentSet& moments = *rest.moments;
      const auto mean_of_rest = [&](at::Tensor& mean, at::Tensor& of_texts) {
        mean = (kTexts * mean - of_texts[left_out].to(at::kDouble)) / (kTexts - 1);
        of_texts = at::Tensor();
      };
      mean_of_rest(moments.mean_q, moments.text_mean_q);
      mean_of_rest(moments.mean_k, moments.text_mean_k);
      moments.text_count = at::Tensor();
      const SchemePrior prior = compute_prior(rest, parse_layout(layout), {text}, options).schemes.front();
      for (const PriorNumber& number : prior.numbers) without[number.name].push_back(number.mean);
      for (const PriorNumber& number : prior.fading) without[number.name].push_back(number.mean);
    }
    std::vector<PriorNumber> numbers = result.schemes.front().numbers;
    for (const PriorNumber& number : result.schemes.front().fading) numbers.push_back(number);
    for (const PriorNumber& number : numbers) {
      if (number.name == "partner_rank") continue;
      const at::Tensor estimates = at::tensor(without[number.name], at::kDouble).unsqueeze(1);
      const double error = jackknife_deviations(estimates).pow(2).sum().sqrt().item<double>();
      const double reach = error * student_quantile(0.95, kTexts - 1);
      EXPECT_NEAR(number.ci95_high - number.mean, reach, 0.1 * reach + 1e-12) << number.name;
      EXPECT_NEAR(number.mean - number.ci95_low, reach, 0.1 * reach + 1e-12) << number.name;
    }
  }
}

TEST(Prior, WithoutTextsTheIntervalIsTheSpreadOfHeads) {
  const PriorResult result = compute_prior(random_samples(), parse_layout("text:5,anyres:4x4+8x8,text:3"),
                                           {"vanilla"}, options_for("last"));
  EXPECT_THAT(result.interval, HasSubstr("spread over layers x heads"));
  for (const PriorNumber& number : result.schemes.front().numbers) {
    const double error =
        number.by_head.flatten().std(0, true).item<double>() / std::sqrt(kPriorLayers * kPriorHeads);
    EXPECT_NEAR(number.mean, number.by_head.mean().item<double>(), 1e-12);
    EXPECT_NEAR(number.ci95_high - number.mean,
                error * student_quantile(0.95, kPriorLayers * kPriorHeads - 1), 1e-12);
  }
}

TEST(Prior, SchemesStandBestFirstAndHeadsMayBeChosen) {
  Samples samples = random_samples();
  samples.moments->count[1][2] = 0;  // not measured: NaN as a sampler leaves it
  samples.moments->mean_q[1][2].fill_(NAN);
  samples.moments->mean_k[1][2].fill_(NAN);
  PriorOptions options = options_for("last", {0, 50});
  const PriorResult all = compute_prior(samples, parse_layout("text:5,anyres:4x4+8x8,text:3"),
                                        {"vanilla", "id-align", "mrope", "alibi"}, options);
  EXPECT_EQ(all.head_count, kPriorLayers * kPriorHeads - 1);
  for (size_t i = 1; i < all.schemes.size(); ++i) {
    EXPECT_GE(all.schemes[i - 1].fading.back().mean, all.schemes[i].fading.back().mean);
  }
  EXPECT_TRUE(std::isfinite(all.schemes.front().fading.back().mean));
  options.layers = {1};
  options.heads = {0, 5};
  const PriorResult some =
      compute_prior(samples, parse_layout("text:5,anyres:4x4+8x8,text:3"), {"alibi"}, options);
  EXPECT_EQ(some.head_count, 2);
  const auto alibi = std::find_if(all.schemes.begin(), all.schemes.end(),
                                  [](const SchemePrior& prior) { return prior.scheme == "alibi"; });
  const at::Tensor shares = alibi->number("visual_share").by_head;
  EXPECT_NEAR(some.schemes.front().number("visual_share").mean,
              0.5 * (shares[1][0].item<double>() + shares[1][5].item<double>()), 1e-12);
}

TEST(Prior, LayoutsWithoutImagesHaveNoVisualNumbers) {
  const SchemePrior prior = prior_of(random_samples(), "text:9", "vanilla", options_for("last", {0, 5}));
  EXPECT_EQ(prior.number("visual_share").mean, 0.0);
  EXPECT_TRUE(std::isnan(prior.number("sink_visual").mean));
  EXPECT_TRUE(std::isnan(prior.number("partner_share").mean));
  EXPECT_EQ(prior.uniform_share, (std::vector<double>{0, 0}));
}

TEST(Prior, WrongRequestsAreExplained) {
  const Samples samples = random_samples();
  const auto message = [&](const std::string& layout, const std::string& scheme,
                           const PriorOptions& options) {
    try {
      prior_of(samples, layout, scheme, options);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message("text:4", "vanilla", options_for("4")), HasSubstr("from 0 to 3"));
  EXPECT_THAT(message("text:4", "vanilla", options_for("high:0,0")), HasSubstr("high-resolution tokens"));
  EXPECT_THAT(message("anyres:2x2+4x4,text:1", "vanilla", options_for("high:4,0")), HasSubstr("below 4"));
  EXPECT_THAT(message("text:4", "alibi:heads=4", options_for("last")), HasSubstr("expected the 6 heads"));
  EXPECT_THAT(message("text:4", "mrope:sections=1/2/3", options_for("last")), HasSubstr("sections"));
  EXPECT_THAT(message("text:4", "vanilla", options_for("last", {5, 1})), HasSubstr("ascending"));
  EXPECT_THAT(message("text:1048576", "vanilla", options_for("last")), HasSubstr("fewer than 1048576"));
  EXPECT_THAT(message("text:4", "vanilla", options_for("last", {1048572})), HasSubstr("0 to 1048571"));
  PriorOptions options = options_for("last");
  options.heads = {6};
  EXPECT_THAT(message("text:4", "vanilla", options), HasSubstr("--heads: expected 0 to 5"));
  EXPECT_THROW(parse_prior_query("first"), UsageError);
  EXPECT_THROW(parse_prior_query("high:1"), UsageError);
  EXPECT_THROW(parse_prior_query("-1"), UsageError);
  EXPECT_THROW(compute_prior(samples, parse_layout("text:4"), {"mrope", "mrope"}, options_for("last")),
               UsageError);
  Samples foreign = samples;
  foreign.model.rope.reset();
  EXPECT_THROW(compute_prior(foreign, parse_layout("text:4"), {"mrope"}, options_for("last")), UsageError);
}

}  // namespace
}  // namespace ropescope
