// Routers and experts: golden layers of five families (tests/golden/architectures; tolerances are stated there), and the
// rules of choosing.
#include "ropescope/models/blocks/experts.h"

#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/blocks/latent_attention.h"
#include "ropescope/weights/gguf.h"
#include "ropescope/weights/renamed_checkpoint.h"

#include "tests/support/finite_differences.h"
#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

constexpr int64_t kChannels = 40;

at::Tensor some_numbers(at::IntArrayRef shape, uint64_t seed, at::ScalarType type = at::kDouble) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), type);
}

at::Tensor normed(const at::Tensor& x, double eps) { return x * (x.square().mean(-1, true) + eps).rsqrt(); }

// A layer of a golden model up to its experts, in float64: attention from the stored rotated queries and keys.
struct GoldenLayer {
  GoldenLayer(const std::string& model, int64_t layer)
      : folder("architectures/" + model + "/"),
        prefix("model.layers." + std::to_string(layer) + "."),
        checkpoint(open_checkpoint(golden_path(folder + "model.safetensors"))),
        golden(golden_tensors(folder + "expected.safetensors")),
        about(golden_json(folder + "expected.json").at("layers").at(static_cast<size_t>(layer))),
        eps(golden_json(folder + "config.json").at("rms_norm_eps")),
        hidden(golden.at("hidden." + std::to_string(layer)).to(at::kDouble)),
        expected(golden.at("hidden." + std::to_string(layer + 1))),
        q(golden.at("q_rotated." + std::to_string(layer)).to(at::kDouble)),
        k(golden.at("k_rotated." + std::to_string(layer)).to(at::kDouble)) {}

  at::Tensor weight(const std::string& name) const { return checkpoint->take(prefix + name, at::kDouble); }
  bool has(const std::string& name) const { return checkpoint->find(prefix + name) != nullptr; }
  at::Tensor norm(const at::Tensor& x, const std::string& name) const {
    return normed(x, eps) * weight(name + ".weight");
  }
  at::Tensor linear(const at::Tensor& x, const std::string& name) const {
    const at::Tensor y = at::matmul(x, weight(name + ".weight").t());
    return has(name + ".bias") ? y + weight(name + ".bias") : y;
  }
  at::Tensor gated(const at::Tensor& x, const std::string& name, bool gelu = false) const {
    const at::Tensor gate = linear(x, name + ".gate_proj");
    return linear((gelu ? at::gelu(gate, "tanh") : at::silu(gate)) * linear(x, name + ".up_proj"),
                  name + ".down_proj");
  }
  at::Tensor as_heads(const at::Tensor& x) const { return x.unflatten(-1, {k.size(0), -1}).transpose(0, 1); }
  at::Tensor input() const { return norm(hidden, "input_layernorm"); }
  at::Tensor values() const { return as_heads(linear(input(), "self_attn.v_proj")); }

  // From values [K, T, V], through o_proj.
  at::Tensor attention(const at::Tensor& values) const {
    const int64_t groups = q.size(0) / k.size(0), tokens = q.size(1);
    at::Tensor scores =
        at::matmul(q, k.repeat_interleave(groups, 0).transpose(1, 2)) * about.at("scaling").get<double>();
    const at::Tensor query = at::arange(tokens).unsqueeze(1), key = at::arange(tokens).unsqueeze(0);
    at::Tensor hidden_keys = key > query;
    if (!about.at("window").is_null()) hidden_keys |= key <= query - about.at("window").get<int64_t>();
    if (!about.at("chunk").is_null()) {
      const auto chunk = about.at("chunk").get<int64_t>();
      hidden_keys |= key.floor_divide(chunk) != query.floor_divide(chunk);
    }
    scores = scores.masked_fill(hidden_keys, -INFINITY);
    if (has("self_attn.sinks")) {
      scores = at::cat({scores, weight("self_attn.sinks").view({-1, 1, 1}).expand({-1, tokens, 1})}, -1);
    }
    const at::Tensor rows = scores.softmax(-1).narrow(-1, 0, tokens);
    const at::Tensor mixed = at::matmul(rows, values.repeat_interleave(groups, 0)).transpose(0, 1).flatten(1);
    return linear(mixed, "self_attn.o_proj");
  }

  std::string folder, prefix;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::map<std::string, at::Tensor> golden;
  Json about;
  double eps;
  at::Tensor hidden, expected, q, k;
};

// What the block under test makes of x, in float32.
struct Block {
  RouterWeights router;
  ExpertShape shape;
  std::string prefix;
  GateActivation activation = GateActivation::kSilu;

  at::Tensor run(const GoldenLayer& layer, const at::Tensor& x, const at::Tensor& router_x) const {
    const auto source =
        expert_source(layer.checkpoint, layer.prefix + prefix, shape, kChannels, at::kFloat, at::kCPU);
    const Routing routing = route(router_x.to(at::kFloat), router, shape, layer.eps);
    EXPECT_EQ(routing.index.sizes(), at::IntArrayRef({x.size(0), shape.chosen}));
    EXPECT_EQ(routing.weight.scalar_type(), at::kFloat);
    const at::Tensor trained = mix_experts(x.to(at::kFloat), routing, shape, activation, *source);
    const at::NoGradGuard no_grad;  // other kernels
    const at::Tensor mixed = mix_experts(x.to(at::kFloat), routing, shape, activation, *source);
    EXPECT_TRUE(all_close(mixed, trained, 1e-4));
    return mixed;
  }
};

at::Tensor as_float(const GoldenLayer& layer, const std::string& name) {
  return layer.weight(name).to(at::kFloat);
}

TEST(ExpertsGolden, Qwen3Moe) {
  for (const int64_t l : {0, 2}) {
    const GoldenLayer layer("qwen3_moe", l);
    const at::Tensor middle = layer.hidden + layer.attention(layer.values());
    const at::Tensor input = layer.norm(middle, "post_attention_layernorm");
    Block block{{.weight = as_float(layer, "mlp.gate.weight")},
                {.count = 6, .chosen = 2, .inner = 20},
                "mlp.experts"};
    block.shape.renormalise = true;
    EXPECT_TRUE(all_close(middle + block.run(layer, input, input), layer.expected, 1e-3));
  }
}

TEST(ExpertsGolden, GptOss) {
  for (const int64_t l : {0, 1, 2}) {
    const GoldenLayer layer("gpt_oss", l);
    const at::Tensor middle = layer.hidden + layer.attention(layer.values());
    const at::Tensor input = layer.norm(middle, "post_attention_layernorm");
    const Json config = golden_json(layer.folder + "config.json");
    Block block{{.weight = as_float(layer, "mlp.router.weight"), .bias = as_float(layer, "mlp.router.bias")},
                {.count = 4, .chosen = config.at("num_experts_per_tok"), .inner = 24},
                "mlp.experts"};
    block.shape.router = Router::kSoftmaxOfChosen;
    block.shape.form = ExpertForm::kStackedInOutAlternating;
    block.shape.clamp = config.at("swiglu_limit");
    EXPECT_TRUE(all_close(middle + block.run(layer, input, input), layer.expected, 1e-3));
  }
}

TEST(ExpertsGolden, DeepseekV3) {
  for (const int64_t l : {1, 2}) {
    const GoldenLayer layer("deepseek_v3", l);
    const auto take = [&](const char* name) {
      return layer.weight(fmt::format("self_attn.{}.weight", name));
    };
    LatentWeights latent;
    latent.q_a = take("q_a_proj"), latent.q_a_norm = take("q_a_layernorm"), latent.q_b = take("q_b_proj");
    latent.kv_a = take("kv_a_proj_with_mqa"), latent.kv_a_norm = take("kv_a_layernorm"),
    latent.kv_b = take("kv_b_proj");
    const LatentQkv qkv = latent_qkv(layer.input().unsqueeze(0), latent, {24, 16, 12, 8}, 3, 10);
    const at::Tensor middle = layer.hidden + layer.attention(qkv.v.squeeze(0));
    const at::Tensor input = layer.norm(middle, "post_attention_layernorm");
    Block block{{.weight = as_float(layer, "mlp.gate.weight"),
                 .correction = as_float(layer, "mlp.gate.e_score_correction_bias")},
                {.count = 8, .chosen = 3, .inner = 12},
                "mlp.experts"};
    block.shape.router = Router::kSigmoidGroups;
    block.shape.groups = 4, block.shape.chosen_groups = 2;
    block.shape.renormalise = true;
    block.shape.weight_scale = 1.5;
    const at::Tensor mixed = block.run(layer, input, input) + layer.gated(input, "mlp.shared_experts");
    EXPECT_TRUE(all_close(middle + mixed, layer.expected, 1e-3));

    // The GGUF form: one stack for each matrix.
    const auto file = open_gguf_file(golden_path("architectures/gguf/deepseek_v3-F16.gguf"));
    const std::string in_file = "blk." + std::to_string(l) + ".ffn_";
    const std::shared_ptr<const Checkpoint> renamed =
        rename_tensors(*file, [&](const std::string& name) -> std::optional<std::string> {
          for (const char* matrix : {"gate", "up", "down"}) {
            if (name == in_file + matrix + "_exps.weight")
              return fmt::format("experts.{}_proj.weight", matrix);
          }
          return std::nullopt;
        });
    const auto stacked = expert_source(renamed, "experts", block.shape, kChannels, at::kFloat, at::kCPU);
    const auto apart = expert_source(layer.checkpoint, layer.prefix + "mlp.experts", block.shape, kChannels,
                                     at::kFloat, at::kCPU);
    for (int64_t e = 0; e < 8; ++e) {
      const Expert a = stacked->take(e), b = apart->take(e);
      EXPECT_TRUE(at::equal(a.gate, b.gate) && at::equal(a.up, b.up) && at::equal(a.down, b.down)) << e;
    }
  }
}

TEST(ExpertsGolden, Llama4) {
  for (const int64_t l : {1, 3}) {
    const GoldenLayer layer("llama4_text", l);
    const at::Tensor middle = layer.hidden + layer.attention(layer.values());
    const at::Tensor input = layer.norm(middle, "post_attention_layernorm");
    Block block{{.weight = as_float(layer, "feed_forward.router.weight")},
                {.count = 3, .chosen = 1, .inner = 24},
                "feed_forward.experts"};
    block.shape.router = Router::kSigmoidOnInput;
    block.shape.form = ExpertForm::kStackedInOut;
    const at::Tensor mixed =
        block.run(layer, input, input) + layer.gated(input, "feed_forward.shared_expert");
    EXPECT_TRUE(all_close(middle + mixed, layer.expected, 1e-3));
  }
}

TEST(ExpertsGolden, Gemma4) {
  for (const int64_t l : {0, 1, 2, 3}) {
    const GoldenLayer layer("gemma4_text-moe", l);
    const at::Tensor values = layer.has("self_attn.v_proj.weight")
                                  ? layer.values()
                                  : layer.as_heads(layer.linear(layer.input(), "self_attn.k_proj"));
    const at::Tensor attended = layer.attention(normed(values, layer.eps));
    const at::Tensor middle = layer.hidden + layer.norm(attended, "post_attention_layernorm");
    Block block{{.weight = as_float(layer, "router.proj.weight"),
                 .scale = as_float(layer, "router.scale"),
                 .expert_scale = as_float(layer, "router.per_expert_scale")},
                {.count = 4, .chosen = 2, .inner = 14},
                "experts",
                GateActivation::kGeluTanh};
    block.shape.router = Router::kScaledSoftmax;
    block.shape.form = ExpertForm::kStackedOutIn;
    block.shape.renormalise = true;
    const at::Tensor dense =
        layer.gated(layer.norm(middle, "pre_feedforward_layernorm"), "mlp", /*gelu=*/true);
    const at::Tensor mixed = block.run(layer, layer.norm(middle, "pre_feedforward_layernorm_2"), middle);
    const at::Tensor both = layer.norm(dense, "post_feedforward_layernorm_1") +
                            layer.norm(mixed.to(at::kDouble), "post_feedforward_layernorm_2");
    const at::Tensor out = middle + layer.norm(both, "post_feedforward_layernorm");
    EXPECT_TRUE(all_close(out * layer.weight("layer_scalar"), layer.expected, 1e-3));
  }
}

// Experts that are there, and who was asked for.
class Listed : public ExpertSource {
 public:
  explicit Listed(std::vector<Expert> experts) : experts_(std::move(experts)) {}
  Expert take(int64_t expert) const override {
    taken.push_back(expert);
    return experts_.at(static_cast<size_t>(expert));
  }
  mutable std::vector<int64_t> taken;

 private:
  std::vector<Expert> experts_;
};

Listed random_experts(int64_t count, at::ScalarType type) {
  std::vector<Expert> experts;
  for (uint64_t e = 0; e < static_cast<uint64_t>(count); ++e) {
    experts.push_back({some_numbers({5, 6}, 3 * e, type),
                       some_numbers({5, 6}, 3 * e + 1, type),
                       some_numbers({6, 5}, 3 * e + 2, type),
                       {},
                       {},
                       {}});
  }
  return Listed(std::move(experts));
}

TEST(MixExperts, OnlyChosenExpertsAreTakenInTheirOrder) {
  const Listed source = random_experts(4, at::kDouble);
  const ExpertShape shape{.count = 4, .chosen = 2, .inner = 5};
  const at::Tensor x = some_numbers({3, 6}, 20);
  const Routing routing{at::tensor({3L, 1L, 1L, 3L, 3L, 0L}).view({3, 2}), some_numbers({3, 2}, 21)};
  const at::Tensor mixed = mix_experts(x, routing, shape, GateActivation::kSilu, source);
  EXPECT_EQ(source.taken, (std::vector<int64_t>{0, 1, 3}));
  for (int64_t n = 0; n < 3; ++n) {
    at::Tensor sum = at::zeros({6}, at::kDouble);
    for (int64_t i = 0; i < 2; ++i) {
      const Expert e = source.take(routing.index[n][i].item<int64_t>());
      sum = sum + at::matmul(e.down, at::silu(at::matmul(e.gate, x[n])) * at::matmul(e.up, x[n])) *
                      routing.weight[n][i];
    }
    EXPECT_TRUE(all_close(mixed[n], sum, 1e-12));
  }
}

TEST(MixExperts, EqualInputsGiveEqualBitsAndTypesStay) {
  const Listed source = random_experts(4, at::kFloat);
  const ExpertShape shape{.count = 4, .chosen = 3, .inner = 5};
  const RouterWeights router{.weight = some_numbers({4, 6}, 30, at::kFloat)};
  const at::Tensor x = some_numbers({50, 6}, 31, at::kFloat);
  const auto run = [&] {
    return mix_experts(x, route(x, router, shape, 1e-6), shape, GateActivation::kSilu, source);
  };
  EXPECT_TRUE(at::equal(run(), run()));
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(all_close(run(), run(), 0));
  const Routing none{at::zeros({0, 3}, at::kLong), at::zeros({0, 3})};
  EXPECT_EQ(mix_experts(x.narrow(0, 0, 0), none, shape, GateActivation::kSilu, source).sizes(),
            at::IntArrayRef({0, 6}));
}

TEST(MixExperts, GradientsAreThoseOfFiniteDifferences) {
  const Listed source = random_experts(4, at::kDouble);
  for (const Router kind : {Router::kSoftmax, Router::kSoftmaxOfChosen, Router::kSigmoidGroups,
                            Router::kSigmoidOnInput, Router::kScaledSoftmax}) {
    ExpertShape shape{.count = 4, .chosen = 2, .inner = 5, .router = kind, .renormalise = true};
    shape.clamp = kind == Router::kSoftmaxOfChosen ? 0.7 : 0;
    shape.groups = 2, shape.chosen_groups = 1;
    const RouterWeights router{.weight = some_numbers({4, 6}, 40), .scale = some_numbers({6}, 41)};
    const at::Tensor x = some_numbers({5, 6}, 42), of_out = some_numbers({5, 6}, 43);
    x.requires_grad_(true), router.weight.requires_grad_(true);
    const auto activation =
        kind == Router::kScaledSoftmax ? GateActivation::kGeluTanh : GateActivation::kSilu;
    expect_finite_differences(
        [&] {
          return (mix_experts(x, route(x, router, shape, 1e-6), shape, activation, source) * of_out).sum();
        },
        {x, router.weight}, 1e-6);
  }
}

// The same router's numbers as its logits: the input is the unit matrix.
Routing route_logits(const at::Tensor& logits, ExpertShape shape, at::Tensor correction = {}) {
  const at::Tensor rows = at::zeros({logits.size(0), logits.size(0)}, at::kDouble).fill_diagonal_(1);
  shape.count = logits.size(1);
  return route(rows, {.weight = logits.t(), .correction = correction}, shape, 1e-6);
}

TEST(Route, DroppedGroupsAreNeverChosen) {
  // Every choice score is below zero: zeros for the dropped group would win.
  const ExpertShape shape{.chosen = 3, .router = Router::kSigmoidGroups, .groups = 2, .chosen_groups = 1};
  const at::Tensor logits = at::tensor({2.0, 1.0, 0.5, 0.2, -1.0, -1.0, -1.0, -1.0}).view({1, 8});
  const Routing routing =
      route_logits(logits, shape, at::tensor({-5.0, -5.0, -5.0, -5.0, -4.0, -4.0, -9.0, -9.0}));
  std::set<int64_t> chosen;
  for (int64_t i = 0; i < 3; ++i) chosen.insert(routing.index[0][i].item<int64_t>());
  EXPECT_THAT(chosen, ::testing::AnyOf(std::set<int64_t>{4, 5, 6}, std::set<int64_t>{4, 5, 7}));
  // The correction does not reach the weights.
  EXPECT_TRUE(all_close(routing.weight, at::sigmoid(logits.gather(1, routing.index)), 1e-12));
}

TEST(Route, WeightsOfEveryKind) {
  const at::Tensor logits = at::tensor({0.0, 2.0, 1.0, -1.0}).view({1, 4});
  const at::Tensor all = logits.softmax(-1), two = at::tensor({2.0, 1.0}).view({1, 2});
  const auto weights = [&](Router kind, bool renormalise) {
    const Routing routing =
        route_logits(logits, {.chosen = 2, .router = kind, .renormalise = renormalise, .weight_scale = 3});
    EXPECT_TRUE(at::equal(routing.index, at::tensor({1L, 2L}).view({1, 2})));
    return routing.weight / 3;
  };
  EXPECT_TRUE(all_close(weights(Router::kSoftmax, false), all.slice(1, 1, 3), 1e-12));
  EXPECT_TRUE(all_close(weights(Router::kSoftmax, true), two.softmax(-1), 1e-12));
  EXPECT_TRUE(all_close(weights(Router::kSoftmaxOfChosen, false), two.softmax(-1), 1e-12));
  EXPECT_TRUE(all_close(weights(Router::kSigmoidGroups, false), two.sigmoid(), 1e-12));
  EXPECT_TRUE(all_close(weights(Router::kSigmoidGroups, true), two.sigmoid() / two.sigmoid().sum(), 1e-12));
  EXPECT_TRUE(all_close(weights(Router::kSigmoidOnInput, false), two.sigmoid(), 1e-12));
}

}  // namespace
}  // namespace ropescope
