#include "ropescope/weights/safetensors_writer.h"

#include <string_view>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/weights/safetensors.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

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

/// Bytes of a header that has room for `most` tensors.
uint64_t header_room(const std::filesystem::path& path, int64_t most) {
  constexpr int64_t kEach = SafetensorsAppender::kHeaderBytes;
  constexpr auto kMost = static_cast<int64_t>(kMostSafetensorsHeader) / kEach - 1;
  if (most > kMost) {
    throw UsageError(
        "{}: expected at most {} tensors, whose names fit into the header of a file, found up to {}. Try: fewer texts a pass "
        "(--tokens-per-pass)",
        path.string(), kMost, most);
  }
  return static_cast<uint64_t>((most + 1) * kEach);
}

std::string_view bytes_of(const at::Tensor& dense) {
  return {static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()};
}

std::string_view bytes_of(const uint64_t& number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

}  // namespace

struct SafetensorsAppender::Impl {
  uint64_t room;  ///< bytes of the header
  DurableFile file;
  Json header = empty_header();
  uint64_t offset = 0;
};

SafetensorsAppender::SafetensorsAppender(const std::filesystem::path& path, int64_t most)
    : impl_(new Impl{header_room(path, most), DurableFile(path)}) {
  impl_->file.write(bytes_of(impl_->room));
  impl_->file.write(std::string(impl_->room, ' '));
}

SafetensorsAppender::~SafetensorsAppender() = default;

void SafetensorsAppender::add(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor dense = tensor.detach().cpu().contiguous();
  impl_->header[name] = header_entry(name, dense, impl_->offset);
  impl_->file.write(bytes_of(dense));
}

void SafetensorsAppender::finish() {
  const std::string text = impl_->header.dump();
  if (text.size() > impl_->room) {
    throw InternalError("SafetensorsAppender: {} bytes of names, room for {}", text.size(), impl_->room);
  }
  impl_->file.write_at(text, sizeof impl_->room);
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
  file.write(bytes_of(length));
  file.write(text);
  for (const auto& [name, tensor] : plan) {
    const at::Tensor dense = take(name).detach().cpu().contiguous();
    if (dense.nbytes() != tensor.nbytes()) {
      throw InternalError("write_safetensors_file: {} has another size than was planned", name);
    }
    file.write(bytes_of(dense));
  }
  file.finish();
}

}  // namespace ropescope
