#include <bit>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/vanilla_design.h"

namespace ropescope {

namespace {

class AlibiDesign : public VanillaDesign {
 public:
  explicit AlibiDesign(std::optional<int64_t> heads) : heads_(heads) {}
  std::optional<int64_t> bias_heads() const override { return heads_; }

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
