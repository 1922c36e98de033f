#include "ropescope/train/optimizer.h"

#include <cmath>

#include <gtest/gtest.h>

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>

#include "ropescope/core/errors.h"
#include "ropescope/train/schedule.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

TEST(Schedule, EqualsTheGoldenTables) {
  size_t compared = 0;
  for (const Json& table : golden_json("language/training/lr_tables.json")) {
    SCOPED_TRACE(table.at("name").get<std::string>());
    Schedule schedule;
    schedule.total_steps = table.at("total_steps");
    schedule.warmup_steps = warmup_steps(schedule.total_steps, table.at("warmup_ratio"));
    EXPECT_EQ(schedule.warmup_steps, table.at("warmup_steps").get<int64_t>());
    const double floor = table.at("min_lr").is_null() ? 0.0 : table.at("min_lr").get<double>();
    const double peak = table.at("lr");
    for (const auto& [step, value] : table.at("values").items()) {
      const double expected = value;
      // (1 + cos) cancels near the end: there the last bits of the cosine are all that is left
      EXPECT_NEAR(schedule.rate(std::stoll(step), peak, floor), expected, 1e-12 * expected + 1e-16 * peak)
          << step;
      ++compared;
    }
  }
  EXPECT_GT(compared, 50u);
}

TEST(Schedule, LinearReachesItsFloorAndStaysThere) {
  const Schedule schedule{ScheduleKind::kLinear, 10, 2};
  EXPECT_EQ(schedule.rate(0, 1.0), 0.0);
  EXPECT_EQ(schedule.rate(1, 1.0), 0.5);
  EXPECT_EQ(schedule.rate(2, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(schedule.rate(6, 1.0, 0.2), 0.6);
  EXPECT_DOUBLE_EQ(schedule.rate(10, 1.0, 0.2), 0.2);
  EXPECT_DOUBLE_EQ(schedule.rate(99, 1.0, 0.2), 0.2);
  EXPECT_THROW(warmup_steps(10, 1.5), UsageError);
}

TEST(Names, StarsMatchAnything) {
  EXPECT_TRUE(name_matches("model.layers.0.mlp.up_proj.weight", "*"));
  EXPECT_TRUE(name_matches("model.layers.0.mlp.up_proj.weight", "model.layers.*.mlp.*"));
  EXPECT_TRUE(name_matches("aXbXc", "a*b*c"));
  EXPECT_TRUE(name_matches("abab", "*ab"));
  EXPECT_FALSE(name_matches("lm_head.weight", "model.*"));
  EXPECT_FALSE(name_matches("lm_head.weight", "lm_head"));
  EXPECT_FALSE(name_matches("", "?"));
}

Parameter parameter(const std::string& name, at::IntArrayRef shape, double value) {
  return {name, at::full(shape, value).set_requires_grad(true)};
}

// The update of one number, in float64, as the formula has it.
double by_formula(double p, const std::vector<double>& gradients, double rate, double decay) {
  double m = 0, v = 0;
  for (size_t t = 1; t <= gradients.size(); ++t) {
    const double g = gradients[t - 1], n = static_cast<double>(t);
    p -= rate * decay * p;
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    p -= rate * (m / (1 - std::pow(0.9, n))) / (std::sqrt(v / (1 - std::pow(0.999, n))) + 1e-8);
  }
  return p;
}

TEST(AdamW, GroupsHaveTheirOwnRatesAndVectorsAreNotDecayed) {
  std::vector<Parameter> parameters = {parameter("tower.w", {2, 2}, 1.0), parameter("decoder.w", {3, 2}, 1.0),
                                       parameter("decoder.norm", {3}, 1.0),
                                       parameter("decoder.idle", {2}, 1.0)};
  AdamW optimizer(parameters, {{"tower.*", 0.01, 0, 0.0}, {"*", 0.1, 0, 0.5}}, {});
  const std::vector<double> gradients = {0.5, -0.25, 0.125};
  for (const double g : gradients) {
    for (size_t i = 0; i < 3; ++i) {
      parameters[i].value.mutable_grad() = at::full(parameters[i].value.sizes(), g);
    }
    optimizer.step({0.01, 0.1});
  }
  const auto value = [&](size_t i) { return parameters[i].value.flatten()[0].item<double>(); };
  EXPECT_NEAR(value(0), by_formula(1.0, gradients, 0.01, 0.0), 1e-6);
  EXPECT_NEAR(value(1), by_formula(1.0, gradients, 0.1, 0.5), 1e-6);
  EXPECT_NEAR(value(2), by_formula(1.0, gradients, 0.1, 0.0), 1e-6);
  EXPECT_EQ(value(3), 1.0);  // never had a gradient
}

TEST(AdamW, RefusesParametersWithoutAGroupAndForeignStates) {
  EXPECT_THROW(AdamW({parameter("a", {2}, 1)}, {{"b", 0.1, 0, 0}}, {}), UsageError);
  EXPECT_THROW(AdamW({parameter("a", {2}, 1)}, {{"*", 0.1, 0, 0}}, {1.0, 0.9, 1e-8}), UsageError);
  AdamW one({parameter("a", {2}, 1)}, {{"*", 0.1, 0, 0}}, {});
  AdamW other({parameter("a", {3}, 1)}, {{"*", 0.1, 0, 0}}, {});
  EXPECT_THROW(one.load_state(other.state(), "optimizer.safetensors"), InputError);
  EXPECT_THROW(one.load_state({}, "optimizer.safetensors"), InputError);
}

TEST(Clipping, BringsTheGlobalNormToTheLimitOnlyFromAbove) {
  std::vector<Parameter> parameters = {parameter("a", {4}, 0), parameter("b", {3, 3}, 0),
                                       parameter("c", {1}, 0)};
  parameters[0].value.mutable_grad() = at::full({4}, 2.0);
  parameters[1].value.mutable_grad() = at::full({3, 3}, 1.0);
  const double norm = gradient_norm(parameters);
  EXPECT_NEAR(norm, 5.0, 1e-6);  // sqrt(4 * 4 + 9)
  EXPECT_EQ(clip_factor(norm, 10.0), 1.0);
  EXPECT_EQ(clip_factor(norm, 0.0), 1.0);  // never
  EXPECT_NEAR(clip_factor(norm, 1.0), 0.2, 1e-6);
  drop_gradients(parameters);
  EXPECT_EQ(gradient_norm(parameters), 0.0);
}

}  // namespace
}  // namespace ropescope
