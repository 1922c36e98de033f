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
  flags
      .add(
          "boxes", boxes,
          "refcoco_rec, refcoco+_rec, refcocog_rec: numbers of boxes: unit (0 to 1), pixels (of the picture as the model saw it), thousand (0 to 1000), better (lmms-eval 0.7.3: whichever fits the truth), auto (as the model's family writes them)")
      .one_of({"auto", "unit", "pixels", "thousand", "better"});
  flags.add("subtitles", subtitles, "videomme: give the clip's subtitles in the prompt");
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
  result.boxes = eval::parse_box_scale(boxes);
  result.subtitles = subtitles;
  eval::check_rules(eval::find_benchmark(benchmark), result);
  return result;
}

}  // namespace ropescope::app
