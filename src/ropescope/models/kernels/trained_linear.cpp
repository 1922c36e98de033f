#include "ropescope/models/kernels/trained_linear.h"

#include <optional>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/device_branch.h"
#include "ropescope/models/kernels/in_place_gradients.h"
#include "ropescope/models/kernels/row_loops.h"

namespace ropescope::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kGrain = 8192;  // numbers that are worth a thread

at::Tensor as_rows(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

std::vector<int64_t> shape_with(const at::Tensor& x, int64_t width) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = width;
  return shape;
}

at::Tensor product(const at::Tensor& rows, const at::Tensor& weight, const at::Tensor& bias) {
  return bias.defined() ? at::addmm(bias, rows, weight.t()) : at::mm(rows, weight.t());
}

// A custom function takes an undefined tensor only as no value at all.
using Maybe = std::optional<at::Tensor>;

Maybe given(const at::Tensor& tensor) { return tensor.defined() ? Maybe(tensor) : std::nullopt; }

at::Tensor taken(const Maybe& tensor) { return tensor.value_or(at::Tensor()); }

// dx (+)= dy W
void add_input_gradient(at::Tensor& dx, const at::Tensor& dy, const at::Tensor& weight) {
  if (dx.defined()) {
    dx.addmm_(dy, weight);
  } else {
    dx = at::mm(dy, weight);
  }
}

at::Tensor gradient_of_weight(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x) {
  return weight.requires_grad() ? weight_gradient(weight, dy, x) : at::Tensor();
}

at::Tensor gradient_of_bias(const at::Tensor& bias, const at::Tensor& dy) {
  return bias.defined() && bias.requires_grad() ? dy.sum(0) : at::Tensor();
}

class Linear : public torch::autograd::Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* context, const Maybe& residual, const at::Tensor& x,
                            const at::Tensor& weight, const Maybe& bias) {
    context->save_for_backward({x, weight, taken(bias)});
    context->saved_data["residual"] = residual.has_value();
    at::Tensor y = product(as_rows(x), weight, taken(bias)).view(shape_with(x, weight.size(0)));
    return residual ? y.add_(*residual) : y;
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor dy = as_rows(outer[0]);
    at::Tensor dx;
    if (x.requires_grad()) dx = at::mm(dy, weight).view(x.sizes());
    const bool has_residual = context->saved_data["residual"].toBool();
    return {has_residual ? outer[0] : at::Tensor(), dx, gradient_of_weight(weight, dy, as_rows(x)),
            gradient_of_bias(saved[2], dy)};
  }
};

class Linears : public torch::autograd::Function<Linears> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& w0,
                               const at::Tensor& w1, const at::Tensor& w2, const Maybe& b0, const Maybe& b1,
                               const Maybe& b2) {
    context->save_for_backward({x, w0, w1, w2, taken(b0), taken(b1), taken(b2)});
    const at::Tensor rows = as_rows(x);
    variable_list outputs;
    const std::array<std::pair<const at::Tensor*, const Maybe*>, 3> maps = {
        {{&w0, &b0}, {&w1, &b1}, {&w2, &b2}}};
    for (const auto& [weight, bias] : maps) {
      outputs.push_back(product(rows, *weight, taken(*bias)).view(shape_with(x, weight->size(0))));
    }
    return outputs;
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor rows = as_rows(x);
    variable_list gradients(7);
    at::Tensor dx;
    for (size_t i = 0; i < 3; ++i) {
      const at::Tensor dy = as_rows(outer[i]);
      if (x.requires_grad()) add_input_gradient(dx, dy, saved[1 + i]);
      gradients[1 + i] = gradient_of_weight(saved[1 + i], dy, rows);
      gradients[4 + i] = gradient_of_bias(saved[4 + i], dy);
    }
    if (dx.defined()) gradients[0] = dx.view(x.sizes());
    return gradients;
  }
};

class GatedLinear : public torch::autograd::Function<GatedLinear> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gate,
                            const at::Tensor& up, const Maybe& gate_bias, const Maybe& up_bias) {
    const at::Tensor rows = as_rows(x), b0 = taken(gate_bias), b1 = taken(up_bias);
    const at::Tensor g = product(rows, gate, b0), u = product(rows, up, b1);
    context->save_for_backward({x, gate, up, b0, b1, g, u});
    at::Tensor out = at::empty_like(g);
    const auto* gates = g.const_data_ptr<float>();
    const auto* ups = u.const_data_ptr<float>();
    auto* to = out.mutable_data_ptr<float>();
    at::parallel_for(0, g.numel(), kGrain, [&](int64_t begin, int64_t end) {
      swiglu(gates + begin, ups + begin, to + begin, end - begin);
    });
    return out.view(shape_with(x, gate.size(0)));
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &gate = saved[1], &up = saved[2];
    const at::Tensor dout = as_rows(outer[0]).contiguous(), rows = as_rows(x);
    at::Tensor dg = at::empty_like(dout), du = at::empty_like(dout);
    const auto* gates = saved[5].const_data_ptr<float>();
    const auto* ups = saved[6].const_data_ptr<float>();
    const auto* from = dout.const_data_ptr<float>();
    auto* to_gate = dg.mutable_data_ptr<float>();
    auto* to_up = du.mutable_data_ptr<float>();
    at::parallel_for(0, dout.numel(), kGrain, [&](int64_t begin, int64_t end) {
      swiglu_backward(from + begin, gates + begin, ups + begin, to_gate + begin, to_up + begin, end - begin);
    });
    at::Tensor dx;
    if (x.requires_grad()) {
      add_input_gradient(dx, dg, gate);
      add_input_gradient(dx, du, up);
      dx = dx.view(x.sizes());
    }
    return {dx, gradient_of_weight(gate, dg, rows), gradient_of_weight(up, du, rows),
            gradient_of_bias(saved[3], dg), gradient_of_bias(saved[4], du)};
  }
};

}  // namespace

bool trains_on_cpu(const at::Tensor& x, const at::Tensor& weight) {
  return at::GradMode::is_enabled() && own_cpu_kernels(x) && x.scalar_type() == at::kFloat &&
         weight.scalar_type() == at::kFloat;
}

at::Tensor trained_linear(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight,
                          const at::Tensor& bias) {
  return Linear::apply(given(residual), x, weight, given(bias));
}

std::array<at::Tensor, 3> trained_linears(const at::Tensor& x, const std::array<at::Tensor, 3>& weights,
                                          const std::array<at::Tensor, 3>& biases) {
  const variable_list y = Linears::apply(x, weights[0], weights[1], weights[2], given(biases[0]),
                                         given(biases[1]), given(biases[2]));
  return {y[0], y[1], y[2]};
}

at::Tensor trained_gated_linear(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& gate_bias,
                                const at::Tensor& up, const at::Tensor& up_bias) {
  return GatedLinear::apply(x, gate, up, given(gate_bias), given(up_bias));
}

}  // namespace ropescope::kernels
