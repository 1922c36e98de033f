// What a command has begun to write and must not leave behind: folders that it made, temporary files, also when a
// signal ends the process.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ropescope {

/// While it lives, SIGINT, SIGTERM and SIGHUP remove `path` (a file or an empty folder) before they end the process;
/// stderr says so. A signal that something else handles, or that is ignored, stays as it is. Of more than 64 at one
/// time the later ones are not removed.
class RemovedBySignals {
 public:
  explicit RemovedBySignals(const std::filesystem::path& path);
  ~RemovedBySignals();
  RemovedBySignals(const RemovedBySignals&) = delete;
  RemovedBySignals& operator=(const RemovedBySignals&) = delete;

 private:
  size_t slot_;
  std::string path_;
};

/// A folder to write into. Missing ones are made, and taken away again, where empty, unless keep() was called.
class OutputFolder {
 public:
  /// Two levels may be missing (runs/first). A path with more, or with one missing directly below the root, is taken for a
  /// mistyped one. Throws EnvironmentError, with the reason, then and where the folder cannot be written.
  explicit OutputFolder(std::filesystem::path folder);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  /// The folder stays; says so where it was made.
  void keep();

 private:
  std::filesystem::path folder_;
  std::vector<std::filesystem::path> made_;  ///< innermost first
};

/// Throws EnvironmentError where `target` cannot become a file, before any work; makes nothing that stays.
void require_writable(const std::filesystem::path& target);

}  // namespace ropescope
