// A second device that every machine has: memory of its own, operators through the CPU's kernels. It is as strict as a
// GPU (and stricter): an operator that gets tensors of two devices throws and says which operator, code that reads device
// memory through a pointer crashes, and every number that comes back to the host is counted by what brought it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <ATen/core/Tensor.h>

namespace ropescope::testing {

/// From the first call on it is the process's accelerator, in place of a card: is_pretend() asks without that.
at::Device pretend_device();
bool is_pretend(at::Device device);

/// Counts what is read from the pretend device while it lives, in all threads. One at a time.
class HostReads {
 public:
  HostReads();
  ~HostReads();
  HostReads(const HostReads&) = delete;
  HostReads& operator=(const HostReads&) = delete;

  /// By operator: "_local_scalar_dense" is item(), "_copy_from" a copy to the host, any other an operator whose result's
  /// size or value the host waits for.
  std::map<std::string, int64_t> counts() const;
  int64_t total() const;
};

}  // namespace ropescope::testing
