#include "inputs/data_file.h"

#include <filesystem>
#include <system_error>

namespace ropescope::app {

namespace fs = std::filesystem;

std::string data_file(const std::string& name) {
  std::error_code none;
  const fs::path executable = fs::read_symlink("/proc/self/exe", none);
  const fs::path installed = executable.parent_path().parent_path() / "share" / "ropescope" / name;
  if (!none && fs::exists(installed, none)) return installed.string();
  return std::string(ROPESCOPE_DATA "/") + name;
}

}  // namespace ropescope::app
