// Which of two implementations a tensor asks for: loops over CPU memory, or ATen's operators, which every device has.
#pragma once

#include <ATen/core/Tensor.h>

namespace ropescope {

/// True if loops of our own over CPU memory may run on `x`: it lies on a CPU, and no GenericKernels lives.
bool own_cpu_kernels(const at::Tensor& x);

/// While one lives, tensors on a CPU take the way that tensors of other devices take, in all threads of this process.
/// For tests: it lets a machine without a GPU run the half of every dispatch that is written for one.
class GenericKernels {
 public:
  GenericKernels();
  ~GenericKernels();
  GenericKernels(const GenericKernels&) = delete;
  GenericKernels& operator=(const GenericKernels&) = delete;
};

}  // namespace ropescope
