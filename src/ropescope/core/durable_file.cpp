#include "ropescope/core/durable_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

namespace ropescope {

DurableFile::DurableFile(std::filesystem::path file, uint64_t kept)
    : file_(std::move(file)), descriptor_(open(file_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0 || ftruncate(descriptor_, static_cast<off_t>(kept)) != 0 ||
      lseek(descriptor_, 0, SEEK_END) < 0) {
    fail();
  }
}

DurableFile::~DurableFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void DurableFile::write(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail();
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void DurableFile::write_at(std::string_view bytes, uint64_t offset) const {
  if (lseek(descriptor_, static_cast<off_t>(offset), SEEK_SET) < 0) fail();
  write(bytes);
}

void DurableFile::sync() const {
  if (fsync(descriptor_) != 0) fail();
}

void DurableFile::finish() {
  sync();
  if (close(std::exchange(descriptor_, -1)) != 0) fail();
}

void DurableFile::fail() const {
  const int code = errno;
  throw EnvironmentError(
      "{}: cannot be written ({}){}", file_.string(), std::strerror(code),
      code == ENOSPC || code == EDQUOT ? ". Try: free disk space, or another --output" : "");
}

void write_text_durably(const std::filesystem::path& path, const std::string& text) {
  DurableFile file(path);
  file.write(text);
  file.finish();
}

void replace_text_file(const std::filesystem::path& path, const std::string& text) {
  AtomicFile file(path, /*force=*/true);
  write_text_durably(file.temporary_path(), text);
  file.commit();
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

}  // namespace ropescope
