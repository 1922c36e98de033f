// Context scalings that are made of others, by row of the coordinates, or mixtures: against golden numbers, and tables
// against sums that are written out.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/criteria.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/rope/fope.h"
#include "ropescope/rope/scheme.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"
#include "tests/support/schemes.h"

namespace ropescope::testing {
namespace {

using ::testing::HasSubstr;

RopeConfig rope_of(const Json& scaling, double theta = 1e4) {
  RopeConfig base;
  base.theta = theta;
  return parse_rope_scaling(scaling, base, "--rope-scaling");
}

at::Tensor tensor_of(const Json& nested) {
  if (!nested.is_array()) return at::tensor({nested.get<double>()}, at::kDouble)[0];
  std::vector<at::Tensor> parts;
  for (const Json& part : nested) parts.push_back(tensor_of(part));
  at::Tensor result = at::zeros({static_cast<int64_t>(parts.size())}, at::kDouble);
  if (parts.front().dim() == 0) {
    for (size_t i = 0; i < parts.size(); ++i) result.data_ptr<double>()[i] = nested[i].get<double>();
    return result;
  }
  std::vector<int64_t> shape = parts.front().sizes().vec();
  shape.insert(shape.begin(), static_cast<int64_t>(parts.size()));
  result = at::zeros(shape, at::kDouble);
  for (size_t i = 0; i < parts.size(); ++i) result[static_cast<int64_t>(i)].copy_(parts[i]);
  return result;
}

/// Relative 1e-12; zeros are exact.
void expect_frequencies(const Frequencies& actual, const Json& record) {
  EXPECT_TRUE(all_close(actual.inv_freq, tensor_of(record.at("inv_freq")), 0, 1e-12));
  EXPECT_NEAR(actual.attention_scale, record.at("attention_scale").get<double>(), 1e-12);
}

TEST(ContextScalings, EqualTheGoldenFrequencies) {
  int64_t compared = 0;
  const Json golden = golden_json("positions-2026/frequencies.json");
  for (const Json& record : golden.at("entries")) {
    SCOPED_TRACE(record.at("rope_scaling").dump().substr(0, 200));
    const RopeConfig rope = rope_of(record.at("rope_scaling"), record.at("theta"));
    const int64_t head_dim = record.at("head_dim");
    ++compared;
    if (!record.contains("allocation")) {
      expect_frequencies(make_frequencies(rope, head_dim, 0, record.value("sequence_length", 0.0)), record);
      continue;
    }
    const Scheme scheme("mrope/" + record.at("allocation").get<std::string>() +
                        ":sections=" + setting_text(record.at("sections")));
    const Frequencies frequencies = scheme.frequencies(rope, head_dim, 1, 0, 1);
    expect_frequencies(frequencies, record);
    EXPECT_TRUE(frequencies.axis[0].to(at::kDouble).equal(tensor_of(record.at("axis"))));
    EXPECT_FALSE(frequencies.weights.defined());
  }
  EXPECT_EQ(compared, 20);
}

TEST(ContextScalings, FixedBaseOfXdRope) {
  const Json golden = golden_json("positions-2026/xd_rope.json");
  for (const Json& record : golden.at("frequencies")) {
    const int64_t head_dim = record.at("head_dim");
    const RopeConfig rope = rope_of(record.at("rope_scaling"), record.at("theta"));
    expect_frequencies(make_frequencies(rope, head_dim, 4096, 1e6), record);
    EXPECT_FALSE(depends_on_length(rope));
    RopeConfig ntk = rope_of({{"rope_type", "ntk"}, {"factor", record.at("rope_scaling").at("alpha")}},
                             record.at("theta"));
    EXPECT_TRUE(make_frequencies(ntk, head_dim, 0, 0)
                    .inv_freq.equal(make_frequencies(rope, head_dim, 4096, 1e6).inv_freq));
  }
  for (const Json& record : golden.at("rotations")) {
    const Scheme scheme("xd-rope:sections=" + setting_text(record.at("sections")));
    const Frequencies frequencies = scheme.frequencies(rope_of(record.at("rope_scaling"), record.at("theta")),
                                                       record.at("head_dim"), 1, 0, 1);
    const RotaryTable table = make_rotary_table(tensor_of(record.at("positions")).unsqueeze(1), frequencies);
    const at::Tensor q = tensor_of(record.at("q")).to(at::kFloat).unsqueeze(0).unsqueeze(0);
    EXPECT_TRUE(
        all_close(apply_rotary(q, table)[0][0].to(at::kDouble), tensor_of(record.at("q_rotated")), 2e-5));
  }
}

TEST(ContextScalings, FopeKeepsWhatTurnsOnceAndMixesWithItsCoefficients) {
  const Json golden = golden_json("positions-2026/weights.json");
  for (const Json& record : golden.at("fope_frequencies")) {
    const Frequencies frequencies =
        make_frequencies(rope_of(record.at("rope_scaling"), record.at("theta")), record.at("head_dim"), 0, 0);
    expect_frequencies(frequencies, record);
    EXPECT_EQ(frequencies.inv_freq.ne(0).sum().item<int64_t>(), record.at("kept"));
  }
  for (const Json& record : golden.at("fope_tables")) {
    const Frequencies frequencies = make_frequencies(
        rope_of({{"rope_type", "fope"}, {"original_max_position_embeddings", record.at("trained_length")}},
                record.at("theta")),
        record.at("head_dim"), 0, 0);
    const FopeCoefficients coefficients{tensor_of(record.at("cos_coef")), tensor_of(record.at("sin_coef"))};
    const at::Tensor ids = tensor_of(record.at("positions"));
    const FopeCoefficients sums = fope_sums(ids, frequencies, coefficients);
    EXPECT_TRUE(all_close(sums.cos, tensor_of(record.at("cos")), 1e-12));
    EXPECT_TRUE(all_close(sums.sin, tensor_of(record.at("sin")), 1e-12));
    const RotaryTable table = make_rotary_table(ids, frequencies, coefficients);
    EXPECT_TRUE(all_close(table.cos[0].to(at::kDouble), sums.cos, 1e-6));
    EXPECT_EQ(table.sin.sizes().vec(), (std::vector<int64_t>{1, 2, 4, 8}));
    // The identity as coefficients is the plain table.
    at::Tensor one = at::zeros({1, 3, 3}, at::kDouble);
    for (int64_t i = 0; i < 3; ++i) one[0][i][i].fill_(1.0);
    const RotaryTable plain = make_rotary_table(ids.view({1, 1, -1}), frequencies);
    const RotaryTable same = make_rotary_table(ids, frequencies, FopeCoefficients{one, one});
    EXPECT_TRUE(all_close(same.cos.to(at::kDouble), plain.cos.to(at::kDouble), 1e-6));
    EXPECT_TRUE(all_close(same.sin.to(at::kDouble), plain.sin.to(at::kDouble), 1e-6));
    const auto refused = [&](const at::Tensor& cos) {
      return refusal_of([&] { fope_sums(ids, frequencies, {cos, one}); });
    };
    EXPECT_THAT(refused(one.narrow(1, 0, 2)),
                HasSubstr("cos: expected finite numbers [key/value heads, 3, 3]"));
    EXPECT_THAT(refused(one / 0.0), HasSubstr("expected finite numbers"));
  }
}

TEST(MixedAxes, EqualTheGoldenWeightsAndRotations) {
  const TemporaryFolder folder;
  int64_t compared = 0;
  const Json golden = golden_json("positions-2026/weights.json");
  for (const Json& record : golden.at("weights")) {
    const std::string name = fmt::format("axes{}.json", compared++);
    const int64_t head_dim = record.at("head_dim");
    RopeConfig rope;
    rope.theta = record.at("theta");
    const auto frequencies_from = [&](const std::string& file, const Json& content) {
      return Scheme("mixed:weights=" + folder.write(file, content.dump()))
          .frequencies(rope, head_dim, 2, 0, 1);
    };
    // Any length is normalised, and what is normalised stays.
    const Frequencies frequencies = frequencies_from(name, record.at("axis_weight"));
    EXPECT_TRUE(all_close(frequencies.weights[0], tensor_of(record.at("weights")), 1e-9));
    EXPECT_TRUE(all_close(frequencies_from("again" + name, {{"weights", record.at("weights")}}).weights,
                          frequencies.weights, 1e-9));
    const PairLayout pairing =
        record.at("pairing") == "half" ? PairLayout::kHalfSplit : PairLayout::kAdjacent;
    const RotaryTable table =
        make_rotary_table(tensor_of(record.at("positions")).unsqueeze(1), frequencies, pairing);
    const at::Tensor q = tensor_of(record.at("q")).to(at::kFloat).unsqueeze(0).unsqueeze(0);
    EXPECT_TRUE(
        all_close(apply_rotary(q, table)[0][0].to(at::kDouble), tensor_of(record.at("q_rotated")), 2e-5));
  }
  EXPECT_GE(compared, 2);
}

TEST(MixedAxes, DrawnOnesAreTwoOrthogonalDirectionsAHead) {
  const Frequencies drawn = Scheme("mixed:seed=5").frequencies({}, 16, 3, 0, 1);
  ASSERT_EQ(drawn.weights.sizes().vec(), (std::vector<int64_t>{3, 8, 3}));
  EXPECT_TRUE(drawn.weights.equal(Scheme("mixed:seed=5").frequencies({}, 16, 3, 0, 1).weights));
  EXPECT_FALSE(drawn.weights.equal(Scheme("mixed:seed=6").frequencies({}, 16, 3, 0, 1).weights));
  // A head's draw does not depend on how many there are.
  EXPECT_TRUE(
      drawn.weights.narrow(0, 0, 1).equal(Scheme("mixed:seed=5").frequencies({}, 16, 1, 0, 1).weights));
  EXPECT_TRUE(all_close(drawn.weights.square().sum(2), at::zeros({3, 8}, at::kDouble) + 1, 1e-15));
  EXPECT_EQ(drawn.weights.select(2, 0).abs().max().item<double>(), 0.0);
  const at::Tensor first = drawn.weights.narrow(1, 0, 4), second = drawn.weights.narrow(1, 4, 4);
  EXPECT_LT((first * second).sum(2).abs().max().item<double>(), 1e-15);
  EXPECT_FALSE(first[0].equal(first[1]));
}

TEST(MixedAxes, FilesThatCannotBeAreRefusedInWords) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& name, const std::string& content) {
    const Scheme scheme("mixed:weights=" + folder.write(name, content));
    return refusal_of([&] { scheme.frequencies({}, 8, 1, 0, 1); });
  };
  EXPECT_THAT(refused("a.json", "[[1,0],[0,1]]"), HasSubstr("list of three numbers a channel"));
  EXPECT_THAT(refused("b.json", "{\"weight\":[[1,0,0]]}"), HasSubstr("list of three numbers a channel"));
  EXPECT_THAT(refused("c.json", "[[1,0,0],[0,\"x\",1]]"), HasSubstr("list of three numbers a channel"));
  EXPECT_THAT(refused("d.json", "[[1,0,0]]"), HasSubstr("expected weights of 4 channels"));
  EXPECT_THAT(refused("e.json", "[[1,0,0]"), HasSubstr("e.json"));
  EXPECT_EQ(refused("f.json", "[[1,0,0],[0,0,0],[0,1,0],[0,0,3]]"), "");  // a channel that does not turn
  EXPECT_THROW(Scheme("mixed:weights=a.json,seed=1").frequencies({}, 8, 1, 0, 1), UsageError);
  EXPECT_EQ(Scheme("mixed:weights=a.json").files(), std::vector<std::string>{"a.json"});
  EXPECT_TRUE(Scheme("mixed").files().empty());
}

/// Angle of every token and channel under the definition of Spiral RoPE, [tokens, h].
at::Tensor spiral_angles(const at::Tensor& thw, const at::Tensor& f, int64_t directions, bool text_kept) {
  at::Tensor angles = at::zeros({thw.size(1), f.size(0)}, at::kDouble);
  for (int64_t i = 0; i < f.size(0); ++i) {
    const double phi = M_PI * static_cast<double>(i % directions) / static_cast<double>(directions);
    at::Tensor along = thw[2] * std::cos(phi) + thw[1] * std::sin(phi);
    if (text_kept) along += thw[0] * (1 - std::cos(phi) - std::sin(phi));
    angles.select(1, i).copy_(along * f[i]);
  }
  return angles;
}

TEST(Spiral, TurnsByProjectionsAndLeavesTextAsItIs) {
  const Layout layout = parse_layout("text:3,image:3x5,text:2,video:2x2x2,text:4");
  const Frequencies plain = make_frequencies({}, 32, 0, 0);
  for (const int64_t directions : {1, 2, 4, 5, 16}) {
    for (const bool kept : {true, false}) {
      const Scheme scheme(
          fmt::format("spiral:directions={},text={}", directions, kept ? "kept" : "projected"));
      const Positions positions = scheme.positions(layout);
      EXPECT_TRUE(
          positions.coordinates.equal(Scheme("mrope:temporal_stride=1").positions(layout).coordinates));
      const Frequencies frequencies = scheme.frequencies({}, 32, 1, 0, 1);
      EXPECT_TRUE(frequencies.inv_freq.equal(plain.inv_freq));
      const RotaryTable table = make_rotary_table(positions.coordinates.unsqueeze(1), frequencies);
      const at::Tensor angles = spiral_angles(positions.coordinates, plain.inv_freq, directions, kept);
      EXPECT_TRUE(all_close(table.cos[0][0].to(at::kDouble), angles.cos(), 1e-6));
      EXPECT_TRUE(all_close(table.sin[0][0].to(at::kDouble), angles.sin(), 1e-6));
      // Text of the language model, where t stands for what rows and columns leave.
      const Criteria judged = judge(scheme, layout, positions, {{}, 32, {}, 0, 8});
      EXPECT_EQ(judged.text_frequencies, kept || directions <= 2) << scheme.text();
      const Positions text = scheme.positions(parse_layout("text:9"));
      const RotaryTable of_text = make_rotary_table(text.coordinates.unsqueeze(1), frequencies);
      const RotaryTable vanilla = make_rotary_table(text.coordinates.narrow(0, 0, 1).unsqueeze(1), plain);
      EXPECT_EQ(all_close(of_text.sin, vanilla.sin, 1e-6) == ::testing::AssertionSuccess(),
                kept || directions <= 2);
    }
  }
  // Two directions are the two axes, and no channel follows t.
  const at::Tensor axis = Scheme("spiral:directions=2").frequencies({}, 8, 1, 0, 1).axis;
  EXPECT_TRUE(axis.equal(at::tensor({2, 1, 2, 1}, at::kLong).unsqueeze(0)));
  EXPECT_THROW(Scheme("spiral:directions=17").frequencies({}, 32, 1, 0, 1), UsageError);
  EXPECT_THROW(Scheme("spiral:text=none").frequencies({}, 32, 1, 0, 1), UsageError);
  EXPECT_EQ(judge(Scheme("mixed:seed=1"), layout, Scheme("mixed").positions(layout), {}).text_prior(), false);
}

// One row of ids stands for equal ones: it turns by the sum of the weights.
TEST(Spiral, OneRowOfIdsTurnsAsEqualRowsDo) {
  for (const char* text : {"spiral", "spiral:text=projected", "mixed:seed=2"}) {
    const Frequencies frequencies = Scheme(text).frequencies({}, 16, 2, 0, 1);
    const at::Tensor ids = at::tensor({0.0, 1.0, 7.5, 300.0}, at::kDouble).view({1, 1, 4});
    const RotaryTable one = make_rotary_table(ids, frequencies),
                      three = make_rotary_table(ids.repeat({3, 1, 1}), frequencies);
    EXPECT_TRUE(all_close(one.cos, three.cos, 1e-6)) << text;
    EXPECT_TRUE(all_close(one.sin, three.sin, 1e-6)) << text;
  }
}

const std::vector<Json>& scalings_of_rows() {
  static const std::vector<Json> all = {
      {{"rope_type", "default"}},
      {{"rope_type", "cope"}, {"channels", 5}, {"inner", {{"rope_type", "linear"}, {"factor", 4}}}},
      {{"rope_type", "fope"}, {"kept", 9}},
      {{"rope_type", "mean"}, {"of", {{{"rope_type", "linear"}, {"factor", 2}}, {{"rope_type", "default"}}}}},
      {{"rope_type", "ntk-span"}, {"factor", 4}, {"original_max_position_embeddings", 64}}};
  return all;
}

// A table is what its frequencies and weights say: cos and sin of inv_freq times the weighted sum of coordinates.
TEST(RotaryTables, FollowFrequenciesAndWeightsUnderEverySchemeAndScaling) {
  const Layout layout = parse_layout("text:3,image:2x4,text:2,video:2x2x2,text:3");
  const Json by_row = {{"rope_type", "per-axis"},
                       {"t", {{"rope_type", "linear"}, {"factor", 3}}},
                       {"w", {{"rope_type", "cope"}, {"channels", 2}}}};
  for (const std::string text :
       {"vanilla", "mrope", "mrope/interleaved", "mhrope:sections=1/1/1", "hope", "vrope", "xd-rope",
        "mmrope", "spiral", "spiral:text=projected", "mixed:seed=4"}) {
    std::vector<Json> scalings = scalings_of_rows();
    const Scheme scheme(text);
    const bool single = text == "mrope" || text == "mrope/interleaved" || text == "mmrope" || text == "hope";
    if (single) scalings.push_back(by_row);
    for (const Json& scaling : scalings) {
      SCOPED_TRACE(text + " " + scaling.dump());
      const Positions positions = scheme.positions(layout);
      const Frequencies frequencies =
          scheme.frequencies(rope_of(scaling), 32, 3, 4096, positions.largest() + 1);
      const RotaryTable table = make_rotary_table(positions.coordinates.unsqueeze(1), frequencies);
      const at::Tensor weights = frequencies.row_weights(scheme.axes());  // [heads, h, rows]
      const at::Tensor angles =
          weights.matmul(positions.coordinates).mul(frequencies.inv_freq.view({1, -1, 1})).transpose(1, 2);
      EXPECT_TRUE(all_close(table.cos[0].to(at::kDouble), angles.cos() * frequencies.attention_scale, 1e-6));
      EXPECT_TRUE(all_close(table.sin[0].to(at::kDouble), angles.sin() * frequencies.attention_scale, 1e-6));
    }
  }
}

TEST(PerAxis, EveryChannelHasTheFrequencyOfItsRow) {
  const Json scaling = {{"rope_type", "per-axis"},
                        {"t", {{"rope_type", "ntk"}, {"factor", 8}}},
                        {"w", {{"rope_type", "linear"}, {"factor", 2}}}};
  const RopeConfig rope = rope_of(scaling, 5e5);
  EXPECT_TRUE(differs_by_row(rope));
  EXPECT_EQ(rows_named(rope), (std::vector<std::string>{"t", "w"}));
  for (const std::string text : {"mrope", "mrope-interleave", "videorope", "mmrope", "xd-rope:rows=3"}) {
    const Scheme scheme(text);
    if (text == "xd-rope:rows=3") {  // w, h, n: no row t
      EXPECT_THROW(scheme.frequencies(rope, 32, 1, 0, 1), UsageError);
      continue;
    }
    const Frequencies frequencies = scheme.frequencies(rope, 32, 1, 0, 1);
    for (int64_t i = 0; i < 16; ++i) {
      const int64_t row = frequencies.axis[0][i].item<int64_t>();
      const RopeConfig own = config_of_row(rope, scheme.row_names()[static_cast<size_t>(row)]);
      EXPECT_EQ(own.theta, 5e5);
      EXPECT_EQ(frequencies.inv_freq[i].item<double>(),
                make_frequencies(own, 32, 0, 1).inv_freq[i].item<double>());
    }
  }
  // Inside another scaling too.
  const RopeConfig clipped = rope_of({{"rope_type", "cope"}, {"channels", 3}, {"inner", scaling}}, 5e5);
  const Frequencies inside = Scheme("mrope").frequencies(clipped, 32, 1, 0, 1);
  EXPECT_EQ(inside.inv_freq[15].item<double>(), 0.0);
  EXPECT_EQ(inside.inv_freq[12].item<double>(),
            Scheme("mrope").frequencies(rope, 32, 1, 0, 1).inv_freq[12].item<double>());
  // Text under it is the checkpoint's own, as the scheme turns it.
  const Layout layout = parse_layout("text:3,image:2x2,text:2");
  const Scheme mrope("mrope");
  EXPECT_TRUE(judge(mrope, layout, mrope.positions(layout), {rope, 32, {}, 0, 8}).text_frequencies);
}

TEST(PerAxis, IsRefusedWhereNoRowIsAChannelsOwn) {
  const auto refused = [](const std::string& scheme, const Json& scaling) -> std::string {
    try {
      Scheme(scheme).frequencies(rope_of(scaling), 32, 3, 4096, 1);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  const Json t = {{"rope_type", "per-axis"}, {"t", {{"rope_type", "linear"}, {"factor", 2}}}};
  EXPECT_THAT(refused("vanilla", t),
              HasSubstr("scheme's rows (id), found some for \"t\". Try: a scheme with several"));
  EXPECT_THAT(refused("vrope", t), HasSubstr("found some for \"t\""));
  EXPECT_THAT(refused("spiral", t), HasSubstr("follow one row each, found weights over several"));
  EXPECT_THAT(refused("mhrope:sections=1/1/1", t), HasSubstr("same row in all heads"));
  EXPECT_THAT(refused("mrope", {{"rope_type", "per-axis"}, {"t", {{"rope_type", "yarn"}, {"factor", 4}}}}),
              HasSubstr("one attention factor"));
  EXPECT_EQ(refused("mrope", {{"rope_type", "per-axis"},
                              {"t", {{"rope_type", "yarn"}, {"factor", 4}, {"attention_factor", 1}}}}),
            "");
  // One row of ids that is called so, and a decoder without any.
  EXPECT_EQ(refused("vanilla", {{"rope_type", "per-axis"}, {"id", {{"rope_type", "linear"}, {"factor", 2}}}}),
            "");
  EXPECT_THROW(make_frequencies(rope_of(t), 32, 0, 1), UsageError);
  const Json id = {{"rope_type", "per-axis"}, {"id", {{"rope_type", "ntk"}, {"factor", 2}}}};
  EXPECT_TRUE(make_frequencies(rope_of(id), 32, 0, 1)
                  .inv_freq.equal(make_frequencies(rope_of(id["id"]), 32, 0, 1).inv_freq));
}

TEST(ContextScalings, DependOnTheLengthAsTheirPartsDo) {
  const Json longrope = {{"rope_type", "longrope"},
                         {"short_factor", std::vector<double>(16, 1.0)},
                         {"long_factor", std::vector<double>(16, 2.0)},
                         {"attention_factor", 1},
                         {"original_max_position_embeddings", 100}};
  const Json dynamic = {{"rope_type", "dynamic"}, {"factor", 2}, {"original_max_position_embeddings", 40}};
  const RopeConfig nested = rope_of({{"rope_type", "cope"},
                                     {"channels", 4},
                                     {"inner", {{"rope_type", "mean"}, {"of", {longrope, dynamic}}}}});
  EXPECT_TRUE(depends_on_length(nested));
  EXPECT_EQ(length_of_change(nested, 4096), 40);
  EXPECT_EQ(length_of_change(rope_of(longrope), 4096), 100);
  EXPECT_EQ(length_of_change(rope_of({{"rope_type", "dynamic"}, {"factor", 2}}), 4096), 4096);
  EXPECT_FALSE(length_of_change(rope_of({{"rope_type", "dynamic"}, {"alpha", 2}}), 4096));
  EXPECT_FALSE(length_of_change(rope_of({{"rope_type", "yarn"}, {"factor", 2}}), 4096));
  const at::Tensor short_run = make_frequencies(nested, 32, 0, 40).inv_freq;
  EXPECT_TRUE(short_run.equal(make_frequencies(nested, 32, 0, 3).inv_freq));
  EXPECT_FALSE(short_run.equal(make_frequencies(nested, 32, 0, 41).inv_freq));
  const EncodedModel model{nested, 32, 2, 2, 1, 4096, {}};
  const SequenceEncoding encoding(Scheme("vanilla"), parse_layout("text:10"), model);
  EXPECT_FALSE(encoding.frequencies_change_until(40));
  EXPECT_TRUE(encoding.frequencies_change_until(41));
}

TEST(ContextScalings, ImpossibleOnesAreRefusedInWords) {
  const auto refused = [](const Json& scaling) {
    return refusal_of([&] { make_frequencies(rope_of(scaling), 32, 0, 1); });
  };
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 64}};
  EXPECT_THAT(refused({{"rope_type", "mean"}, {"of", {yarn, {{"rope_type", "default"}}}}}),
              HasSubstr("one attention factor"));
  EXPECT_THAT(refused({{"rope_type", "fope"}}),
              HasSubstr("\"fope\": expected original_max_position_embeddings"));
  EXPECT_THAT(refused({{"rope_type", "ntk-span"}, {"factor", 4}, {"original_max_position_embeddings", 1}}),
              HasSubstr("above 1"));
}

}  // namespace
}  // namespace ropescope::testing
