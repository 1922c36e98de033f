#include "ropescope/models/kernels/device_attention.h"

#include <array>
#include <cmath>
#include <optional>
#include <tuple>

#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"

namespace ropescope::kernels {

namespace {

void expect(bool holds, const char* what) {
  if (!holds) throw InternalError("attention on a device: expected {}", what);
}

void expect_rows(const at::Tensor& x) {
  expect(x.dim() == 4 && x.stride(3) == 1 && x.stride(2) >= x.size(3), "rows of neighbouring numbers");
}

void expect_flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  for (const at::Tensor& x : {q, k, v}) expect_rows(x);
  expect(q.size(3) % 8 == 0, "a head dimension that is a multiple of 8");
  expect(q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16, "numbers of 16 bits");
  expect(k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type(), "one type");
  expect(q.size(1) % k.size(1) == 0, "a multiple of the key/value heads");
}

void expect_efficient(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& bias) {
  for (const at::Tensor& x : {q, k, v}) expect_rows(x);
  expect(k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type(), "one type");
  expect(k.size(1) == q.size(1) && v.size(1) == q.size(1), "one key/value head a query head");
  if (!bias.defined()) return;
  expect(bias.dim() == 4 && bias.size(0) == q.size(0) && bias.size(1) == q.size(1) &&
             bias.size(2) == q.size(2) && bias.size(3) == k.size(2),
         "a bias for every score");
  expect(bias.scalar_type() == q.scalar_type(), "a bias of the queries' type");
  expect(bias.stride(3) == 1 && bias.stride(2) % kBiasAlignment == 0, "aligned rows of the bias");
}

// Of q's heads, in the type that sums run in.
at::Tensor wide(const at::Tensor& x, int64_t heads) {
  const at::Tensor y = x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  return y.size(1) == heads ? y : y.repeat_interleave(heads / y.size(1), 1);
}

double scale_of(const at::Tensor& q) { return 1.0 / std::sqrt(static_cast<double>(q.size(3))); }

at::Tensor scores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& bias, bool is_causal) {
  at::Tensor s = at::matmul(wide(q, q.size(1)), wide(k, q.size(1)).transpose(2, 3)).mul(scale_of(q));
  if (bias.defined()) s = s.add(bias);
  if (!is_causal) return s;
  const at::Tensor later = at::ones({q.size(2), k.size(2)}, s.options().dtype(at::kBool)).triu(1);
  return s.masked_fill(later, kNegativeInfinity);
}

FlashBlock written_out(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& bias,
                       bool is_causal) {
  const at::Tensor s = scores(q, k, bias, is_causal);
  const at::Tensor lse = at::logsumexp(s, {-1});
  return {at::matmul(s.sub(lse.unsqueeze(-1)).exp(), wide(v, q.size(1))).to(q.scalar_type()), lse};
}

at::Tensor sum_to(const at::Tensor& gradient, const at::Tensor& like) {
  const int64_t heads = like.size(1);
  const at::Tensor sum =
      gradient.size(1) == heads ? gradient : gradient.unflatten(1, {heads, gradient.size(1) / heads}).sum(2);
  return sum.to(like.scalar_type());
}

FlashBlockGradients written_out_backward(const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v, const at::Tensor& bias, const at::Tensor& out,
                                         const at::Tensor& lse, bool is_causal) {
  const int64_t heads = q.size(1);
  const at::Tensor go = wide(grad_out, heads);
  const at::Tensor p = scores(q, k, bias, is_causal).sub(lse.unsqueeze(-1)).exp();
  const at::Tensor mean = go.mul(out).sum(-1, /*keepdim=*/true);
  const at::Tensor ds = at::matmul(go, wide(v, heads).transpose(2, 3)).sub(mean).mul(p).mul(scale_of(q));
  return {at::matmul(ds, wide(k, heads)).to(q.scalar_type()),
          sum_to(at::matmul(ds.transpose(2, 3), wide(q, heads)), k),
          sum_to(at::matmul(p.transpose(2, 3), go), v)};
}

std::optional<at::Tensor> optional_bias(const at::Tensor& bias) {
  return bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
}

}  // namespace

FlashBlock flash_operator(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool is_causal) {
  expect_flash(q, k, v);
  if (!q.is_cuda()) return written_out(q, k, v, {}, is_causal);
  const auto found = at::_scaled_dot_product_flash_attention(q, k, v, /*dropout_p=*/0.0, is_causal);
  return {std::get<0>(found), std::get<1>(found)};
}

FlashBlockGradients flash_operator_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                            const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                                            const at::Tensor& lse, bool is_causal) {
  expect_flash(q, k, v);
  expect(lse.is_contiguous() && lse.scalar_type() == at::kFloat && lse.size(2) == q.size(2),
         "a logarithm a query");
  if (!q.is_cuda()) return written_out_backward(grad_out, q, k, v, {}, out, lse, is_causal);
  // The state of random numbers is asked for, and not read without dropout.
  const at::Tensor state = at::empty({2}, q.options().dtype(at::kUInt64));
  const at::Tensor unused = at::empty({}, q.options().dtype(at::kUInt64));
  const auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_backward(
      grad_out, q, k, v, out, lse, /*cum_seq_q=*/at::Tensor(), /*cum_seq_k=*/at::Tensor(), q.size(2),
      k.size(2),
      /*dropout_p=*/0.0, is_causal, state, unused);
  return {grad_q, grad_k, grad_v};
}

FlashBlock efficient_operator(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& bias, bool is_causal) {
  expect_efficient(q, k, v, bias);
  if (!q.is_cuda()) {
    const FlashBlock found = written_out(q, k, v, bias, is_causal);
    const int64_t spare = (kLseBlock - q.size(2) % kLseBlock) % kLseBlock;
    return {found.out, at::constant_pad_nd(found.lse, {0, spare}, kInfinity)};
  }
  const auto found =
      at::_scaled_dot_product_efficient_attention(q, k, v, optional_bias(bias), /*compute_log_sumexp=*/true,
                                                  /*dropout_p=*/0.0, is_causal);
  return {std::get<0>(found), std::get<1>(found)};
}

FlashBlockGradients efficient_operator_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                                const at::Tensor& k, const at::Tensor& v,
                                                const at::Tensor& bias, const at::Tensor& out,
                                                const at::Tensor& lse, bool is_causal) {
  expect_efficient(q, k, v, bias);
  expect(lse.is_contiguous() && lse.size(2) % kLseBlock == 0 && lse.size(2) >= q.size(2),
         "logarithms of whole blocks of queries");
  if (!q.is_cuda()) {
    return written_out_backward(grad_out, q, k, v, bias, out, lse.narrow(2, 0, q.size(2)), is_causal);
  }
  const at::Tensor state = at::empty({}, q.options().dtype(at::kLong));
  const auto found = at::_scaled_dot_product_efficient_attention_backward(
      grad_out, q, k, v, bias, out, lse, state, state, /*dropout_p=*/0.0,
      std::array<bool, 4>{true, true, true, false}, is_causal);
  return {std::get<0>(found), std::get<1>(found), std::get<2>(found)};
}

}  // namespace ropescope::kernels
