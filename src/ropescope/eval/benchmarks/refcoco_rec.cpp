#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/referring.h"

namespace ropescope::eval {

Benchmark refcoco_rec() {
  return referring_benchmark("refcoco_rec", "The box of an expression (RefCOCO).",
                             "RefCOCO, validation split (refcoco_bbox_rec_val): 8811 questions");
}

}  // namespace ropescope::eval
