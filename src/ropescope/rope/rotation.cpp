#include "ropescope/rope/rotation.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/kernels/rotate.h"

namespace ropescope {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A rotation is orthogonal up to its scale, so the gradient is the same pass with the angle turned round.
class Rotate : public torch::autograd::Function<Rotate> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin, int64_t layout, bool inverse) {
    context->save_for_backward({cos, sin});
    context->saved_data["layout"] = layout;
    context->saved_data["inverse"] = inverse;
    return kernels::rotate(x, {cos, sin, static_cast<PairLayout>(layout)}, inverse);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor gradient =
        Rotate::apply(gradients[0], saved[0], saved[1], context->saved_data["layout"].toInt(),
                      !context->saved_data["inverse"].toBool());
    return {gradient, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

void check_shapes(const at::Tensor& x, const RotaryTable& table) {
  if (!x.defined() || x.dim() != 4 || !x.is_floating_point()) {
    throw InternalError("apply_rotary: expected a float tensor [batch, heads, tokens, head_dim]");
  }
  const bool batch = table.cos.size(0) == 1 || table.cos.size(0) == x.size(0);
  const bool heads = table.cos.size(1) > 0 && x.size(1) % table.cos.size(1) == 0;
  if (!batch || !heads || table.cos.size(2) != x.size(2) || 2 * table.cos.size(3) > x.size(3)) {
    throw InternalError(
        "apply_rotary: a table [{}, {}, {}, {}] does not fit a tensor [{}, {}, {}, {}] (batch, heads, "
        "tokens, "
        "channels)",
        table.cos.size(0), table.cos.size(1), table.cos.size(2), table.cos.size(3), x.size(0), x.size(1),
        x.size(2), x.size(3));
  }
}

}  // namespace

RotaryTable RotaryTable::to(at::Device device) const { return {cos.to(device), sin.to(device), layout}; }

RotaryTable make_rotary_table(const at::Tensor& position_ids, const Frequencies& frequencies,
                              PairLayout layout) {
  if (!position_ids.defined() || position_ids.dim() != 3) {
    throw InternalError("make_rotary_table: expected position ids [axes, batch, tokens]");
  }
  const at::Tensor ids = position_ids.to(at::kCPU, at::kDouble).contiguous();
  if (!at::isfinite(ids).all().item<bool>()) {
    throw InputError("position ids: expected finite numbers, found infinity or NaN");
  }
  const int64_t axes = ids.size(0), batch = ids.size(1), tokens = ids.size(2);
  const at::Tensor axis = frequencies.axis.contiguous();
  const int64_t heads = axis.size(0), channels = axis.size(1);
  at::Tensor angle = at::empty({batch, heads, tokens, channels}, at::kDouble);
  const auto* axis_data = axis.const_data_ptr<int64_t>();
  const auto* f = frequencies.inv_freq.const_data_ptr<double>();
  const auto* id = ids.const_data_ptr<double>();
  auto* out = angle.mutable_data_ptr<double>();
  for (int64_t i = 0; i < heads * channels; ++i) {
    if (axis_data[i] < -1 || (axes > 1 && axis_data[i] >= axes)) {
      throw InputError("position ids: a channel turns with axis {}, but there are {} axes", axis_data[i],
                       axes);
    }
  }
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t i = 0; i < channels; ++i) {
          const int64_t a = axis_data[h * channels + i];
          const int64_t row = axes == 1 ? 0 : a;
          *out++ = a < 0 ? 0.0 : id[(row * batch + b) * tokens + t] * f[i];
        }
      }
    }
  }
  const double scale = frequencies.attention_scale;
  const at::Device device = position_ids.device();
  RotaryTable table;
  table.cos = angle.cos().mul_(scale).to(device, at::kFloat);
  table.sin = angle.sin_().mul_(scale).to(device, at::kFloat);
  table.layout = layout;
  return table;
}

at::Tensor apply_rotary(const at::Tensor& x, const RotaryTable& table) {
  check_shapes(x, table);
  if (!x.requires_grad()) return kernels::rotate(x, table, false);
  return Rotate::apply(x, table.cos, table.sin, static_cast<int64_t>(table.layout), false);
}

}  // namespace ropescope
