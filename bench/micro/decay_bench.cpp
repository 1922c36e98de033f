// Decay curves from coefficients, the coefficients themselves, and the distance profile by FFT.
#include <benchmark/benchmark.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/probe/profile.h"
#include "ropescope/rope/decay_theory.h"
#include "ropescope/rope/frequencies.h"

namespace {

constexpr int64_t kHeadDim = 64;

// SmolLM2's 270 heads over 4096 distances: one theta of a decay report.
void evaluate_decay(benchmark::State& state) {
  const c10::InferenceMode inference;
  const int64_t curves = state.range(0);
  const int64_t distances = state.range(1);
  const auto frequencies = ropescope::make_frequencies({}, kHeadDim, 8192, 1);
  const at::Tensor a = at::randn({curves, kHeadDim / 2}, at::kDouble);
  const at::Tensor b = at::randn({curves, kHeadDim / 2}, at::kDouble);
  const at::Tensor distance = at::arange(distances, at::kDouble);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        ropescope::evaluate_decay(a, b, distance, frequencies.inv_freq, ropescope::DecaySign::kCausal));
  }
  state.SetItemsProcessed(state.iterations() * curves * distances);
}
BENCHMARK(evaluate_decay)
    ->Args({1, 4096})
    ->Args({270, 4096})
    ->Args({1, 1 << 20})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void decay_coefficients(benchmark::State& state) {
  const c10::InferenceMode inference;
  const at::Tensor q = at::randn({state.range(0), kHeadDim});
  const at::Tensor k = at::randn({state.range(0), kHeadDim});
  for (auto _ : state) benchmark::DoNotOptimize(ropescope::decay_coefficients(q, k));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(decay_coefficients)->Arg(30000)->Unit(benchmark::kMillisecond)->UseRealTime();

// One layer of SmolLM2: 9 query heads over 3 key heads.
void lagged_inner_products(benchmark::State& state) {
  const c10::InferenceMode inference;
  const int64_t tokens = state.range(0);
  const at::Tensor q = at::randn({9, tokens, kHeadDim}, at::kDouble);
  const at::Tensor k = at::randn({3, tokens, kHeadDim}, at::kDouble);
  for (auto _ : state) benchmark::DoNotOptimize(ropescope::lagged_inner_products(q, k));
  state.SetItemsProcessed(state.iterations() * tokens);
}
BENCHMARK(lagged_inner_products)
    ->Arg(512)
    ->Arg(4096)
    ->Arg(32768)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
