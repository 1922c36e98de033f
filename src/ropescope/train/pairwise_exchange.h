// Exchanges of tensors on the CPU, each rank with each other one directly: what is sent and received goes from and to the
// tensors themselves. (Gloo's own collectives copy everything to buffers of their own first, and sum whole buffers where each rank
// wants a slice: four to six times the time of a message of the same bytes between two processes of a machine.) Where ranks
// can read each other's memory (peer_memory.h), large tensors are read there and only their addresses are sent.
#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include "ropescope/train/process_backends.h"

namespace c10d {
class Work;
}  // namespace c10d

namespace ropescope {

class PeerMemory;

/// All ranks start the same exchanges, of the same sizes, in the same order, and wait for them in one order too. Messages go
/// on by themselves until their work is waited for; what is read from another rank's memory is read by who waits. Tensors
/// are of one dimension and must live that long.
class PairwiseExchange {
 public:
  using WorkPointer = c10::intrusive_ptr<c10d::Work>;

  explicit PairwiseExchange(BackendPointer backend);
  ~PairwiseExchange();

  /// From now on large tensors are read where that is possible; all ranks say so at the same point.
  void use(std::unique_ptr<const PeerMemory> memory);

  /// `values` [world n]: every rank's `slice` [n], which may lie in `values` where it belongs.
  WorkPointer all_gather(const at::Tensor& values, const at::Tensor& slice);
  /// `slice` [n]: this rank's part of the sum over all ranks of `values` [world n], added up in the order of the ranks by
  /// who waits for it. It may lie in `values` where it belongs.
  WorkPointer reduce_scatter(const at::Tensor& slice, const at::Tensor& values);
  /// `values` [n]: their sum over all ranks. Added up in the order of the ranks if large and all can read each other;
  /// otherwise it is Gloo's own.
  WorkPointer all_reduce(const at::Tensor& values);

  /// From any thread: ends every wait, now and later, without the numbers that were waited for.
  void give_up();
  bool given_up() const;

 private:
  class Exchange;
  class Gather;
  class Reduction;
  class FullReduction;
  struct Waits;
  template <typename Kind, typename... Args>
  WorkPointer start(Args&&... args);

  BackendPointer backend_;
  std::unique_ptr<const PeerMemory> memory_;  // perhaps none
  std::shared_ptr<Waits> waits_;
  int tag_ = 0;
};

}  // namespace ropescope
