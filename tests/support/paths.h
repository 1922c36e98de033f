// Where tests find their files and the programs that they run. The paths are compiled into one small file, so that a
// checkout at another place shares the compiler's cache with this one.
#pragma once

#include <string>

namespace ropescope::testing {

/// Path below the source tree.
std::string source_path(const std::string& relative);
/// Path below tests/golden/.
std::string golden_path(const std::string& relative);
/// Whether ROPESCOPE_TEST_KERNELS is "generic": tensors on the CPU then take the way of other devices.
bool wants_generic_kernels();
/// The ropescope executable, or ropescope-generic, of this build ("" in test_sanitized, which has none).
std::string ropescope_path();
/// The ropescope-miniature executable of this build.
std::string miniature_path();

}  // namespace ropescope::testing
