#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

Benchmark mmbench();

namespace mmbench_v11_rules {
namespace {

/// The Chinese files are asked in their language, by lmms-eval; VLMEvalKit frames both in English.
Json chinese_prompt(const Json& doc, const Rules& rules) {
  static auto* const english_prompt = mmbench().prompt;
  const Text english = from_utf8(english_prompt(doc, rules).get<std::string>());
  const TextView without = TextView(english).substr(0, english.size() - kLetterRequest.size());
  return to_utf8(Text(without) + U"请直接使用所提供的选项字母作为答案回答。");
}

/// MMBench's rules, prompts and circular groups on the files of its version 1.1.
Benchmark edition(const std::string& name, const std::string& summary, const std::string& data,
                  const std::string& file) {
  const Benchmark first = mmbench();
  const auto renamed = [&](Benchmark benchmark) {
    benchmark.name = name;
    benchmark.summary = summary;
    benchmark.data = data;
    benchmark.other_names = {file};
    benchmark.variants.clear();
    return benchmark;
  };
  return with_vlmevalkit(renamed(first), renamed(benchmark_under(first, Profile::kVlmEvalKit)));
}

}  // namespace
}  // namespace mmbench_v11_rules

Benchmark mmbench_en_v11() {
  return mmbench_v11_rules::edition("mmbench_en_v11", "MMBench, version 1.1 of the English questions.",
                                    "MMBench_DEV_EN_V11", "MMBench_DEV_EN_V11");
}

Benchmark mmbench_cn_v11() {
  Benchmark benchmark =
      mmbench_v11_rules::edition("mmbench_cn_v11", "MMBench, version 1.1 of the Chinese questions.",
                                 "MMBench_DEV_CN_V11", "MMBench_DEV_CN_V11");
  benchmark.prompt = mmbench_v11_rules::chinese_prompt;
  benchmark.max_new_tokens = 256;
  return benchmark;
}

}  // namespace ropescope::eval
