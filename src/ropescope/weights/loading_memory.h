// Memory that weights will take, asked for before it is filled.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

namespace ropescope {

/// Whether LibTorch failed for want of memory, main memory or a device's.
bool is_out_of_memory(const c10::Error& error);

/// Bytes of main memory that this process may still fill: what the machine (with free swap) and the process's
/// control group have left, whichever is less. Nothing where neither says.
std::optional<uint64_t> available_memory();

/// The sentence for weights that do not fit: `whole` bytes in `dtype` are more than `place` ("this machine",
/// "cuda:0 has left"), which has `left` bytes left where that is known; with the way out.
std::string no_room_for_weights(uint64_t whole, c10::ScalarType dtype, const std::string& place,
                                std::optional<uint64_t> left);

/// Throws EnvironmentError unless main memory has room for `fresh` of the `whole` bytes that weights take (the
/// others are shared with mapped files): the system is asked for them, so that limits of the process
/// (ulimit -v, ulimit -d) count.
void require_memory_for_weights(uint64_t fresh, uint64_t whole, c10::ScalarType dtype);

}  // namespace ropescope
