// Two ways of computing the same thing, run in turns so that a busy machine slows both.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include <benchmark/benchmark.h>

namespace ropescope::bench {

double seconds(const auto& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

/// Times `ours`; the counter `name` is the median over the rounds of reference time / our time (`faster`: how
/// many times faster ours is) or the inverse, `reference_ms` the median time of the reference.
void side_by_side(benchmark::State& state, const auto& ours, const auto& reference, const char* name,
                  bool faster) {
  std::vector<double> of_reference, ratios;
  reference();
  ours();
  for (auto _ : state) {
    of_reference.push_back(seconds(reference));
    const double time = seconds(ours);
    ratios.push_back(faster ? of_reference.back() / time : time / of_reference.back());
    state.SetIterationTime(time);
  }
  state.counters[name] = median(ratios);
  state.counters["reference_ms"] = 1e3 * median(of_reference);
}

}  // namespace ropescope::bench
