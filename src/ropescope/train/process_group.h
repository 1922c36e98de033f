// Processes that train together and exchange tensors, over LibTorch's c10d: Gloo on the CPU, NCCL between
// CUDA devices.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/train/launch.h"
#include "ropescope/train/meeting.h"

namespace ropescope {

/// All ranks call the same methods in the same order. Every method, and every Pending, throws
/// EnvironmentError naming the rank that was lost if one dies or hangs. One thread at a time, but for
/// give_up().
class ProcessGroup {
 public:
  struct Settings : Meeting::Settings {
    at::Device device = at::Device(at::kCPU);  ///< of the tensors that are exchanged
    bool read_peers = true;                    ///< on the CPU: where ranks can (peer_memory.h)
  };

  /// Meets the others. Throws EnvironmentError naming the ranks that did not come within the timeout.
  ProcessGroup(const Launch& launch, Settings settings);
  /// Leaves without waiting for the others.
  ~ProcessGroup();

  int64_t rank() const;
  int64_t world() const;

  /// Waits until an exchange is complete; its tensors must live that long. All ranks wait in the same order. Between
  /// ranks of one machine, on CPUs, large tensors are copied by who waits; what is sent goes on by itself.
  using Pending = std::function<void()>;

  /// The sum over all ranks, in place.
  Pending all_reduce(at::Tensor values) const;
  /// `slice` [n]: this rank's part of the sum over all ranks of `values` [world n], in which it may lie where it
  /// belongs.
  Pending reduce_scatter(at::Tensor slice, at::Tensor values) const;
  /// `values` [world n]: every rank's `slice` [n], in the order of the ranks.
  Pending all_gather(at::Tensor values, at::Tensor slice) const;

  /// Every rank's few numbers [world, n], on the CPU; all give the same n.
  at::Tensor gather_numbers(const at::Tensor& numbers) const;
  /// Every rank's text.
  std::vector<std::string> gather_texts(const std::string& text) const;
  /// Returns when all are here.
  void barrier() const;

  /// From any thread: ends its waits, now and later, after which nothing that came is of use.
  void give_up();
  /// Tells the others that this rank ends with an error of its own; they end too, naming it.
  void announce_failure(const std::string& message);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ropescope
