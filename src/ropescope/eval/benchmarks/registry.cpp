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
Benchmark hrbench_4k();
Benchmark hrbench_8k();
Benchmark vstar();
Benchmark mmvp();
Benchmark blink();
Benchmark countbenchqa();
Benchmark ocrbench();
Benchmark infovqa();
Benchmark mmbench_en_v11();
Benchmark mmbench_cn_v11();
Benchmark mathvista_mini();
Benchmark mathvision_mini();
Benchmark order();

const std::vector<Benchmark>& benchmarks() {
  static const std::vector<Benchmark> all = {
      mmbench(),
      mmstar(),
      realworldqa(),
      seedbench_2_plus(),
      pope(),
      mme(),
      ai2d(),
      vqav2(),
      docvqa(),
      scienceqa_img(),
      chartqa(),
      textvqa(),
      mmmu_mc(),
      refcoco_rec(),
      mmniah(),
      hrbench_4k(),
      hrbench_8k(),
      vstar(),
      mmvp(),
      blink(),
      countbenchqa(),
      ocrbench(),
      infovqa(),
      mmbench_en_v11(),
      mmbench_cn_v11(),
      mathvista_mini(),
      mathvision_mini(),
      order(),
      refcoco_plus_rec(),
      refcocog_rec(),
      mvbench(),
      videomme(),
      mlvu(),
      lvbench(),
      charades_sta(),
  };
  return all;
}

const Benchmark& find_benchmark(const std::string& name) {
  std::vector<std::string> names;
  for (const Benchmark& benchmark : benchmarks()) {
    const auto& others = benchmark.other_names;
    if (benchmark.name == name || std::find(others.begin(), others.end(), name) != others.end())
      return benchmark;
    names.push_back(benchmark.name);
  }
  std::string list;
  for (const std::string& known : names) list += (list.empty() ? "" : ", ") + known;
  const std::string nearest = nearest_name(name, names);
  throw UsageError("--benchmark: \"{}\" is not known{}; there are {}", name,
                   nearest.empty() ? "" : " (did you mean " + nearest + "?)", list);
}

bool is_mmbench(const Benchmark& benchmark) { return benchmark.name.rfind("mmbench", 0) == 0; }

std::vector<Profile> profiles_of(const Benchmark& benchmark) {
  std::vector<Profile> profiles = benchmark.profiles;
  for (const auto& [profile, variant] : benchmark.variants) {
    if (std::find(profiles.begin(), profiles.end(), profile) == profiles.end()) profiles.push_back(profile);
  }
  std::sort(profiles.begin(), profiles.end());
  return profiles;
}

const Benchmark& benchmark_under(const Benchmark& benchmark, Profile profile) {
  if (const auto found = benchmark.variants.find(profile); found != benchmark.variants.end())
    return *found->second;
  const std::vector<Profile> known = profiles_of(benchmark);
  if (std::find(known.begin(), known.end(), profile) != known.end()) return benchmark;
  std::string names;
  for (const Profile one : known) names += (names.empty() ? "" : ", ") + profile_name(one);
  throw UsageError("--profile {}: that harness has no rules for {}; there are {}", profile_name(profile),
                   benchmark.name, names);
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
  const Benchmark& own = benchmark_under(benchmark, rules.profile);
  if (rules.ocr_tokens && !own.has_ocr) {
    throw UsageError("--ocr: {} gives no OCR tokens under the profile {}", benchmark.name,
                     profile_name(rules.profile));
  }
  if (rules.boxes != BoxScale::kAuto && !benchmark.has_boxes) {
    throw UsageError("--boxes: {} asks for no boxes", benchmark.name);
  }
  if (rules.subtitles && !benchmark.has_subtitles) {
    throw UsageError("--subtitles: {} has none", benchmark.name);
  }
  if (const std::string why = box_refusal(rules.boxes, rules.profile); !why.empty()) {
    throw UsageError("--boxes: {}", why);
  }
}

std::string box_refusal(BoxScale scale, Profile profile) {
  if (scale != BoxScale::kBetter || profile == Profile::kCurrent) return "";
  return "better is a rule of lmms-eval 0.7.3; expected --profile current with it, found " +
         profile_name(profile);
}

Profile parse_profile(const std::string& text) {
  if (text == "paper") return Profile::kPaper;
  if (text == "current") return Profile::kCurrent;
  if (text == "vlmevalkit") return Profile::kVlmEvalKit;
  throw UsageError("--profile: expected paper, current or vlmevalkit, found \"{}\"", text);
}

Policy parse_policy(const std::string& text) {
  if (text == "exact") return Policy::kExact;
  if (text == "static") return Policy::kStatic;
  throw UsageError("--policy: expected exact or static, found \"{}\"", text);
}

std::string profile_name(Profile profile) {
  switch (profile) {
    case Profile::kPaper:
      return "paper";
    case Profile::kCurrent:
      return "current";
    case Profile::kVlmEvalKit:
      return "vlmevalkit";
  }
  return "";
}
std::string policy_name(Policy policy) { return policy == Policy::kExact ? "exact" : "static"; }

}  // namespace ropescope::eval
