#include "tests/support/paths.h"

#include <cstdlib>
#include <string_view>

namespace ropescope::testing {

bool wants_generic_kernels() {
  const char* kernels = std::getenv("ROPESCOPE_TEST_KERNELS");
  return kernels != nullptr && std::string_view(kernels) == "generic";
}

std::string source_path(const std::string& relative) { return std::string(RS_SOURCE_DIR "/") + relative; }
std::string golden_path(const std::string& relative) { return source_path("tests/golden/" + relative); }
std::string ropescope_path() { return wants_generic_kernels() ? RS_GENERIC : RS_EXECUTABLE; }
std::string miniature_path() { return RS_MINIATURE; }

}  // namespace ropescope::testing
