// The communication libraries behind a ProcessGroup, each of which may be missing from a build.
#pragma once

#include <chrono>
#include <cstdint>

#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace ropescope {

using BackendPointer = c10::intrusive_ptr<c10d::Backend>;

bool gloo_is_built_in();
bool nccl_is_built_in();

/// Gloo, for tensors on the CPU. Throws EnvironmentError if this build has none.
BackendPointer make_gloo_backend(const c10::intrusive_ptr<c10d::Store>& store, int64_t rank, int64_t world,
                                 std::chrono::milliseconds timeout);
/// NCCL, for tensors on CUDA devices. Throws EnvironmentError if this build has none.
BackendPointer make_nccl_backend(const c10::intrusive_ptr<c10d::Store>& store, int64_t rank, int64_t world,
                                 std::chrono::milliseconds timeout);

}  // namespace ropescope
