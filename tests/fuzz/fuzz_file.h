// The bytes of a fuzz target as a file, for readers that want a path.
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>

#include <unistd.h>

namespace ropescope::testing {

/// A file of this process alone with a given extension, gone with the object.
class FuzzFile {
 public:
  FuzzFile(std::span<const std::byte> bytes, const std::string& extension)
      : path_(std::filesystem::temp_directory_path() /
              ("ropescope-fuzz-" + std::to_string(getpid()) + extension)) {
    std::ofstream stream(path_, std::ios::binary);
    stream.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  ~FuzzFile() {
    std::error_code code;
    std::filesystem::remove(path_, code);
  }
  FuzzFile(const FuzzFile&) = delete;
  FuzzFile& operator=(const FuzzFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace ropescope::testing
