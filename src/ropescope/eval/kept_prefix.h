// Keys and values of the beginning of the last prompt, for prompts that begin alike: questions on one
// picture, and distractors that grow. Under causal attention they depend on nothing behind them, unless a
// scheme places the beginning by what follows it, which is checked.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/vlm.h"

namespace ropescope::eval {

/// Tokens of a beginning that go through the decoder at once, beside pictures: bounds the mask of a pass.
inline constexpr int64_t kTokensAtOnce = 1024;

class KeptPrefix {
 public:
  explicit KeptPrefix(const Decoder& decoder) : decoder_(decoder) {}

  struct Request {
    /// The prompt, one entry a token, pictures in full; what stands at their tokens is not read.
    const std::vector<int64_t>& ids;
    int64_t first = 0;   ///< tokens up to the last picture, which go through together
    int64_t common = 0;  ///< tokens that are worth keeping, at least `first` and fewer than the prompt has
    const SequenceEncoding* encoding = nullptr;  ///< of the whole prompt; null: the model's own positions
    /// Embeddings of the first tokens; not called where `first` is 0.
    std::function<MediaEmbeddings()> embeddings;
  };

  /// Keys of the prompt's beginning, at least `first` and at most `common` tokens, [1, K, S, D]; views that
  /// live until the next call. Equal ids are taken for equal pictures: call forget() where these change.
  KvCache keys(const Request& request);
  void forget();

  /// Tokens that went through the decoder so far.
  int64_t computed() const { return computed_; }

 private:
  int64_t known_tokens(const Request& request) const;
  void shorten(int64_t tokens);
  void extend(const Request& request);

  const Decoder& decoder_;
  std::vector<int64_t> ids_;
  std::string scheme_;                // its text; empty: the model's own positions
  at::Tensor coordinates_, anchors_;  // under a scheme; [axes, S]
  KvCache cache_;
  int64_t computed_ = 0;
};

}  // namespace ropescope::eval
