#include "ropescope/models/kernels/flash_block.h"

#include <limits>
#include <optional>

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/constant_pad_nd.h>

#include "ropescope/core/device_branch.h"
#include "ropescope/models/kernels/device_attention.h"

namespace ropescope::kernels {

namespace {

// The kernels read rows of D neighbouring numbers and hand the distance of rows to a matrix product, which
// refuses less than D (expanded gradients have 0). Nobody checks on this side of the dispatcher.
at::Tensor readable(const at::Tensor& x) {
  return x.stride(3) == 1 && x.stride(2) >= x.size(3) ? x : x.contiguous();
}

// On a device FlashAttention takes 16-bit types without bias; the memory-efficient kernel takes all, but wants one
// key/value head a query head, biases in aligned memory and logarithms for whole blocks of 32 queries.
bool flash_serves(const at::Tensor& q, const at::Tensor& bias) {
  return (q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16) && !bias.defined();
}

at::Tensor for_all_heads(const at::Tensor& x, int64_t heads) {
  return x.size(1) == heads ? x : x.repeat_interleave(heads / x.size(1), 1);
}

at::Tensor sum_groups(const at::Tensor& gradient, int64_t kv_heads) {
  if (gradient.size(1) == kv_heads) return gradient;
  return gradient.unflatten(1, {kv_heads, gradient.size(1) / kv_heads}).sum(2);
}

at::Tensor aligned_bias(const at::Tensor& bias, const at::Tensor& q) {
  if (!bias.defined()) return {};
  const int64_t keys = bias.size(1), spare = (kBiasAlignment - keys % kBiasAlignment) % kBiasAlignment;
  const at::Tensor aligned = spare == 0 ? bias : at::constant_pad_nd(bias, {0, spare}).narrow(1, 0, keys);
  return aligned.expand({q.size(0), q.size(1), bias.size(0), keys});
}

at::Tensor whole_blocks(const at::Tensor& lse) {
  const int64_t spare = (kLseBlock - lse.size(2) % kLseBlock) % kLseBlock;
  if (spare == 0) return lse.contiguous();
  return at::constant_pad_nd(lse, {0, spare}, std::numeric_limits<float>::infinity());
}

}  // namespace

double hidden_score(at::ScalarType dtype) { return dtype == at::kHalf ? -60000.0 : -1e30; }

FlashBlock flash_block(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                       const at::Tensor& bias, bool is_causal) {
  const at::Tensor q = readable(queries), k = readable(keys), v = readable(values);
  if (own_cpu_kernels(q)) {
    const auto mask = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
    const auto [out, lse] =
        at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, /*dropout_p=*/0.0, is_causal, mask);
    return {out, lse};
  }
  if (flash_serves(q, bias)) return flash_operator(q, k, v, is_causal);
  const FlashBlock found = efficient_operator(q, for_all_heads(k, q.size(1)), for_all_heads(v, q.size(1)),
                                              aligned_bias(bias, q), is_causal);
  return {found.out, found.lse.narrow(2, 0, q.size(2))};
}

FlashBlockGradients flash_block_backward(const at::Tensor& grad_rows, const at::Tensor& queries,
                                         const at::Tensor& keys, const at::Tensor& values,
                                         const at::Tensor& out_rows, const at::Tensor& lse,
                                         const at::Tensor& bias, bool is_causal) {
  const at::Tensor grad_out = readable(grad_rows), out = readable(out_rows);
  const at::Tensor q = readable(queries), k = readable(keys), v = readable(values);
  if (own_cpu_kernels(q)) {
    const auto mask = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
    const auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        grad_out, q, k, v, out, lse, /*dropout_p=*/0.0, is_causal, mask);
    return {grad_q, grad_k, grad_v};
  }
  if (flash_serves(q, bias))
    return flash_operator_backward(grad_out, q, k, v, out, lse.contiguous(), is_causal);
  const FlashBlockGradients found =
      efficient_operator_backward(grad_out, q, for_all_heads(k, q.size(1)), for_all_heads(v, q.size(1)),
                                  aligned_bias(bias, q), out, whole_blocks(lse), is_causal);
  return {found.q, sum_groups(found.k, k.size(1)), sum_groups(found.v, k.size(1))};
}

}  // namespace ropescope::kernels
