#include "evaluation_flags.h"

namespace ropescope::app {

po::options_description scoring_options() {
  std::string names;
  for (const eval::Benchmark& benchmark : eval::benchmarks()) {
    names += (names.empty() ? "" : ", ") + benchmark.name;
  }
  po::options_description scoring("Benchmark", 110, 55);
  scoring.add_options()                                       //
      ("benchmark", po::value<std::string>(), names.c_str())  //
      ("profile", po::value<std::string>()->default_value("paper"),
       "scoring code: paper (lmms-eval of May 2025, as ID-Align used it) or current (0.7.2)")  //
      ("policy", po::value<std::string>()->default_value("exact"),
       "mmbench answers without a recognised letter: exact (wrong) or static (one more rule)")  //
      ("ocr", po::bool_switch(), "textvqa: give the data's OCR tokens in the prompt");
  return scoring;
}

eval::Rules scoring_rules(const Arguments& arguments) {
  eval::Rules rules;
  rules.profile = eval::parse_profile(arguments.get<std::string>("profile"));
  rules.policy = eval::parse_policy(arguments.get<std::string>("policy"));
  rules.ocr_tokens = arguments.flag("ocr");
  return rules;
}

}  // namespace ropescope::app
