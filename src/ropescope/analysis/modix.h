// MODIX, the step of visual tokens measured from a prompt's embeddings (CVPR 2026, arXiv 2604.12537). Of each modality m,
// with n_m embeddings x_i [C] as they enter the decoder,
//   H_m = 1/2 log det(Sigma_m + 1e-6 I),  Sigma_m = 1/n_m sum_i (x_i - mean)(x_i - mean)^T     spread inside a modality
//   S_m = 1/n_m sum_i max_j cos(x_i, y_j),  y the other modality's                             meeting between the two
//   I_m = H_m / (H_text + H_visual),  J_m = S_m / (S_text + S_visual),  C_m ~ I_m^a J_m^(1-a), shares of their sum
//   Delta = C_text / C_visual
// The step is then v2pe's: `v2pe:delta=Delta`. The paper's text could be read second-hand only, its code is not public.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ropescope {

struct ModixSide {
  int64_t tokens = 0;
  /// Eigenvalues of Sigma above 1e-6. Each of the other C - spanned directions adds about 1/2 log 1e-6 = -6.9 to the
  /// entropy, whatever the embeddings are.
  int64_t spanned = 0;
  double entropy = 0;                             ///< H, nats
  double interaction = 0;                         ///< S
  double intra = 0, inter = 0, contribution = 0;  ///< I, J, C
};

struct ModixStep {
  ModixSide text, visual;
  int64_t channels = 0;
  double balance = 0;  ///< a
  double delta = 0;

  /// Entropies below 0: the modality that is spread less then has the larger share.
  bool turned_round() const { return text.entropy < 0 && visual.entropy < 0; }
};

/// text [n, C] and visual [m, C], any floating type; reckoned in float64, balance from 0 to 1. Throws UsageError without
/// tokens of both, NumericsError for embeddings that are not finite, and where the entropies (or the interactions) have
/// different signs or are 0: the shares then lie outside of 0 to 1, and the formula says nothing.
ModixStep modix_step(const at::Tensor& text, const at::Tensor& visual, double balance = 0.5);

}  // namespace ropescope
