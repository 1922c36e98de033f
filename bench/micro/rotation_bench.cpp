// Rotation of q, as in each layer of a forward pass, and the table that all layers share.
#include <benchmark/benchmark.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/rope/rotation.h"

namespace {

constexpr int64_t kHeads = 9;
constexpr int64_t kHeadDim = 64;

ropescope::RotaryTable table_of(int64_t tokens) {
  const auto frequencies = ropescope::make_frequencies({}, kHeadDim, 8192, tokens);
  return ropescope::make_rotary_table(at::arange(tokens, at::kDouble).view({1, 1, -1}), frequencies);
}

void apply_rotary(benchmark::State& state) {
  const c10::InferenceMode inference;
  const int64_t tokens = state.range(0);
  const auto table = table_of(tokens);
  const at::Tensor q = at::randn({1, kHeads, tokens, kHeadDim});
  for (auto _ : state) benchmark::DoNotOptimize(ropescope::apply_rotary(q, table));
  state.SetItemsProcessed(state.iterations() * tokens);
}
BENCHMARK(apply_rotary)->Arg(128)->Arg(2048)->UseRealTime();

void make_rotary_table(benchmark::State& state) {
  const c10::InferenceMode inference;
  for (auto _ : state) benchmark::DoNotOptimize(table_of(state.range(0)));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(make_rotary_table)->Arg(2048)->Arg(32768)->UseRealTime();

}  // namespace
