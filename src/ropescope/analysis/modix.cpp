#include "ropescope/analysis/modix.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_eigvalsh.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

constexpr double kFloor = 1e-6;  // epsilon of the paper

/// Tokens, spanned and entropy of x [n, C] float64. The smaller of the two Gram matrices has all eigenvalues that are
/// not 0.
ModixSide spread_of(const at::Tensor& x) {
  const int64_t tokens = x.size(0), channels = x.size(1);
  const at::Tensor centred = x - x.mean(0, /*keepdim=*/true);
  const at::Tensor across = centred.transpose(0, 1);
  const at::Tensor gram = tokens < channels ? at::matmul(centred, across) : at::matmul(across, centred);
  const at::Tensor values = at::linalg_eigvalsh(gram / static_cast<double>(tokens)).clamp_min(0.0);
  ModixSide side;
  side.tokens = tokens;
  side.spanned = (values > kFloor).sum().item<int64_t>();
  const double rest = static_cast<double>(channels - values.size(0)) * std::log(kFloor);
  side.entropy = 0.5 * ((values + kFloor).log().sum().item<double>() + rest);
  return side;
}

at::Tensor of_length_one(const at::Tensor& x) {
  return x / at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, /*keepdim=*/true).clamp_min(1e-300);
}

/// Shares of a sum whose parts have one sign.
void shares(double text, double visual, const char* what, double& of_text, double& of_visual) {
  if (!(text * visual > 0)) {
    throw NumericsError(
        "MODIX: expected {} of text and of visual tokens of one sign, whose shares lie between 0 and 1, found {:.6g} and "
        "{:.6g}; the step is not defined for this prompt",
        what, text, visual);
  }
  of_text = text / (text + visual);
  of_visual = visual / (text + visual);
}

}  // namespace

ModixStep modix_step(const at::Tensor& text, const at::Tensor& visual, double balance) {
  if (text.size(0) == 0 || visual.size(0) == 0) {
    throw UsageError("MODIX: expected text and visual tokens, found {} and {}", text.size(0), visual.size(0));
  }
  if (!(balance >= 0 && balance <= 1)) throw UsageError("--balance: expected 0 to 1, found {}", balance);
  const at::Tensor t = text.detach().cpu().to(at::kDouble), v = visual.detach().cpu().to(at::kDouble);
  if (!at::isfinite(t).all().item<bool>() || !at::isfinite(v).all().item<bool>()) {
    throw NumericsError("MODIX: expected finite embeddings, found infinity or NaN; try --dtype float32");
  }
  ModixStep step;
  step.channels = t.size(1);
  step.balance = balance;
  step.text = spread_of(t);
  step.visual = spread_of(v);
  const at::Tensor cosine = at::matmul(of_length_one(t), of_length_one(v).transpose(0, 1));
  step.text.interaction = cosine.amax(1).mean().item<double>();
  step.visual.interaction = cosine.amax(0).mean().item<double>();
  shares(step.text.entropy, step.visual.entropy, "entropies", step.text.intra, step.visual.intra);
  shares(step.text.interaction, step.visual.interaction, "interactions", step.text.inter, step.visual.inter);
  const auto fused = [balance](const ModixSide& side) {
    return std::pow(side.intra, balance) * std::pow(side.inter, 1 - balance);
  };
  const double of_text = fused(step.text), of_visual = fused(step.visual);
  step.text.contribution = of_text / (of_text + of_visual);
  step.visual.contribution = of_visual / (of_text + of_visual);
  step.delta = of_text / of_visual;
  return step;
}

}  // namespace ropescope
