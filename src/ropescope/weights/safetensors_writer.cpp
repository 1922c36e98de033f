#include "ropescope/weights/safetensors_writer.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

// A file whose every failure is an error (a stream would buffer what the disk has no room for).
class DurableFile {
 public:
  explicit DurableFile(const std::filesystem::path& path)
      : path_(path), descriptor_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (descriptor_ < 0) fail();
  }
  ~DurableFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  void write(const void* data, size_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t written = ::write(descriptor_, at, bytes);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail();
      at += written;
      bytes -= static_cast<size_t>(written);
    }
  }

  /// Over what is there already.
  void write_at(const void* data, size_t bytes, uint64_t offset) {
    if (lseek(descriptor_, static_cast<off_t>(offset), SEEK_SET) < 0) fail();
    write(data, bytes);
  }

  void finish() {
    if (fsync(descriptor_) != 0) fail();
    const int descriptor = descriptor_;
    descriptor_ = -1;
    if (close(descriptor) != 0) fail();
  }

 private:
  [[noreturn]] void fail() const {
    const int code = errno;
    throw EnvironmentError(
        "{}: cannot be written ({}){}", path_.string(), std::strerror(code),
        code == ENOSPC || code == EDQUOT ? ". Try: free disk space, or another --output" : "");
  }

  std::filesystem::path path_;
  int descriptor_;
};

namespace {

/// The entry of a tensor whose bytes begin at `offset`, which moves behind them.
Json header_entry(const std::string& name, const at::Tensor& tensor, uint64_t& offset) {
  const StoredType* type = find_stored_type(tensor.scalar_type());
  if (type == nullptr) throw InternalError("a safetensors file: {} has a type without a name", name);
  const uint64_t begin = offset;
  offset += tensor.nbytes();
  return {{"dtype", type->name}, {"shape", tensor.sizes().vec()}, {"data_offsets", {begin, offset}}};
}

Json empty_header() { return {{"__metadata__", {{"format", "pt"}}}}; }

}  // namespace

struct SafetensorsAppender::Impl {
  DurableFile file;
  uint64_t room;  ///< bytes of the header
  Json header = empty_header();
  uint64_t offset = 0;
};

SafetensorsAppender::SafetensorsAppender(const std::filesystem::path& path, int64_t most)
    : impl_(new Impl{DurableFile(path), static_cast<uint64_t>((most + 1) * kHeaderBytes)}) {
  impl_->file.write(&impl_->room, sizeof impl_->room);
  const std::string blank(impl_->room, ' ');
  impl_->file.write(blank.data(), blank.size());
}

SafetensorsAppender::~SafetensorsAppender() = default;

void SafetensorsAppender::add(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor dense = tensor.detach().cpu().contiguous();
  impl_->header[name] = header_entry(name, dense, impl_->offset);
  impl_->file.write(dense.const_data_ptr(), dense.nbytes());
}

void SafetensorsAppender::finish() {
  const std::string text = impl_->header.dump();
  if (text.size() > impl_->room) {
    throw InternalError("SafetensorsAppender: {} bytes of names, room for {}", text.size(), impl_->room);
  }
  impl_->file.write_at(text.data(), text.size(), sizeof impl_->room);
  impl_->file.finish();
}

void write_safetensors_file(const std::filesystem::path& path,
                            const std::map<std::string, at::Tensor>& tensors) {
  write_safetensors_file(path, tensors, [&](const std::string& name) { return tensors.at(name); });
}

void write_safetensors_file(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& plan,
                            const std::function<at::Tensor(const std::string& name)>& take) {
  Json header = empty_header();
  uint64_t offset = 0;
  for (const auto& [name, tensor] : plan) header[name] = header_entry(name, tensor, offset);
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the tensors then start at a multiple of 8
  const uint64_t length = text.size();
  DurableFile file(path);
  file.write(&length, sizeof length);
  file.write(text.data(), text.size());
  for (const auto& [name, tensor] : plan) {
    const at::Tensor dense = take(name).detach().cpu().contiguous();
    if (dense.nbytes() != tensor.nbytes()) {
      throw InternalError("write_safetensors_file: {} has another size than was planned", name);
    }
    file.write(dense.const_data_ptr(), dense.nbytes());
  }
  file.finish();
}

void write_text_durably(const std::filesystem::path& path, const std::string& text) {
  DurableFile file(path);
  file.write(text.data(), text.size());
  file.finish();
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

}  // namespace ropescope
