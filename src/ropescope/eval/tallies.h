// Aggregates that several benchmarks share.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/eval/benchmark.h"

namespace ropescope::eval {

/// sum / count; null for none.
class Mean {
 public:
  void add(double value) {
    sum_ += value;
    ++count_;
  }
  int64_t count() const { return count_; }
  double value() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  Json json() const { return count_ == 0 ? Json(nullptr) : Json(value()); }

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

/// The means of keyed values.
using Means = std::map<std::string, Mean>;
Json json_of(const Means& means);
/// The mean of the means; 0 for none.
double mean_of(const Means& means);

/// One mean under one name.
class MeanTally : public Tally {
 public:
  explicit MeanTally(std::string name) : name_(std::move(name)) {}
  void add(const Json&, const Reading& reading) override { mean_.add(reading.score); }
  Json aggregates() const override { return {{name_, mean_.json()}}; }

 private:
  std::string name_;
  Mean mean_;
};

/// Of an answer whose letter is the doc's or another's; unreadable without one.
Reading letter_reading(std::optional<char32_t> letter, bool right);

/// A benchmark of short answers (16 tokens) whose figure is one mean, under the name that lmms-eval gives it.
Benchmark exact_match_benchmark(std::string name, std::string summary, std::string data,
                                std::vector<std::string> columns, decltype(Benchmark::prompt) prompt,
                                decltype(Benchmark::read) read);

}  // namespace ropescope::eval
