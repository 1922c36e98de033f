// A file that a run adds to at its end, and that a resumed run goes on with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace ropescope {

class AppendedFile {
 public:
  /// Keeps the first `kept` bytes of what is there; makes the file where none is. Throws EnvironmentError, as all do.
  AppendedFile(std::filesystem::path file, uint64_t kept);
  ~AppendedFile();
  AppendedFile(const AppendedFile&) = delete;
  AppendedFile& operator=(const AppendedFile&) = delete;

  /// All of it is the file's when this returns, whatever then happens to the process.
  void write(std::string_view bytes) const;
  /// Waits until all of it is on the disk.
  void sync() const;

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path file_;
  int descriptor_ = -1;
};

}  // namespace ropescope
