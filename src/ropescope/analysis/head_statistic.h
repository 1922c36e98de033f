// A number of every head, input by input, with its null: what a result file holds of it.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/null_distribution.h"
#include "ropescope/io/result_file.h"

namespace ropescope {

/// Mean over inputs with its 95 % Student t interval, element by element; NaN are no observations.
struct InputMeans {
  at::Tensor mean, ci95_low, ci95_high;
};
/// `by_input` [inputs, ...] float64. Bounds are NaN below two observations.
InputMeans means_over_inputs(const at::Tensor& by_input);

class HeadStatistic {
 public:
  enum class Tail { kAbove, kTwoSided };
  explicit HeadStatistic(Tail tail = Tail::kAbove) : tail_(tail) {}

  /// Of one input: `observed` [layers, heads] and `draws` [N, layers, heads], float64, NaN where the input has no such
  /// number. The n-th draws of the inputs belong together.
  void add(const at::Tensor& observed, const at::Tensor& draws);

  at::Tensor by_input() const;  ///< [inputs, layers, heads]
  /// Of the mean over inputs against the means of the inputs' draws.
  NullTest test() const;
  at::Tensor p(const NullTest& test) const { return tail_ == Tail::kAbove ? test.p_above : test.p_two_sided; }
  /// group/{<name>, ci95_low, ci95_high, by_input, null_mean, null_low, null_high, p, rejected}.
  void write(ResultWriter& writer, const std::string& group, const std::string& name) const;

 private:
  Tail tail_;
  std::vector<at::Tensor> by_input_;
  at::Tensor draw_sum_, draw_count_;  // [N, ...] and [...]
};

}  // namespace ropescope
