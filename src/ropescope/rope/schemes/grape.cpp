#include "ropescope/rope/schemes/mrope_design.h"
#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

namespace {

std::string grape_allocation(const Parameters& parameters) {
  const bool chunked = parameters.choice("frequency_allocation", {"chunked", "interleaved"}) == "chunked";
  return chunked ? "chunked" : "cyclic";
}

}  // namespace

extern const SchemeDefinition kGrape = {
    "grape",
    "canonical GRAPE: M-RoPE's ids; channels in chunks or t,h,w in turn, frequencies f^(1/c)",
    "GRAPE in the public code of arXiv 2510.23095",
    spatial_parameters("1", {{"frequency_allocation", "chunked", "chunked, or interleaved: t,h,w in turn"},
                             {"log_freq_scale", "1", "c of f^(1/c)"}}),
    grape_allocation,
    [](const Parameters& parameters, std::shared_ptr<const PositionDesign>) {
      return make_mrope_design(parameters, 1.0);
    },
    "",
    {}};

}  // namespace ropescope
