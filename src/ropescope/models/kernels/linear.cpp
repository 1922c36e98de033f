#include "ropescope/models/kernels/linear.h"

#include <optional>

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/stack.h>
#include <ATen/ops/add.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/silu.h>

#include "ropescope/core/device_branch.h"
#include "ropescope/models/kernels/trained_linear.h"

namespace ropescope::kernels {

namespace {

std::optional<at::Tensor> optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

// LibTorch registers its oneDNN products as operators without a C++ header. They are looked up once, by name
// and number of arguments; where a LibTorch has none, or others, ATen takes over.
struct OneDnn {
  std::optional<c10::OperatorHandle> plain, binary;

  static const OneDnn& instance() {
    static const OneDnn handles = [] {
      OneDnn found;
      if (!at::globalContext().hasMKLDNN()) return found;
      const auto look_up = [](const char* overload, size_t arguments) {
        auto handle = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", overload});
        if (handle && handle->schema().arguments().size() != arguments) handle.reset();
        return handle;
      };
      found.plain = look_up("", 6);
      found.binary = look_up("binary", 5);
      return found;
    }();
    return handles;
  }

  bool serves(const at::Tensor& x, const at::Tensor& weight) const {
    // A few rows are bound by reading the weight; both libraries are equal there.
    constexpr int64_t kFewestRows = 8;
    // oneDNN adds a whole inner dimension up in one running sum, MKL in blocks: over 1536 products oneDNN's
    // error is twice MKL's (SmolLM2's down projection; largest error of a token's log-likelihood 2.5e-5
    // against 1e-5).
    constexpr int64_t kLongestSum = 1024;
    return plain && binary && !at::GradMode::is_enabled() && own_cpu_kernels(x) &&
           x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat && weight.is_contiguous() &&
           x.size(-1) <= kLongestSum && x.numel() >= kFewestRows * x.size(-1) &&
           at::globalContext().userEnabledMkldnn();
  }

  at::Tensor with_activation(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                             const char* activation) const {
    torch::jit::Stack stack;
    torch::jit::push(stack, x, weight, optional(bias), activation, c10::List<std::optional<at::Scalar>>(),
                     std::optional<std::string>());
    plain->callBoxed(stack);
    return torch::jit::pop(stack).toTensor();
  }

  at::Tensor with_other(const at::Tensor& x, const at::Tensor& other, const at::Tensor& weight,
                        const at::Tensor& bias, const char* operation) const {
    torch::jit::Stack stack;
    torch::jit::push(stack, x, other, weight, optional(bias), operation);
    binary->callBoxed(stack);
    return torch::jit::pop(stack).toTensor();
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (trains_on_cpu(x, weight)) return trained_linear(at::Tensor(), x, weight, bias);
  return at::linear(x, weight, optional(bias));
}

std::array<at::Tensor, 3> linears(const at::Tensor& x, const std::array<at::Tensor, 3>& weights,
                                  const std::array<at::Tensor, 3>& biases) {
  if (trains_on_cpu(x, weights[0])) return trained_linears(x, weights, biases);
  return {linear(x, weights[0], biases[0]), linear(x, weights[1], biases[1]),
          linear(x, weights[2], biases[2])};
}

at::Tensor linear_plus(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& bias) {
  const OneDnn& onednn = OneDnn::instance();
  if (onednn.serves(x, weight)) return onednn.with_other(x, residual, weight, bias, "add");
  if (trains_on_cpu(x, weight)) return trained_linear(residual, x, weight, bias);
  at::Tensor product = at::linear(x, weight, optional(bias));
  return at::GradMode::is_enabled() ? residual.add(product) : product.add_(residual);
}

at::Tensor gated_linear(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& gate_bias,
                        const at::Tensor& up, const at::Tensor& up_bias) {
  const OneDnn& onednn = OneDnn::instance();
  if (onednn.serves(x, gate) && onednn.serves(x, up)) {
    const at::Tensor opened = onednn.with_activation(x, gate, gate_bias, "swish");
    return onednn.with_other(x, opened, up, up_bias, "mul");
  }
  if (trains_on_cpu(x, gate)) return trained_gated_linear(x, gate, gate_bias, up, up_bias);
  at::Tensor opened = at::linear(x, gate, optional(gate_bias));
  const at::Tensor value = at::linear(x, up, optional(up_bias));
  return at::GradMode::is_enabled() ? at::silu(opened).mul(value) : at::silu_(opened).mul_(value);
}

}  // namespace ropescope::kernels
