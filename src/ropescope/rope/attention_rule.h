// What a scheme asks of attention beyond rotated queries and keys: which keys a query sees, and what is added
// to its scores. A scheme's own file makes its rule (PositionDesign::attention_rule), so that a new mask or
// bias is one file; models, the prior of a layout and the tests take what they need from here.
#pragma once

#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// Over the S keys in view, in their order; a query is one of them. Without a rule a query sees itself and the
/// keys before it.
class AttentionRule {
 public:
  explicit AttentionRule(int64_t keys) : keys_(keys) {}
  virtual ~AttentionRule() = default;

  int64_t keys() const { return keys_; }

  /// Whether the query sees the key; token indices. The truth that `hidden` tells of many at once.
  virtual bool sees(int64_t query, int64_t key) const { return key <= query; }

  /// queries [n] int64, token indices on the rule's device: bool [n, S], true for keys that they do not see.
  virtual at::Tensor hidden(const at::Tensor& queries) const;

  /// Added to the scaled scores of these queries: float32 [heads, n, S]; undefined where nothing is.
  virtual at::Tensor bias(const at::Tensor& /*queries*/) const { return {}; }

  /// Whether a query may see keys behind it, so that a pass must not end inside a raster.
  virtual bool sees_ahead() const { return false; }

  /// The same on another device.
  virtual std::shared_ptr<const AttentionRule> to(at::Device device) const = 0;

 private:
  int64_t keys_;
};

/// Inside one raster a query sees the keys of its own rank and below, whatever their order; elsewhere those
/// before it (Concentric Causal Attention, arXiv 2410.15926; PyPE).
class RingRule : public AttentionRule {
 public:
  /// rank [S] float64, raster [S] int32 with -1 for text (Positions::raster); on one device.
  RingRule(at::Tensor rank, at::Tensor raster);

  bool sees(int64_t query, int64_t key) const override;
  at::Tensor hidden(const at::Tensor& queries) const override;
  bool sees_ahead() const override { return true; }
  std::shared_ptr<const AttentionRule> to(at::Device device) const override;

 private:
  at::Tensor rank_, raster_;
};

}  // namespace ropescope
