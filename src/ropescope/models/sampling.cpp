#include "ropescope/models/sampling.h"

#include <cmath>
#include <tuple>

#include <boost/random/uniform_01.hpp>

#include <ATen/ops/argmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>

#include "ropescope/core/errors.h"

namespace ropescope {

TokenSampler::TokenSampler(const SamplingOptions& options)
    : options_(options), rng_(make_rng(options.seed, {})) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    throw UsageError("--temperature: expected a number of at least 0, found {}", options.temperature);
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    throw UsageError("--top-p: expected a number above 0 and at most 1, found {}", options.top_p);
  }
}

at::Tensor TokenSampler::operator()(const at::Tensor& logits) {
  if (options_.temperature == 0) return at::argmax(logits, -1).to(at::kCPU);
  // The largest logit is taken off first: a small temperature would otherwise overflow.
  const at::Tensor shifted = logits.to(at::kCPU, at::kDouble);
  const at::Tensor scaled = shifted.sub(std::get<0>(shifted.max(-1, true))).div(options_.temperature);
  const auto [probabilities, order] = at::sort(scaled.softmax(-1), /*stable=*/true, -1, /*descending=*/true);
  const int64_t rows = logits.size(0), tokens = logits.size(1);
  at::Tensor chosen = at::empty({rows}, at::kLong);
  boost::random::uniform_01<double> uniform;
  for (int64_t row = 0; row < rows; ++row) {
    const double* p = probabilities.const_data_ptr<double>() + row * tokens;
    double kept = 0;
    int64_t count = 0;
    while (count < tokens && (count == 0 || kept < options_.top_p)) kept += p[count++];
    double draw = uniform(rng_) * kept;
    int64_t place = 0;
    while (place + 1 < count && draw >= p[place]) draw -= p[place++];
    chosen.mutable_data_ptr<int64_t>()[row] = order.const_data_ptr<int64_t>()[row * tokens + place];
  }
  return chosen;
}

}  // namespace ropescope
