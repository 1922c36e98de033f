#include "ropescope/rope/rotation.h"

#include <cmath>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"
#include "ropescope/rope/scheme.h"

#include "tests/support/finite_differences.h"
#include "tests/support/golden.h"
#include "tests/support/schemes.h"

namespace ropescope {
namespace {

using testing::all_close;
using testing::golden_json;
using testing::golden_tensors;

// The scheme of a record as text: the public code's names replaced by ours.
std::string scheme_of(const Json& record) {
  std::string name = record.at("scheme"), settings;
  const Json params = record.contains("params") ? record.at("params") : Json(record);
  const auto set = [&](const std::string& key, const Json& value) {
    settings += (settings.empty() ? ":" : ",") + key + "=" + testing::setting_text(value);
  };
  for (const auto& [key, value] : params.items()) {
    if (key == "mrope_section" && name != "grape") set("sections", value);
    if (key == "temporal_stride_lst") set("temporal_stride", value);
    for (const char* same : {"spatial_reset", "move_to_origin", "radius", "alpha", "visual_stride", "delta",
                             "position_scale", "frequency_allocation", "log_freq_scale"}) {
      if (key == same) set(key, value);
    }
  }
  if (name == "vanilla-rope") name = "vanilla";
  if (name == "id_align") return "id-align";
  const size_t joined = name.find("+id_align");
  return joined == std::string::npos ? name + settings : name.substr(0, joined) + settings + "+id-align";
}

TEST(Rotation, EveryGoldenRecordFollowsFromItsScheme) {
  const auto tensors = golden_tensors("positions/rotations.safetensors");
  int64_t records = 0;
  const Json golden = golden_json("positions/rotations.json");
  for (const Json& record : golden.at("entries")) {
    const std::string name = record.at("name");
    const Scheme scheme(scheme_of(record));
    SCOPED_TRACE(name + ": " + scheme.text());
    RopeConfig config;
    config.theta = record.at("theta");
    config.partial_rotary_factor = name == "partial_text" ? 0.5 : 1.0;
    if (record.contains("yarn")) {
      config.type = RopeType::kYarn;
      config.factor = record.at("yarn").at("factor");
      config.original_max_position_embeddings = record.at("yarn").at("original_max_position_embeddings");
    }
    const Layout layout = layouts_from_json(record.at("segments"), name).front();
    const Positions positions = scheme.positions(layout);
    const at::Tensor ids = tensors.at(name + "/position_ids").to(at::kDouble);
    const at::Tensor rows = ids.dim() == 1 ? ids.unsqueeze(0) : ids.narrow(0, 0, scheme.axes());
    EXPECT_TRUE(all_close(positions.coordinates, rows, 1e-4));

    const Frequencies frequencies =
        scheme.frequencies(config, record.at("head_dim"), record.at("kv_heads"), 0, positions.largest() + 1);
    const bool adjacent = record.value("pairing", "half") == "adjacent";
    const RotaryTable table = make_rotary_table(positions.coordinates.unsqueeze(1), frequencies,
                                                adjacent ? PairLayout::kAdjacent : PairLayout::kHalfSplit);
    for (const std::string which : {"q", "k"}) {
      const at::Tensor x = tensors.at(name + "/" + which).unsqueeze(0);
      EXPECT_TRUE(all_close(apply_rotary(x, table)[0], tensors.at(name + "/" + which + "_rot"), 2e-5))
          << which;
      // Token-major memory, as projections give it, goes another way through the kernel.
      const at::Tensor view = x.transpose(1, 2).contiguous().transpose(1, 2);
      EXPECT_TRUE(all_close(apply_rotary(view, table)[0], tensors.at(name + "/" + which + "_rot"), 2e-5));
    }
    if (tensors.count(name + "/cos") > 0) {
      const int64_t half = frequencies.inv_freq.size(0);
      for (const auto& [which, actual] : {std::pair("/cos", table.cos[0]), std::pair("/sin", table.sin[0])}) {
        const at::Tensor expected = tensors.at(name + which);
        const at::Tensor by_head = expected.dim() == 2 ? expected.unsqueeze(0) : expected;
        EXPECT_TRUE(all_close(actual, by_head.narrow(2, 0, half), 2e-5)) << which;
      }
    }
    ++records;
  }
  EXPECT_EQ(records, 21);
}

// The plain float64 loop that the kernel stands for.
at::Tensor rotate_slowly(const at::Tensor& x, const at::Tensor& ids, const Frequencies& frequencies,
                         PairLayout layout) {
  at::Tensor out = x.to(at::kDouble).clone();
  const int64_t half = frequencies.inv_freq.size(0);
  const int64_t table_heads = frequencies.axis.size(0);
  for (int64_t b = 0; b < x.size(0); ++b) {
    for (int64_t h = 0; h < x.size(1); ++h) {
      for (int64_t t = 0; t < x.size(2); ++t) {
        for (int64_t i = 0; i < half; ++i) {
          const int64_t axis = frequencies.axis[h / (x.size(1) / table_heads)][i].item<int64_t>();
          const double angle = axis < 0 ? 0
                                        : ids[axis][b % ids.size(1)][t].item<double>() *
                                              frequencies.inv_freq[i].item<double>();
          const int64_t first = layout == PairLayout::kAdjacent ? 2 * i : i;
          const int64_t second = layout == PairLayout::kAdjacent ? 2 * i + 1 : i + half;
          const double p = x[b][h][t][first].item<double>(), q = x[b][h][t][second].item<double>();
          const double scale = frequencies.attention_scale;
          out[b][h][t][first].fill_(scale * (p * std::cos(angle) - q * std::sin(angle)));
          out[b][h][t][second].fill_(scale * (q * std::cos(angle) + p * std::sin(angle)));
        }
      }
    }
  }
  return out;
}

Frequencies two_axes(int64_t head_dim, int64_t heads, double partial) {
  RopeConfig config;
  config.partial_rotary_factor = partial;
  Frequencies frequencies = make_frequencies(config, head_dim, 0, 0);
  const int64_t half = frequencies.inv_freq.size(0);
  frequencies.axis = at::arange(heads * half, at::kLong).view({heads, half}).remainder(3).sub(1);
  frequencies.attention_scale = 1.25;
  return frequencies;
}

TEST(Rotation, FastPathEqualsTheLoopOverShapesTypesAndLayouts) {
  for (const PairLayout layout : {PairLayout::kHalfSplit, PairLayout::kAdjacent}) {
    for (const int64_t head_dim : {2, 6, 20}) {
      for (const int64_t table_heads : {1, 2}) {
        for (const auto& [type, tolerance] : std::vector<std::pair<at::ScalarType, double>>{
                 {at::kDouble, 1e-6}, {at::kFloat, 1e-6}, {at::kBFloat16, 2e-2}, {at::kHalf, 2e-3}}) {
          const Frequencies frequencies = two_axes(head_dim, table_heads, head_dim == 20 ? 0.5 : 1.0);
          const at::Tensor ids = at::linspace(-40, 1000.5, 2 * 2 * 3, at::kDouble).view({2, 2, 3});
          const at::Tensor x =
              at::linspace(-1, 1, 2 * 4 * 3 * head_dim, at::kFloat).view({2, 4, 3, head_dim}).to(type);
          const at::Tensor rotated = apply_rotary(x, make_rotary_table(ids, frequencies, layout));
          EXPECT_EQ(rotated.scalar_type(), type);
          EXPECT_TRUE(all_close(rotated, rotate_slowly(x, ids, frequencies, layout), tolerance))
              << "head_dim " << head_dim << ", table heads " << table_heads << ", type " << type;
        }
      }
    }
  }
}

TEST(Rotation, ScoresDependOnTheDifferenceOfPositionsOnly) {
  const Frequencies frequencies = make_frequencies(RopeConfig{}, 64, 0, 0);
  const at::Tensor x = at::linspace(-1, 1, 64, at::kDouble).view({1, 1, 1, 64}).expand({1, 1, 2, 64});
  const auto score = [&](double query, double key) {
    const at::Tensor ids = at::tensor({query, key}, at::kDouble).view({1, 1, 2});
    const at::Tensor y = apply_rotary(x, make_rotary_table(ids, frequencies))[0][0];
    return y[0].dot(y[1]).item<double>();
  };
  // float32 cos and sin: 6e-8 each, 64 products of size up to 1.
  EXPECT_NEAR(score(7, 3), score(131076, 131072), 1e-5);
  EXPECT_NEAR(score(7.25, 3), score(-3.75, -8), 1e-5);
  EXPECT_NEAR(score(5, 5), x[0][0][0].dot(x[0][0][0]).item<double>(), 1e-5);
}

TEST(Rotation, GradientIsTheRotationBackAndInputsAreUntouched) {
  const Frequencies frequencies = two_axes(8, 2, 1.0);
  const at::Tensor ids = at::linspace(0, 9, 2 * 5, at::kDouble).view({2, 1, 5});
  for (const PairLayout layout : {PairLayout::kHalfSplit, PairLayout::kAdjacent}) {
    const RotaryTable table = make_rotary_table(ids, frequencies, layout);
    const at::Tensor x = at::linspace(-1, 2, 4 * 5 * 8, at::kDouble).view({1, 4, 5, 8}).requires_grad_(true);
    const at::Tensor before = x.detach().clone();
    const at::Tensor weight = at::linspace(3, -1, x.numel(), at::kDouble).view(x.sizes());
    const at::Tensor y = apply_rotary(x, table);
    ASSERT_TRUE(y.requires_grad());
    // <w, R x> is linear in x, so its gradient is R^T w: rotating it again gives scale^2 w.
    const at::Tensor gradient = torch::autograd::grad({y.mul(weight).sum()}, {x})[0];
    EXPECT_TRUE(all_close(apply_rotary(gradient, table), weight.mul(1.25 * 1.25), 1e-6));
    EXPECT_TRUE(all_close(x, before, 0));
  }
}

TEST(Rotation, GradientsEqualFiniteDifferences) {
  const at::Tensor ids = at::linspace(0, 9, 2 * 5, at::kDouble).view({2, 1, 5});
  for (const PairLayout layout : {PairLayout::kHalfSplit, PairLayout::kAdjacent}) {
    const RotaryTable table = make_rotary_table(ids, two_axes(8, 2, 1.0), layout);
    const at::Tensor x = at::linspace(-1, 2, 4 * 5 * 8, at::kDouble).view({1, 4, 5, 8}).requires_grad_(true);
    testing::expect_finite_differences([&] { return apply_rotary(x, table).sin().sum(); }, {x}, 1e-7);
  }
}

TEST(Rotation, OneRowOfPositionsServesEveryAxis) {
  const Frequencies frequencies = two_axes(8, 1, 1.0);
  const at::Tensor ids = at::arange(4, at::kLong).view({1, 1, 4});
  const at::Tensor x = at::ones({1, 1, 4, 8});
  EXPECT_TRUE(all_close(apply_rotary(x, make_rotary_table(ids, frequencies)),
                        apply_rotary(x, make_rotary_table(ids.expand({2, 1, 4}), frequencies)), 0));
}

TEST(Rotation, IdsThatCannotBeAreRefused) {
  const Frequencies frequencies = two_axes(8, 1, 1.0);
  EXPECT_THROW(make_rotary_table(at::full({2, 1, 3}, NAN, at::kDouble), frequencies), InputError);
  Frequencies third = frequencies;
  third.axis = at::full({1, 4}, 2, at::kLong);
  EXPECT_THROW(make_rotary_table(at::ones({2, 1, 3}), third), InputError);
  EXPECT_THROW(apply_rotary(at::ones({1, 1, 4, 8}), make_rotary_table(at::ones({2, 1, 3}), frequencies)),
               InternalError);
}

TEST(Rotation, TablesCanBeMadeInInferenceModeByAllThreads) {
  const c10::InferenceMode inference;
  const Frequencies frequencies = make_frequencies({}, 64, 0, 1);
  const RotaryTable table = make_rotary_table(at::arange(5000, at::kDouble).view({1, 1, -1}), frequencies);
  EXPECT_NEAR(table.cos[0][0][4999][0].item<double>(), std::cos(4999.0), 1e-7);
}

}  // namespace
}  // namespace ropescope
