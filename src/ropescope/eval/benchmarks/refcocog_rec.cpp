#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/referring.h"

namespace ropescope::eval {

Benchmark refcocog_rec() {
  return referring_benchmark("refcocog_rec", "The box of a long expression (RefCOCOg).",
                             "RefCOCOg, val or test (refcocog_bbox_rec_val, ...)");
}

}  // namespace ropescope::eval
