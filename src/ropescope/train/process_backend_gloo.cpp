// Compiled with USE_C10D_GLOO where Gloo's headers are there (src/ropescope/CMakeLists.txt).
#include "ropescope/core/errors.h"
#include "ropescope/train/collectives.h"
#include "ropescope/train/process_backends.h"

#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif

namespace ropescope {

#ifdef USE_C10D_GLOO

bool gloo_is_built_in() { return true; }

BackendPointer make_gloo_backend(const c10::intrusive_ptr<c10d::Store>& store, int64_t rank, int64_t world,
                                 std::chrono::milliseconds timeout) {
  const auto options = c10d::ProcessGroupGloo::Options::create_default(timeout);
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(rank), static_cast<int>(world),
                                                     options);
}

#else

bool gloo_is_built_in() { return false; }

BackendPointer make_gloo_backend(const c10::intrusive_ptr<c10d::Store>&, int64_t, int64_t,
                                 std::chrono::milliseconds) {
  throw EnvironmentError(
      "several processes: this ropescope was built without Gloo's headers. Try: apt-get install libgloo-dev, "
      "then build again");
}

#endif

}  // namespace ropescope
