// Lines of JSON as records of every benchmark: prompts, pictures' names, readings and aggregates.
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/records.h"

#include "tests/fuzz/fuzz_file.h"
#include "tests/fuzz/fuzz_target.h"

namespace ropescope {
namespace {

/// True if the benchmark can do something with a record.
bool ask(const eval::Benchmark& benchmark, const Json& doc, const std::string& output,
         eval::Profile profile) {
  const eval::Rules rules{profile, eval::Policy::kStatic, /*ocr_tokens=*/true};
  bool read = false;
  try {
    benchmark.prompt(doc, rules);
  } catch (const InputError&) {
  }
  try {
    const eval::Reading reading = benchmark.read(doc, output, rules);
    // (negative widths of boxes are not repaired, so their overlap can be any number)
    if (!benchmark.has_boxes && !(reading.score >= 0 && reading.score <= 1)) {
      throw InternalError("{}: a score of {}", benchmark.name, reading.score);
    }
    read = true;
    const auto tally = benchmark.tally(rules);
    tally->add(doc, reading);
    tally->aggregates();
  } catch (const InputError&) {
  }
  return read;
}

}  // namespace
}  // namespace ropescope

RS_FUZZ_TARGET(records, bytes) {
  using namespace ropescope;
  const testing::FuzzFile file(bytes, ".jsonl");
  const auto records = eval::open_records(file.path(), "pope");
  constexpr int64_t kMostRecords = 8;  // for speed
  bool read = false;
  for (int64_t i = 0; i < std::min(records->size(), kMostRecords); ++i) {
    const Json doc = records->doc(i);
    try {
      records->pictures(i);
    } catch (const InputError&) {
    }
    const auto found = doc.find("output");
    const std::string output = found != doc.end() && found->is_string() ? found->get<std::string>() : "A.";
    for (const eval::Benchmark& benchmark : eval::benchmarks()) {
      for (const auto profile : eval::profiles_of(benchmark)) {
        read = ask(eval::benchmark_under(benchmark, profile), doc, output, profile) || read;
      }
    }
  }
  if (!read) throw InputError("no record that a benchmark can read");
}
