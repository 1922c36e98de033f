#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

namespace {

// The ids are the base design's; queries take their run's first id against keys of the other modality.
class AnchoredDesign : public DesignModifier {
 public:
  using DesignModifier::DesignModifier;
  bool anchored() const override { return true; }

 protected:
  std::shared_ptr<const PositionDesign> with_inner(
      std::shared_ptr<const PositionDesign> inner) const override {
    return std::make_shared<AnchoredDesign>(std::move(inner));
  }
};

}  // namespace

extern const SchemeDefinition kDipe = {
    "dipe",
    "M-RoPE's ids inside a modality; across modalities queries are anchored to the first id of their run",
    "DIPE, arXiv 2603.10863",
    {},
    nullptr,
    [](const Parameters&,
       std::shared_ptr<const PositionDesign> inner) -> std::shared_ptr<const PositionDesign> {
      return std::make_shared<AnchoredDesign>(std::move(inner));
    },
    "mrope",
    {{"temporal_stride", "1"}}};

}  // namespace ropescope
