// Referring expressions (RefCOCO, RefCOCO+, RefCOCOg): one expression, one box. The three data sets have the same columns,
// prompts and rules; a file of benchmarks/ each names its data.
#pragma once

#include <string>

#include "ropescope/eval/benchmark.h"

namespace ropescope::eval {

/// `data` as Benchmark::data. A column `split` (val, testA, testB, test) gives figures of each split beside the whole's.
Benchmark referring_benchmark(std::string name, std::string summary, std::string data);

}  // namespace ropescope::eval
