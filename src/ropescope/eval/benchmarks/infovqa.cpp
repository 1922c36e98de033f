#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

Benchmark docvqa();

/// DocVQA's questions, answers and metric, on other pictures.
Benchmark infovqa() {
  const Benchmark pages = docvqa();
  const auto renamed = [](Benchmark benchmark) {
    benchmark.name = "infovqa";
    benchmark.summary = "Posters of facts and figures; answers are compared by edit distance (ANLS).";
    benchmark.data = "InfographicVQA, validation split (infovqa_val): 2801 questions";
    benchmark.other_names = {"infovqa_val", "InfoVQA_VAL"};
    benchmark.variants.clear();
    return benchmark;
  };
  return with_vlmevalkit(renamed(pages), renamed(benchmark_under(pages, Profile::kVlmEvalKit)));
}

}  // namespace ropescope::eval
