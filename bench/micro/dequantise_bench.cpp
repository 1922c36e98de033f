// Widening of each stored GGML type to float32, one thread. Counted in bytes written.
#include <cstddef>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "ropescope/weights/ggml_blocks.h"

namespace {

void dequantise(benchmark::State& state, const ropescope::GgmlTypeTraits* traits) {
  constexpr int64_t kNumbers = int64_t{1} << 20;
  const auto bytes = static_cast<size_t>(kNumbers / traits->block_numbers * traits->block_bytes);
  const std::vector<std::byte> source(bytes, std::byte{0x21});  // finite in every type
  std::vector<float> target(static_cast<size_t>(kNumbers));
  for (auto _ : state) {
    traits->decode(source.data(), target.data(), kNumbers);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * kNumbers * static_cast<int64_t>(sizeof(float)));
}

[[maybe_unused]] const bool kRegistered = [] {
  for (uint32_t type = 0; type < 64; ++type) {
    const ropescope::GgmlTypeTraits* traits = ropescope::ggml_type_traits(type);
    if (traits == nullptr || traits->decode == nullptr) continue;
    const std::string name = std::string("dequantise/") + traits->name;
    benchmark::RegisterBenchmark(name.c_str(),
                                 [traits](benchmark::State& state) { dequantise(state, traits); });
  }
  return true;
}();

}  // namespace
