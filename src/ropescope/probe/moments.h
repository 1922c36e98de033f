// Streaming first and second moments of q and k, text by text.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/probe/samples.h"

namespace ropescope {

/// Of one text and layer, on the CPU.
struct TextMoments {
  int64_t count = 0;   ///< tokens
  at::Tensor mean;     ///< [heads, D] float64
  at::Tensor scatter;  ///< [heads, D, D] float32: sum of products of what is left of x without the mean
};
/// x_HTD: all tokens of one text and layer that count, [heads, n, D], any float dtype and device.
TextMoments moments_of_text(const at::Tensor& x_HTD);

/// Merges the moments of texts (Chan, Golub, LeVeque 1979): no sum of raw squares is formed, so a large mean
/// (biases of Qwen2's keys) does not swallow the covariance. Sums within a text are taken over centred
/// float32 values, sums over texts in float64; the result does not depend on how texts were packed into
/// passes.
class MomentAccumulator {
 public:
  /// K heads of x; `texts` means are kept for jackknife intervals.
  MomentAccumulator(int64_t layers, int64_t heads, int64_t head_dim, int64_t texts);

  /// `heads` are the rows of the accumulator that the text's moments belong to. The same texts in the same order give the
  /// same bits.
  void add(int64_t layer, const std::vector<int64_t>& heads, int64_t text, const TextMoments& moments);
  /// x_HTD as moments_of_text takes it.
  void add(int64_t layer, const std::vector<int64_t>& heads, int64_t text, const at::Tensor& x_HTD) {
    add(layer, heads, text, moments_of_text(x_HTD));
  }

  const at::Tensor& mean() const { return mean_; }            ///< [L, H, D] float64
  at::Tensor covariance() const;                              ///< [L, H, D, D] float64, divided by the count
  const at::Tensor& count() const { return count_; }          ///< [L, H] float64
  const at::Tensor& text_mean() const { return text_mean_; }  ///< [S, L, H, D] float32

  /// Everything collected so far, by name.
  std::vector<std::pair<std::string, at::Tensor>> state() const {
    return {{"count", count_}, {"mean", mean_}, {"scatter", scatter_}, {"text_mean", text_mean_}};
  }

 private:
  at::Tensor count_, mean_, scatter_, text_mean_;
};

}  // namespace ropescope
