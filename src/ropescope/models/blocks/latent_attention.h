// Queries, keys and values from low-rank latents (multi-head latent attention, DeepSeek-V2, arXiv 2405.04434).
//   q          = B_q n(A_q x), or Q x                   per head [nope | rope]
//   [c | r]    = A_kv x                                 one latent, and one rotary part that all heads share
//   [k_h | v_h] = B_kv n(c)                             per head; the key is [k_h | r]
// Shapes  B batch, T tokens, C hidden size, H heads, N nope_dim, R rope_dim, V value_dim
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/rope/rotation.h"

namespace ropescope {

/// Undefined tensors are absent.
struct LatentWeights {
  at::Tensor q;                             ///< [H*(N+R), C]; without a query latent
  at::Tensor q_a, q_a_bias, q_a_norm, q_b;  ///< [q_rank, C], [q_rank], [q_rank], [H*(N+R), q_rank]
  at::Tensor kv_a, kv_a_bias, kv_a_norm;    ///< [kv_rank+R, C], [kv_rank+R], [kv_rank]
  at::Tensor kv_b;                          ///< [H*(N+V), kv_rank]
};

/// Before rotation.
struct LatentQkv {
  at::Tensor q;  ///< [B, H, T, N+R]
  at::Tensor k;  ///< [B, H, T, N+R]; the last R channels are the same for every head
  at::Tensor v;  ///< [B, H, T, V]
};

/// From normed x [B, T, C]. The latents' norms have eps 1e-6, whatever the model's others have.
LatentQkv latent_qkv(const at::Tensor& x, const LatentWeights& weights, const LatentShape& shape,
                     int64_t heads, int64_t value_dim);

/// x [B, H, T, N+R]: the channels from `nope` on turn, the ones before pass. Channels that turn in adjacent pairs come
/// out in halves (first of all pairs, then second of all), as the authors' code leaves them.
at::Tensor rotate_latent(const at::Tensor& x, const RotaryTable& table, int64_t nope);

/// kv_b of GGUF files, which hold it in two: k_b [H, kv_rank, N] and v_b [H, V, kv_rank].
at::Tensor join_latent_up(const at::Tensor& k_b, const at::Tensor& v_b);

}  // namespace ropescope
