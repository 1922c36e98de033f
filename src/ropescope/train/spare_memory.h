// Memory that comes and goes many times in a step, kept for who asks next: fresh memory is cleared page by page by the
// kernel, which for a layer's weights costs as much as filling it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

namespace ropescope {

/// From any thread. On CUDA, whose allocator does the same, nothing is kept.
class SpareMemory {
 public:
  /// `most`: allocations that are kept unused; of more, those that were used last.
  explicit SpareMemory(size_t most);
  ~SpareMemory();
  SpareMemory(const SpareMemory&) = delete;
  SpareMemory& operator=(const SpareMemory&) = delete;

  /// Of the type and device of `options`; what it holds is left from earlier.
  at::DataPtr take(const at::TensorOptions& options, size_t bytes) const;
  /// The same as a tensor [count].
  at::Tensor flat(const at::TensorOptions& options, int64_t count) const;
  /// Frees what is kept.
  void clear() const;

 private:
  struct Pool;
  struct Block;
  std::shared_ptr<Pool> pool_;  // of all that is in use, too
};

}  // namespace ropescope
