#include "ropescope/core/device_branch.h"

#include <atomic>

namespace ropescope {

namespace {

std::atomic<int> generic_guards{0};

}  // namespace

bool own_cpu_kernels(const at::Tensor& x) {
  return x.is_cpu() && generic_guards.load(std::memory_order_relaxed) == 0;
}

GenericKernels::GenericKernels() { ++generic_guards; }
GenericKernels::~GenericKernels() { --generic_guards; }

}  // namespace ropescope
