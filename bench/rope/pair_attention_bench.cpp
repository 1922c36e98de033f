// Attention over modality pairs (DIPE) beside one fused causal attention of the same length. Both run in
// turns; `times_of_one_causal` is the median over the rounds, the time that of the pair.
#include <vector>

#include <benchmark/benchmark.h>

#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/GradMode.h>

#include "ropescope/core/autograd.h"
#include "ropescope/models/pair_attention.h"

#include "side_by_side.h"

namespace {

using Runs = std::vector<int64_t>;  // text first, then in turns

struct Shape {
  int64_t heads, kv_heads, dim;
};

void pair_against_causal(benchmark::State& state, const Runs& runs, Shape shape, bool with_backward) {
  std::vector<uint8_t> visual;
  for (size_t run = 0; run < runs.size(); ++run) visual.insert(visual.end(), runs[run], run % 2);
  const auto tokens = static_cast<int64_t>(visual.size());
  const auto make = [&](int64_t heads) {
    return at::randn({1, tokens, heads, shape.dim}).transpose(1, 2).requires_grad_(with_backward);
  };
  const at::Tensor q_same = make(shape.heads), q_cross = make(shape.heads);
  const at::Tensor k = make(shape.kv_heads), v = make(shape.kv_heads);
  const at::AutoGradMode mode(with_backward);
  const ropescope::PairAttentionPlan plan(visual, tokens, at::kFloat, at::kCPU);
  const auto finish = [&](const at::Tensor& out, const std::vector<at::Tensor>& leaves) {
    if (with_backward) benchmark::DoNotOptimize(torch::autograd::grad({out}, leaves, {at::ones_like(out)}));
  };
  const auto pair = [&] { finish(plan.attend(q_same, q_cross, k, v), {q_same, q_cross, k, v}); };
  const auto causal = [&] {
    const at::Tensor out = at::scaled_dot_product_attention(q_same, k, v, {}, 0.0, /*is_causal=*/true,
                                                            std::nullopt, /*enable_gqa=*/true);
    finish(out.transpose(1, 2).flatten(2), {q_same, k, v});
  };
  ropescope::bench::side_by_side(state, pair, causal, "times_of_one_causal", /*faster=*/false);
}

const int registered = [] {
  const std::vector<std::pair<std::string, Runs>> layouts = {
      {"one_image", {35, 2928, 20}},
      {"four_images", {35, 576, 20, 576, 20, 576, 20, 576, 20}},
      {"sixteen_images", {20,  144, 8,   144, 8,   144, 8,   144, 8,   144, 8,   144, 8,   144, 8,   144, 8,
                          144, 8,   144, 8,   144, 8,   144, 8,   144, 8,   144, 8,   144, 8,   144, 40}},
      {"half_text", {750, 750, 750, 750}},
      {"single_tokens", Runs(3000, 1)},
  };
  const std::vector<std::pair<std::string, Shape>> shapes = {{"9x64_3kv", {9, 3, 64}},
                                                             {"32x128", {32, 32, 128}}};
  for (const auto& [layout, runs] : layouts) {
    for (const auto& [name, shape] : shapes) {
      for (const bool with_backward : {false, true}) {
        const std::string what = with_backward ? "forward_backward" : "forward";
        benchmark::RegisterBenchmark(("pair_attention/" + layout + "/" + name + "/" + what).c_str(),
                                     pair_against_causal, runs, shape, with_backward)
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond)
            ->Iterations(name == "32x128" && with_backward ? 5 : 9);
      }
    }
  }
  return 0;
}();

}  // namespace
