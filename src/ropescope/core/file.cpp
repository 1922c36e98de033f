#include "ropescope/core/file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include <boost/iostreams/device/mapped_file.hpp>
#include <unistd.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/sha256.h"

namespace ropescope {

namespace fs = std::filesystem;

struct MappedFile::Impl {
  boost::iostreams::mapped_file_source source;
};

namespace {

uint64_t size_of_regular_file(const fs::path& path) {
  std::error_code code;
  const auto status = fs::status(path, code);
  if (!fs::exists(status)) throw InputError("{}: no such file", path.string());
  if (!fs::is_regular_file(status)) throw InputError("{}: expected a regular file", path.string());
  const uint64_t size = fs::file_size(path, code);
  if (code) throw InputError("{}: {}", path.string(), code.message());
  return size;
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path), impl_(std::make_unique<Impl>()) {
  const uint64_t size = size_of_regular_file(path);
  if (size == 0) return;  // an empty file cannot be mapped
  if (access(path.c_str(), R_OK) != 0)
    throw InputError("{}: cannot be read ({})", path.string(), std::strerror(errno));
  errno = 0;
  try {
    impl_->source.open(path.string());
  } catch (const std::exception& error) {
    if (errno == ENOMEM) {
      throw EnvironmentError(
          "{}: out of memory: a file of {} bytes cannot be mapped within the limits of this process. Try: raise them "
          "(ulimit -v)",
          path.string(), size);
    }
    throw InputError("{}: cannot be mapped into memory ({})", path.string(), error.what());
  }
}

MappedFile::~MappedFile() = default;

std::span<const std::byte> MappedFile::bytes() const noexcept {
  if (!impl_->source.is_open()) return {};
  return {reinterpret_cast<const std::byte*>(impl_->source.data()), impl_->source.size()};
}

std::string name_of(const fs::path& path) {
  return fs::absolute(path / "").lexically_normal().parent_path().filename().string();
}

std::string read_file(const fs::path& path, uint64_t limit_bytes) {
  const uint64_t size = size_of_regular_file(path);
  if (size > limit_bytes) {
    throw InputError("{}: expected at most {} bytes, found {}", path.string(), limit_bytes, size);
  }
  std::ifstream stream(path, std::ios::binary);
  std::string content(size, '\0');
  if (!stream.read(content.data(), static_cast<std::streamsize>(size))) {
    throw InputError("{}: cannot be read", path.string());
  }
  return content;
}

std::string sha256_of_file(const fs::path& path) {
  size_of_regular_file(path);
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError("{}: cannot be read", path.string());
  Sha256 sha;
  std::string buffer(size_t{1} << 20, '\0');
  while (stream) {
    stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    sha.add(buffer.data(), static_cast<size_t>(stream.gcount()));
  }
  return sha.finish();
}

AtomicFile::AtomicFile(fs::path target, bool force) : target_(std::move(target)) {
  std::error_code code;
  if (fs::is_directory(target_, code)) {
    throw UsageError("{}: expected a file name, found a folder", target_.string());
  }
  if (!force && fs::exists(target_, code)) {
    throw UsageError("{}: the file exists already; --force overwrites it", target_.string());
  }
  require_writable(target_);
  folder_.emplace(target_.parent_path());
  // The extension stays at the end: gnuplot chooses the format by it.
  temporary_ = folder_->path() /
               fmt::format(".{}.{}.tmp{}", target_.stem().string(), getpid(), target_.extension().string());
  removed_.emplace(temporary_);
}

AtomicFile::~AtomicFile() {
  if (committed_) return;
  std::error_code ignored;
  fs::remove(temporary_, ignored);
}

void AtomicFile::commit() {
  std::error_code code;
  fs::rename(temporary_, target_, code);
  if (code) throw EnvironmentError("{}: cannot be put in place ({})", target_.string(), code.message());
  committed_ = true;
  removed_.reset();
  folder_->keep();
}

}  // namespace ropescope
