// Files: read-only maps, SHA-256, and output that appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "ropescope/core/unfinished.h"

namespace ropescope {

/// A file mapped read-only for as long as the object lives. Tensors that view it must share ownership.
/// Throws InputError naming the file if it is missing, a folder, or unreadable. An empty file maps to an
/// empty span.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept;
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  struct Impl;
  std::filesystem::path path_;
  std::unique_ptr<Impl> impl_;
};

/// The last part of a path, "model" of "path/to/model/" too.
std::string name_of(const std::filesystem::path& path);

/// The whole file. Throws InputError if it is missing or larger than `limit_bytes`.
std::string read_file(const std::filesystem::path& path, uint64_t limit_bytes = uint64_t{1} << 32);

/// Lower-case hexadecimal SHA-256 of a file, read in pieces.
std::string sha256_of_file(const std::filesystem::path& path);

/// Gives a temporary name beside `target`; commit() renames it into place. Without commit() the temporary
/// file is removed, by a signal too, and so is a folder that was made for it (see OutputFolder). Throws
/// UsageError if the target exists and `force` is not set, EnvironmentError if it cannot be written.
class AtomicFile {
 public:
  AtomicFile(std::filesystem::path target, bool force);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& temporary_path() const noexcept { return temporary_; }
  const std::filesystem::path& target_path() const noexcept { return target_; }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  bool committed_ = false;
  std::optional<OutputFolder> folder_;
  std::optional<RemovedBySignals> removed_;
};

}  // namespace ropescope
