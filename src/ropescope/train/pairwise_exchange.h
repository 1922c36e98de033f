// Exchanges of tensors on the CPU, each rank with each other one directly: what is sent and received goes from and to the
// tensors themselves. (Gloo's own collectives copy everything to rows of their own first, and sum whole rows where each rank
// wants a slice: four to six times the time of a message of the same bytes between two processes of a machine.)
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

/// All ranks start the same exchanges in the same order; each goes on by itself until its work is waited for. Tensors are
/// of one dimension and must live that long.
class PairwiseExchange {
 public:
  using WorkPointer = c10::intrusive_ptr<c10d::Work>;

  explicit PairwiseExchange(BackendPointer backend);
  ~PairwiseExchange();

  /// `values` [world n]: every rank's `slice` [n], which may lie in `values` where it belongs.
  WorkPointer all_gather(const at::Tensor& values, const at::Tensor& slice);
  /// `slice` [n]: this rank's part of the sum over all ranks of `values` [world n], added up in the order of the ranks by
  /// who waits for it.
  WorkPointer reduce_scatter(const at::Tensor& slice, const at::Tensor& values);

  /// From any thread: ends every wait, now and later, without the numbers that were waited for.
  void give_up();
  bool given_up() const;

 private:
  class Exchange;
  struct Waits;
  WorkPointer start(std::vector<at::Tensor> outgoing, std::vector<at::Tensor> incoming, at::Tensor sum);

  BackendPointer backend_;
  std::shared_ptr<Waits> waits_;
  int tag_ = 0;
};

}  // namespace ropescope
