#include "tests/support/paths.h"

namespace ropescope::testing {

std::string source_path(const std::string& relative) { return std::string(RS_SOURCE_DIR "/") + relative; }
std::string golden_path(const std::string& relative) { return source_path("tests/golden/" + relative); }
std::string ropescope_path() { return RS_EXECUTABLE; }
std::string miniature_path() { return RS_MINIATURE; }

}  // namespace ropescope::testing
