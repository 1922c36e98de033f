// Compiled with USE_C10D_NCCL where CUDA's and NCCL's headers are there (src/ropescope/CMakeLists.txt).
#include "ropescope/core/errors.h"
#include "ropescope/train/collectives.h"
#include "ropescope/train/process_backends.h"

#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace ropescope {

#ifdef USE_C10D_NCCL

bool nccl_is_built_in() { return true; }

BackendPointer make_nccl_backend(const c10::intrusive_ptr<c10d::Store>& store, int64_t rank, int64_t world,
                                 std::chrono::milliseconds timeout) {
  const auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, static_cast<int>(rank), static_cast<int>(world),
                                                     options);
}

#else

bool nccl_is_built_in() { return false; }

BackendPointer make_nccl_backend(const c10::intrusive_ptr<c10d::Store>&, int64_t, int64_t,
                                 std::chrono::milliseconds) {
  throw EnvironmentError(
      "several processes on CUDA devices: this ropescope was built without NCCL. Try: cmake/bootstrap.sh "
      "--cuda, then build again");
}

#endif

}  // namespace ropescope
