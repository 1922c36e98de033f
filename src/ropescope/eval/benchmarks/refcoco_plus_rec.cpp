#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/referring.h"

namespace ropescope::eval {

Benchmark refcoco_plus_rec() {
  return referring_benchmark("refcoco+_rec", "The box of an expression without words of place (RefCOCO+).",
                             "RefCOCO+, val, testA or testB (refcoco+_bbox_rec_val, ...)");
}

}  // namespace ropescope::eval
