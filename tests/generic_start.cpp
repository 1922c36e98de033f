// Linked to ropescope's own objects it makes `ropescope-generic`, in which tensors on the CPU take the way of other devices.
#include "ropescope/core/device_branch.h"

namespace {

const ropescope::GenericKernels kGeneric;

}  // namespace
