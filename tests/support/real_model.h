// The real model that the set-up installs.
#pragma once

#include <string>

namespace ropescope::testing {

/// SmolLM2-135M-Instruct as GGUF: the environment variable ROPESCOPE_SMOLLM2, else the package in .venv;
/// empty if neither is there.
std::string smollm2_path();

}  // namespace ropescope::testing
