#include "ropescope/rope/fope.h"

#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

void check_coefficients(const at::Tensor& given, const char* name, int64_t kept) {
  if (given.defined() && given.dim() == 3 && given.size(0) > 0 && given.size(1) == kept &&
      given.size(2) == kept && at::isfinite(given).all().item<bool>()) {
    return;
  }
  const bool sized = given.defined() && given.dim() == 3;
  throw InputError(
      "FoPE coefficients: {}: expected finite numbers [key/value heads, {}, {}], one for each pair of kept frequencies, "
      "found {}",
      name, kept, kept,
      sized ? fmt::format("[{}, {}, {}]", given.size(0), given.size(1), given.size(2)) : "another form");
}

}  // namespace

FopeCoefficients fope_sums(const at::Tensor& position_ids, const Frequencies& frequencies,
                           const FopeCoefficients& coefficients) {
  const at::Tensor& f = frequencies.inv_freq;
  const int64_t kept = f.ne(0).sum().item<int64_t>(), channels = f.size(0);
  check_coefficients(coefficients.cos, "cos", kept);
  check_coefficients(coefficients.sin, "sin", kept);
  if (coefficients.cos.size(0) != coefficients.sin.size(0)) {
    throw InputError("FoPE coefficients: expected as many heads in cos as in sin, found {} and {}",
                     coefficients.cos.size(0), coefficients.sin.size(0));
  }
  const at::Tensor angles = position_ids.to(at::kDouble).unsqueeze(1) * f.narrow(0, 0, kept).unsqueeze(0);
  const auto mixed = [&](const at::Tensor& turned, const at::Tensor& of_pair, double dropped) {
    const int64_t heads = of_pair.size(0), tokens = position_ids.size(0);
    at::Tensor result = at::full({heads, tokens, channels}, dropped, at::kDouble);
    result.narrow(2, 0, kept).copy_(turned.unsqueeze(0).matmul(of_pair.to(at::kDouble)));
    return result.mul_(frequencies.attention_scale);
  };
  return {mixed(angles.cos(), coefficients.cos, 1.0), mixed(angles.sin(), coefficients.sin, 0.0)};
}

RotaryTable make_rotary_table(const at::Tensor& position_ids, const Frequencies& frequencies,
                              const FopeCoefficients& coefficients, PairLayout layout) {
  const FopeCoefficients sums = fope_sums(position_ids, frequencies, coefficients);
  return {sums.cos.to(at::kFloat).unsqueeze(0), sums.sin.to(at::kFloat).unsqueeze(0), layout};
}

}  // namespace ropescope
