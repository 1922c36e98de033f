#include "ropescope/rope/rotation.h"

#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/sin.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/core/autograd.h"
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

// The angle less the nearest whole number of turns, in [-pi, pi], with the error that the float64 angle had.
inline double without_turns(double angle) {
  constexpr double kTurn = 6.283185307179586, kRestOfTurn = 2.4492935982947064e-16;
  // Rounds to the nearest integer without a library call, which the vectoriser could not take.
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  const double turns = (angle * (1.0 / kTurn) + kRound) - kRound;
  return (angle - turns * kTurn) - turns * kRestOfTurn;
}

void split_angles(const double* angles, int64_t count, float* high, float* low) {
  for (int64_t i = 0; i < count; ++i) {
    const double angle = without_turns(angles[i]);
    high[i] = static_cast<float>(angle);
    low[i] = static_cast<float>(angle - static_cast<double>(high[i]));
  }
}

void combine(float* cos, float* sin, const float* low, int64_t count, float scale) {
  for (int64_t i = 0; i < count; ++i) {
    const float c = cos[i], s = sin[i];
    cos[i] = (c - low[i] * s) * scale;
    sin[i] = (s + low[i] * c) * scale;
  }
}

// Angles of one token: a channel follows one row of the ids, or a weighted sum of rows.
class ChannelTurns {
 public:
  /// Row a of the ids begins `stride` numbers after row a - 1.
  ChannelTurns(const Frequencies& frequencies, int64_t rows, int64_t stride) : rows_(rows), stride_(stride) {
    const at::Tensor axis = frequencies.axis.contiguous();
    channels_ = axis.size(1);
    const auto* follows = axis.const_data_ptr<int64_t>();
    const auto* f = frequencies.inv_freq.const_data_ptr<double>();
    if (frequencies.weights.defined() && rows > 1) {
      if (frequencies.weights.size(2) != rows) {
        throw InputError("position ids: channels turn with {} rows, but there are {}",
                         frequencies.weights.size(2), rows);
      }
      const at::Tensor scaled =
          frequencies.weights.mul(frequencies.inv_freq.view({1, channels_, 1})).contiguous();
      weights_.assign(scaled.const_data_ptr<double>(), scaled.const_data_ptr<double>() + scaled.numel());
      return;
    }
    for (int64_t i = 0; i < axis.numel(); ++i) {
      if (follows[i] < -1 || (rows > 1 && follows[i] >= rows)) {
        throw InputError("position ids: a channel turns with axis {}, but there are {} axes", follows[i],
                         rows);
      }
      // A channel that does not rotate turns with frequency 0.
      const bool still = follows[i] < 0;
      offset_.push_back(rows == 1 || still ? 0 : follows[i] * stride);
      turn_.push_back(still ? 0.0 : f[i % channels_]);
    }
    if (!frequencies.weights.defined()) return;
    // One row stands for equal ones.
    const at::Tensor sums = frequencies.weights.sum(2).contiguous();
    for (size_t i = 0; i < turn_.size(); ++i) turn_[i] *= sums.const_data_ptr<double>()[i];
  }

  void write(const double* of_token, int64_t head, double* angles) const {
    if (!weights_.empty()) return write_sums(of_token, head, angles);
    const int64_t* offset = offset_.data() + head * channels_;
    const double* turn = turn_.data() + head * channels_;
    for (int64_t i = 0; i < channels_; ++i) angles[i] = of_token[offset[i]] * turn[i];
  }

 private:
  void write_sums(const double* of_token, int64_t head, double* angles) const {
    const double* weight = weights_.data() + head * channels_ * rows_;
    for (int64_t i = 0; i < channels_; ++i, weight += rows_) {
      double angle = 0;
      for (int64_t row = 0; row < rows_; ++row) angle += of_token[row * stride_] * weight[row];
      angles[i] = angle;
    }
  }

  int64_t rows_, stride_, channels_ = 0;
  std::vector<int64_t> offset_;  // by head and channel
  std::vector<double> turn_;
  std::vector<double> weights_;  // by head, channel and row, times the frequency
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

RotaryTable RotaryTable::to(at::Device device) const {
  return turns() ? RotaryTable{cos.to(device), sin.to(device), layout} : *this;
}

RotaryTable make_rotary_table(const at::Tensor& position_ids, const Frequencies& frequencies,
                              PairLayout layout) {
  if (!position_ids.defined() || position_ids.dim() != 3) {
    throw InternalError("make_rotary_table: expected position ids [axes, batch, tokens]");
  }
  const at::Tensor ids = position_ids.to(at::kCPU, at::kDouble).contiguous();
  if (!at::isfinite(ids).all().item<bool>()) {
    throw InputError("position ids: expected finite numbers, found infinity or NaN");
  }
  const int64_t batch = ids.size(1), tokens = ids.size(2);
  const int64_t heads = frequencies.axis.size(0), channels = frequencies.axis.size(1);
  const auto* id = ids.const_data_ptr<double>();
  const ChannelTurns turn_of(frequencies, ids.size(0), batch * tokens);
  // The angle is written as a sum of two floats, high + low, after whole turns are taken away. Then
  //   cos(high + low) = cos high - low sin high,  sin(high + low) = sin high + low cos high
  // up to low^2 / 2 < 1e-14: as exact as float64 trigonometry rounded to float32, at a fraction of its time.
  // Blocks fit the cache, and nothing but the table itself is allocated in full.
  // Worker threads do not know the caller's inference mode, so the table is made outside of it.
  const c10::InferenceMode no_inference(false);
  const auto floats = at::TensorOptions(at::kFloat);
  RotaryTable table;
  table.cos = at::empty({batch, heads, tokens, channels}, floats);
  table.sin = at::empty({batch, heads, tokens, channels}, floats);
  const auto scale = static_cast<float>(frequencies.attention_scale);
  const int64_t lines = batch * heads * tokens,
                block = std::max<int64_t>(1, 8192 / std::max<int64_t>(1, channels));
  const at::Tensor flat_cos = table.cos.view({lines, channels}), flat_sin = table.sin.view({lines, channels});
  at::parallel_for(0, (lines + block - 1) / block, 8, [&](int64_t first_block, int64_t last_block) {
    const at::NoGradGuard no_grad;
    std::vector<double> angles(static_cast<size_t>(channels));
    const at::Tensor high = at::empty({block, channels}, floats), low = at::empty({block, channels}, floats);
    for (int64_t begin = first_block * block; begin < std::min(lines, last_block * block); begin += block) {
      const int64_t count = std::min(block, lines - begin);
      auto* high_data = high.mutable_data_ptr<float>();
      auto* low_data = low.mutable_data_ptr<float>();
      for (int64_t line = begin; line < begin + count; ++line) {
        const int64_t b = line / (heads * tokens), h = line / tokens % heads, t = line % tokens;
        turn_of.write(id + b * tokens + t, h, angles.data());
        split_angles(angles.data(), channels, high_data, low_data);
        high_data += channels;
        low_data += channels;
      }
      at::Tensor cos = flat_cos.narrow(0, begin, count), sin = flat_sin.narrow(0, begin, count);
      at::cos_out(cos, high.narrow(0, 0, count));
      at::sin_out(sin, high.narrow(0, 0, count));
      combine(cos.mutable_data_ptr<float>(), sin.mutable_data_ptr<float>(), low.const_data_ptr<float>(),
              count * channels, scale);
    }
  });
  table.cos = table.cos.to(position_ids.device());
  table.sin = table.sin.to(position_ids.device());
  table.layout = layout;
  return table;
}

at::Tensor apply_rotary(const at::Tensor& x, const RotaryTable& table) {
  if (!table.turns()) return x;
  check_shapes(x, table);
  if (!x.requires_grad()) return kernels::rotate(x, table, false);
  return Rotate::apply(x, table.cos, table.sin, static_cast<int64_t>(table.layout), false);
}

}  // namespace ropescope
