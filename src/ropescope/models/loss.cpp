#include <ATen/ops/cross_entropy_loss.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"

namespace ropescope {

at::Tensor causal_lm_loss(const at::Tensor& logits, const at::Tensor& labels) {
  constexpr int64_t kIgnored = -100;
  if (logits.dim() != 3 || labels.dim() != 2 || logits.size(0) != labels.size(0) ||
      logits.size(1) != labels.size(1)) {
    throw InternalError(
        "causal_lm_loss: expected logits [batch, tokens, vocabulary] and labels [batch, tokens]");
  }
  const int64_t pairs = labels.size(1) - 1;
  const at::Tensor targets = labels.narrow(1, 1, pairs).reshape({-1});
  if (pairs < 1 || !targets.ne(kIgnored).any().item<bool>()) {
    throw InputError("labels: expected at least one target after the first token, found none");
  }
  return at::cross_entropy_loss(logits.narrow(1, 0, pairs).flatten(0, 1), targets.to(logits.device()),
                                /*weight=*/{}, at::Reduction::Mean, kIgnored);
}

}  // namespace ropescope
