#include "ropescope/analysis/head_statistic.h"

#include <cmath>
#include <map>

#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ropescope/analysis/statistics.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

InputMeans means_over_inputs(const at::Tensor& by_input) {
  const at::Tensor columns = by_input.flatten(1).t().contiguous();  // [elements, inputs]
  const auto* values = columns.const_data_ptr<double>();
  const int64_t inputs = columns.size(1);
  const auto shape = by_input.sizes().slice(1);
  const at::Tensor empty = at::zeros({columns.size(0)}, at::kDouble);
  InputMeans means{empty.clone(), empty.clone(), empty.clone()};
  for (int64_t i = 0; i < columns.size(0); ++i) {
    const MeanInterval one = mean_interval({values + i * inputs, values + (i + 1) * inputs});
    means.mean.mutable_data_ptr<double>()[i] = one.count > 0 ? one.mean : NAN;
    means.ci95_low.mutable_data_ptr<double>()[i] = one.ci95_low;
    means.ci95_high.mutable_data_ptr<double>()[i] = one.ci95_high;
  }
  means.mean = means.mean.view(shape);
  means.ci95_low = means.ci95_low.view(shape);
  means.ci95_high = means.ci95_high.view(shape);
  return means;
}

void HeadStatistic::add(const at::Tensor& observed, const at::Tensor& draws) {
  by_input_.push_back(observed);
  const at::Tensor there = observed.isnan().logical_not();
  const at::Tensor kept = at::where(there.unsqueeze(0), draws, at::zeros_like(draws));
  draw_sum_ = draw_sum_.defined() ? draw_sum_ + kept : kept;
  const at::Tensor one = there.to(at::kDouble);
  draw_count_ = draw_count_.defined() ? draw_count_ + one : one;
}

at::Tensor HeadStatistic::by_input() const { return at::stack(by_input_, 0); }

NullTest HeadStatistic::test() const {
  return test_against_null(means_over_inputs(by_input()).mean, draw_sum_ / draw_count_);
}

void HeadStatistic::write(ResultWriter& writer, const std::string& group, const std::string& name) const {
  const at::Tensor inputs = by_input();
  const InputMeans means = means_over_inputs(inputs);
  const NullTest null = test();
  const at::Tensor own_p = p(null);
  const std::map<std::string, at::Tensor> datasets = {
      {name, means.mean},
      {"ci95_low", means.ci95_low},
      {"ci95_high", means.ci95_high},
      {"by_input", inputs},
      {"null_mean", null.mean},
      {"null_low", null.low},
      {"null_high", null.high},
      {"p", own_p},
      {"rejected", false_discovery_rejections(own_p).to(at::kByte)}};
  for (const auto& [dataset, values] : datasets) writer.write(group + "/" + dataset, values);
}

}  // namespace ropescope
