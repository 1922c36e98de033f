// Judges two result files dataset by dataset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/io/result_file.h"

namespace ropescope {

struct CompareOptions {
  double rtol = 1e-5;  ///< relative to the second file's value
  double atol = 1e-8;
  std::string only;     ///< objects whose path starts with it; empty: all
  bool timing = false;  ///< judge how fast the machine was, too
};

enum class CompareStatus { kEqual, kDiffers, kOnlyInFirst, kOnlyInSecond, kShape, kKind, kNotCompared };
std::string compare_status_name(CompareStatus status);

/// One dataset, or one attribute ("/decay@sign").
struct CompareEntry {
  std::string name;
  CompareStatus status = CompareStatus::kEqual;
  std::vector<int64_t> place;  ///< of the worst element
  std::string first, second;   ///< there, as text; shapes or kinds where those differ
  /// Of the worst element: |a - b| and its share of atol + rtol |b|; at most 1 is equal. Infinite for texts
  /// that differ and for a NaN or infinity that stands in one file only.
  double difference = 0.0, share = 0.0;
  int64_t elements = 0, outside = 0;  ///< compared, and beyond the tolerance
};

struct CompareReport {
  std::vector<CompareEntry> entries;  ///< by name
  /// Of all that was compared.
  bool equal() const;
};

/// Provenance (root attributes, /provenance) is left out: it always differs. So are the words that describe a dataset.
/// Timing (is_timing_dataset, attributes called seconds) is listed as not compared unless asked for. NaN equals NaN, and an infinity
/// itself. Number types may differ, values count; integers are subtracted exactly. Datasets whose type is
/// neither number nor string in both files are an InputError.
CompareReport compare_results(const ResultReader& first, const ResultReader& second,
                              const CompareOptions& options);

}  // namespace ropescope
