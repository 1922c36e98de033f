#include "evaluate/evaluation_flags.h"

namespace ropescope::app {

void ScoringFlags::bind(Flags& flags) {
  std::string names;
  for (const eval::Benchmark& known : eval::benchmarks()) names += (names.empty() ? "" : ", ") + known.name;
  flags.group("Benchmark");
  flags.add("benchmark", benchmark, names).required();
  flags
      .add(
          "profile", profile,
          "scoring code: paper (lmms-eval of May 2025, as ID-Align used it), current (0.7.3) or vlmevalkit (DIPE's harness, "
          "August 2026)")
      .one_of({"paper", "current", "vlmevalkit"})
      .shown_default("paper, or the first of these that has the benchmark");
  flags
      .add("policy", policy,
           "mmbench answers without a recognised letter: exact (wrong) or static (one more rule)")
      .one_of({"exact", "static"});
  flags.add("ocr", ocr, "textvqa: give the data's OCR tokens in the prompt");
}

const eval::Benchmark& ScoringFlags::chosen() const {
  return eval::benchmark_under(eval::find_benchmark(benchmark), rules().profile);
}

eval::Rules ScoringFlags::rules() const {
  eval::Rules result;
  result.profile =
      profile ? eval::parse_profile(*profile) : eval::profiles_of(eval::find_benchmark(benchmark)).front();
  result.policy = eval::parse_policy(policy);
  result.ocr_tokens = ocr;
  return result;
}

}  // namespace ropescope::app
