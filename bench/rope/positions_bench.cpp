// Position ids of a long prompt with 16 high-resolution pictures (about 25,000 tokens).
#include <benchmark/benchmark.h>

#include "ropescope/rope/scheme.h"

namespace {

using namespace ropescope;

Layout sixteen_pictures() {
  std::string text = "text:20";
  for (int picture = 0; picture < 16; ++picture) text += ",anyres:16x24+24x48,text:5";
  return parse_layout(text.substr(0, text.size() - 1) + "1");
}

void position_ids(benchmark::State& state, const std::string& text) {
  const Scheme scheme(text);
  const Layout layout = sixteen_pictures();
  for (auto _ : state) benchmark::DoNotOptimize(scheme.positions(layout));
  state.counters["tokens"] = static_cast<double>(layout.tokens());
}

const int registered = [] {
  for (const std::string text :
       {"vanilla", "id-align", "v2pe", "mrope", "mrope-interleave:spatial_reset=true", "videorope",
        "circlerope:move_to_origin=true,radius=10,alpha=0.5", "dipe", "cca", "id-align+mrope"}) {
    benchmark::RegisterBenchmark(("position_ids/" + text).c_str(), position_ids, text)
        ->Unit(benchmark::kMicrosecond);
  }
  return 0;
}();

}  // namespace
