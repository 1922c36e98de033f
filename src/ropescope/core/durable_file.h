// A file whose every failure is an error: a stream would buffer what the disk has no room for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace ropescope {

class DurableFile {
 public:
  /// Keeps the first `kept` bytes of what is there, and goes on behind them; makes the file where none is. Throws
  /// EnvironmentError, as all do.
  explicit DurableFile(std::filesystem::path file, uint64_t kept = 0);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  /// All of it is the file's when this returns, whatever then happens to the process.
  void write(std::string_view bytes) const;
  /// Over what is there already.
  void write_at(std::string_view bytes, uint64_t offset) const;
  /// Waits until all of it is on the disk.
  void sync() const;
  /// The same, and closes the file.
  void finish();

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path file_;
  int descriptor_ = -1;
};

/// Writes a text file through it. Throws EnvironmentError.
void write_text_durably(const std::filesystem::path& path, const std::string& text);
/// A text file in place of whatever is there: whole, or as it was. Throws as AtomicFile does.
void replace_text_file(const std::filesystem::path& path, const std::string& text);
/// Makes renames inside a folder durable.
void sync_folder(const std::filesystem::path& folder);

}  // namespace ropescope
