#include <bit>
#include <cmath>
#include <utility>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/vanilla_design.h"

namespace ropescope {

namespace {

// -slope |id_q - id_k|, and no other mask than order.
class DistanceBias : public AttentionRule {
 public:
  DistanceBias(at::Tensor slopes, at::Tensor ids)
      : AttentionRule(ids.size(0)), slopes_(std::move(slopes)), ids_(std::move(ids)) {}

  at::Tensor bias(const at::Tensor& queries) const override {
    const at::Tensor distance = ids_.index_select(0, queries).unsqueeze(1).sub(ids_.unsqueeze(0)).abs_();
    return distance.unsqueeze(0).mul(slopes_).neg_().to(at::kFloat);
  }
  std::shared_ptr<const AttentionRule> to(at::Device device) const override {
    return std::make_shared<DistanceBias>(slopes_.to(device), ids_.to(device));
  }

 private:
  at::Tensor slopes_, ids_;  // float64 [heads, 1, 1] and [S]
};

class AlibiDesign : public VanillaDesign {
 public:
  explicit AlibiDesign(std::optional<int64_t> heads) : heads_(heads) {}
  std::optional<int64_t> bias_heads() const override { return heads_; }
  bool ruled() const override { return true; }
  std::shared_ptr<const AttentionRule> attention_rule(const Positions& keys, int64_t heads) const override {
    return std::make_shared<DistanceBias>(at::tensor(bias_slopes(heads), at::kDouble).view({-1, 1, 1}),
                                          keys.coordinates[0].contiguous());
  }

  // n a power of two: 2^(-8(j+1)/n); else those of the largest power k < n, then 2^(-4(2j+1)/k).
  std::vector<double> bias_slopes(int64_t heads) const override {
    const int64_t n = heads_.value_or(heads);
    const auto k = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(n)));
    std::vector<double> slopes;
    for (int64_t j = 0; j < k; ++j) {
      slopes.push_back(std::exp2(-8.0 * static_cast<double>(j + 1) / static_cast<double>(k)));
    }
    for (int64_t j = 0; j < n - k; ++j) {
      slopes.push_back(std::exp2(-4.0 * static_cast<double>(2 * j + 1) / static_cast<double>(k)));
    }
    return slopes;
  }

 private:
  std::optional<int64_t> heads_;
};

}  // namespace

extern const SchemeDefinition kAlibi = {
    "alibi",
    "no rotation: scores fall linearly with distance, with one slope a head",
    "ALiBi, arXiv 2108.12409",
    {{"heads", "", "number of heads whose slopes are shown (8 without a model)"}},
    [](const Parameters&) { return std::string("none"); },
    [](const Parameters& parameters,
       std::shared_ptr<const PositionDesign>) -> std::shared_ptr<const PositionDesign> {
      std::optional<int64_t> heads;
      if (parameters.has("heads")) {
        heads = parameters.integer("heads", 8, 1);
        if (*heads > 65536) parameters.refuse("heads", "at most 65536 heads");
      }
      return std::make_shared<AlibiDesign>(heads);
    },
    "",
    {}};

}  // namespace ropescope
