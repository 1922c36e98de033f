#include "ropescope/eval/kept_prefix.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/tensor.h>

namespace ropescope::eval {

namespace {

/// Shorter additions are cheaper with the rest of the prompt than as a pass of their own.
constexpr int64_t kWorthAPass = 32;

/// The number of first columns in which two matrices agree.
int64_t equal_columns(const at::Tensor& a, const at::Tensor& b, int64_t most) {
  if (!a.defined() || !b.defined() || a.size(0) != b.size(0)) return 0;
  most = std::min({most, a.size(1), b.size(1)});
  const at::Tensor equal = a.narrow(1, 0, most).eq(b.narrow(1, 0, most)).all(0);
  return equal.to(at::kLong).cumprod(0).sum().item<int64_t>();
}

std::string scheme_of(const KeptPrefix::Request& request) {
  return request.encoding == nullptr ? "" : request.encoding->scheme().text();
}

}  // namespace

void KeptPrefix::forget() {
  ids_.clear();
  cache_ = KvCache();
}

int64_t KeptPrefix::known_tokens(const Request& request) const {
  if (scheme_ != scheme_of(request)) return 0;
  const auto most = static_cast<size_t>(request.common);
  size_t same = 0;
  while (same < std::min(most, ids_.size()) && ids_[same] == request.ids[same]) ++same;
  auto known = static_cast<int64_t>(same);
  if (request.encoding != nullptr) {
    const Positions& positions = request.encoding->positions();
    known = equal_columns(coordinates_, positions.coordinates, known);
    if (positions.anchors.defined()) known = equal_columns(anchors_, positions.anchors, known);
  }
  // Layers with windows or states keep the end of what they have seen only.
  if (known < cache_.length() && !cache_.can_shorten()) return 0;
  return known < request.first ? 0 : known;
}

void KeptPrefix::shorten(int64_t tokens) {
  if (tokens == 0) return forget();
  ids_.resize(static_cast<size_t>(tokens));
  cache_ = cache_.first(tokens);
}

void KeptPrefix::extend(const Request& request) {
  const at::Tensor ids = at::tensor(request.ids, at::kLong).unsqueeze(0);
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  options.final_hidden = false;
  for (int64_t past = cache_.length(); past < request.common; past = cache_.length()) {
    int64_t tokens = std::min(kTokensAtOnce, request.common - past);
    ForwardInput pass;
    if (past == 0 && request.first > 0) {
      tokens = request.first;
      request.embeddings().give(pass);
    }
    pass.input_ids = ids.narrow(1, past, tokens);
    pass.cache = &cache_;
    const PassEncoding rules = request.encoding != nullptr ? request.encoding->pass(past, tokens)
                                                           : plain_encoding(decoder_.config, tokens, past);
    pass.encoding = &rules;
    forward(decoder_, pass, options);
    computed_ += tokens;
  }
  ids_.assign(request.ids.begin(), request.ids.begin() + request.common);
  scheme_ = scheme_of(request);
  coordinates_ = anchors_ = at::Tensor();
  if (request.encoding == nullptr) return;
  const Positions& positions = request.encoding->positions();
  coordinates_ = positions.coordinates.narrow(1, 0, request.common);
  if (positions.anchors.defined()) anchors_ = positions.anchors.narrow(1, 0, request.common);
}

KvCache KeptPrefix::keys(const Request& request) {
  const at::NoGradGuard no_grad;
  int64_t known = known_tokens(request);
  if (known == 0 || request.common - known >= kWorthAPass) {
    shorten(known);
    try {
      extend(request);
    } catch (...) {
      forget();
      throw;
    }
    known = request.common;
  }
  return cache_.first(known);
}

}  // namespace ropescope::eval
