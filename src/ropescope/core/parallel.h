#pragma once

#include <cstdint>

#include <ATen/Parallel.h>

namespace ropescope {

/// Calls body(i) for every i in [0, count), spread over LibTorch's threads. Each i must write its own output:
/// then the numbers are the same at any thread count.
template <typename Body>
void parallel_for_each(int64_t count, const Body& body) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

}  // namespace ropescope
