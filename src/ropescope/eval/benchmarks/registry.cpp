#include "ropescope/eval/benchmarks/registry.h"

#include <algorithm>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/eval/option_columns.h"

namespace ropescope::eval {

// One line a benchmark: declared here, defined in the file of its name, listed below.
Benchmark mmbench();
Benchmark mmstar();
Benchmark realworldqa();
Benchmark seedbench_2_plus();
Benchmark pope();
Benchmark mme();
Benchmark ai2d();
Benchmark vqav2();
Benchmark scienceqa_img();
Benchmark docvqa();
Benchmark chartqa();
Benchmark textvqa();
Benchmark mmmu_mc();
Benchmark refcoco_rec();
Benchmark refcoco_plus_rec();
Benchmark refcocog_rec();
Benchmark mvbench();
Benchmark videomme();
Benchmark mlvu();
Benchmark lvbench();
Benchmark charades_sta();
Benchmark mmniah();

const std::vector<Benchmark>& benchmarks() {
  static const std::vector<Benchmark> all = {
      mmbench(),  mmstar(),      realworldqa(), seedbench_2_plus(), pope(),         mme(),
      ai2d(),     vqav2(),       docvqa(),      scienceqa_img(),    chartqa(),      textvqa(),
      mmmu_mc(),  refcoco_rec(), mmniah(),      refcoco_plus_rec(), refcocog_rec(), mvbench(),
      videomme(), mlvu(),        lvbench(),     charades_sta(),
  };
  return all;
}

const Benchmark& find_benchmark(const std::string& name) {
  std::vector<std::string> names;
  for (const Benchmark& benchmark : benchmarks()) {
    if (benchmark.name == name) return benchmark;
    names.push_back(benchmark.name);
  }
  std::string list;
  for (const std::string& known : names) list += (list.empty() ? "" : ", ") + known;
  const std::string nearest = nearest_name(name, names);
  throw UsageError("--benchmark: \"{}\" is not known{}; there are {}", name,
                   nearest.empty() ? "" : " (did you mean " + nearest + "?)", list);
}

Json own_columns(const Benchmark& benchmark, Json record) {
  if (benchmark.adopt != nullptr) benchmark.adopt(record);
  return record;
}

void check_doc(const Benchmark& benchmark, const Json& doc) {
  if (benchmark.options == Options::kNone) check_no_options(doc, benchmark.name);
  if (benchmark.check != nullptr) benchmark.check(doc);
}

void check_question(const Benchmark& benchmark, const Json& doc) {
  if (benchmark.options == Options::kInQuestion) check_options_in_question(doc);
}

void check_rules(const Benchmark& benchmark, const Rules& rules) {
  const auto& known = benchmark.profiles;
  if (std::find(known.begin(), known.end(), rules.profile) == known.end()) {
    std::string names;
    for (const Profile profile : known) names += (names.empty() ? "" : " or ") + profile_name(profile);
    throw UsageError("--profile: {} has no {}; expected {}", profile_name(rules.profile), benchmark.name,
                     names);
  }
  if (rules.boxes != BoxScale::kAuto && !benchmark.has_boxes) {
    throw UsageError("--boxes: {} asks for no boxes", benchmark.name);
  }
  if (rules.subtitles && !benchmark.has_subtitles) {
    throw UsageError("--subtitles: {} has none", benchmark.name);
  }
  if (rules.boxes == BoxScale::kBetter && rules.profile != Profile::kCurrent) {
    throw UsageError(
        "--boxes: better is a rule of lmms-eval 0.7.3; expected --profile current with it, found {}",
        profile_name(rules.profile));
  }
}

Profile parse_profile(const std::string& text) {
  if (text == "paper") return Profile::kPaper;
  if (text == "current") return Profile::kCurrent;
  throw UsageError("--profile: expected paper or current, found \"{}\"", text);
}

Policy parse_policy(const std::string& text) {
  if (text == "exact") return Policy::kExact;
  if (text == "static") return Policy::kStatic;
  throw UsageError("--policy: expected exact or static, found \"{}\"", text);
}

std::string profile_name(Profile profile) { return profile == Profile::kPaper ? "paper" : "current"; }
std::string policy_name(Policy policy) { return policy == Policy::kExact ? "exact" : "static"; }

}  // namespace ropescope::eval
