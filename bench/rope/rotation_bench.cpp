// Rotation of q as in each layer of a forward pass, beside the reference form q * cos + rotate_half(q) * sin
// of the public implementations on the same tensors; and the tables that all layers share.
#include <benchmark/benchmark.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/rope/rotation.h"
#include "ropescope/rope/scheme.h"

#include "side_by_side.h"

namespace {

using namespace ropescope;

RotaryTable table_of(int64_t tokens, int64_t head_dim, int64_t axes) {
  const Frequencies frequencies = Scheme(axes == 1 ? "vanilla" : "mrope").frequencies({}, head_dim, 1, 0, 1);
  const at::Tensor ids = at::arange(tokens, at::kDouble).view({1, 1, -1}).repeat({axes, 1, 1});
  return make_rotary_table(ids, frequencies);
}

// Arguments: tokens, heads, head_dim.
void rotation_against_rotate_half(benchmark::State& state) {
  const c10::InferenceMode inference;
  const int64_t tokens = state.range(0), heads = state.range(1), dim = state.range(2), half = dim / 2;
  const RotaryTable table = table_of(tokens, dim, 1);
  const at::Tensor cos = at::cat({table.cos, table.cos}, -1), sin = at::cat({table.sin, table.sin}, -1);
  const at::Tensor q = at::randn({1, tokens, heads, dim}).transpose(1, 2);
  const auto reference = [&] {
    const at::Tensor rotated = at::cat({q.narrow(3, half, half).neg(), q.narrow(3, 0, half)}, -1);
    benchmark::DoNotOptimize(q.mul(cos).add(rotated.mul(sin)));
  };
  bench::side_by_side(
      state, [&] { benchmark::DoNotOptimize(apply_rotary(q, table)); }, reference,
      "times_faster_than_rotate_half", /*faster=*/true);
}
BENCHMARK(rotation_against_rotate_half)
    ->Args({128, 9, 64})
    ->Args({2048, 9, 64})
    ->Args({2880, 32, 128})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// Arguments: tokens, head_dim, axes.
void make_table(benchmark::State& state) {
  const c10::InferenceMode inference;
  for (auto _ : state) benchmark::DoNotOptimize(table_of(state.range(0), state.range(1), state.range(2)));
}
BENCHMARK(make_table)
    ->Args({2048, 64, 1})
    ->Args({32768, 64, 3})
    ->Args({32768, 128, 3})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
