#include "ropescope/train/flat_unit.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Allocator.h>
#include <c10/core/StorageImpl.h>

#include "ropescope/architectures/llava_names.h"
#include "ropescope/core/errors.h"
#include "ropescope/train/spare_memory.h"

namespace ropescope {

namespace {

constexpr int64_t kAlign = 16;  // numbers: a cache line of float32

int64_t aligned(int64_t count) { return (count + kAlign - 1) / kAlign * kAlign; }

// A tensor of its own over a part of `whole`, with a version counter of its own: what is gathered into the
// storage must not look to autograd like a change of the weights.
at::Tensor window(const at::Tensor& whole, int64_t offset, at::IntArrayRef shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= shape[d];
  }
  at::Tensor part = at::empty({0}, whole.options());
  return part.set_(whole.storage(), offset, shape, strides);
}

}  // namespace

FlatUnit::FlatUnit(std::string name, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                   bool trained, Storage storage, int64_t rank, int64_t world, at::ScalarType used)
    : name_(std::move(name)), trained_(trained), storage_(storage), rank_(rank) {
  if (tensors.empty()) throw InternalError("FlatUnit: expected at least one tensor");
  const at::NoGradGuard no_grad;
  options_ = tensors.front().second.options().requires_grad(false);
  int64_t numbers = 0;
  for (const auto& [entry_name, tensor] : tensors) {
    entries_.push_back({entry_name, tensor, numbers});
    numbers += aligned(tensor.numel());
  }
  slice_size_ = aligned((numbers + world - 1) / world);
  size_ = slice_size_ * world;
  if (storage_ == Storage::kTensors) {
    for (Entry& entry : entries_) entry.tensor.set_data(entry.tensor.clone());
    return;
  }
  full_ = at::zeros({size_}, options_);
  for (size_t i = 0; i < entries_.size(); ++i) {
    at::Tensor& own = entries_[i].tensor;
    const at::Tensor place = window(full_, entries_[i].offset, own.sizes());
    place.copy_(own);
    own.set_data(place);
  }
  slice_ = own_part(full_);
  if (storage_ != Storage::kSlice) return;
  slice_ = slice_.clone();
  if (used != full_.scalar_type()) use(used);
  free();
}

void FlatUnit::use(at::ScalarType type) {
  full_ = at::empty({size_}, options_.dtype(type));
  for (Entry& entry : entries_) entry.tensor.set_data(window(full_, entry.offset, entry.tensor.sizes()));
}

void FlatUnit::allocate(const SpareMemory& memory) {
  if (allocated_) return;
  c10::StorageImpl* storage = full_.storage().unsafeGetStorageImpl();
  storage->set_data_ptr_noswap(memory.take(full_.options(), storage->nbytes()));
  allocated_ = true;
}

void FlatUnit::free() {
  if (!allocated_) return;
  full_.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(at::DataPtr(nullptr, options_.device()));
  allocated_ = false;
}

void FlatUnit::clear_gaps(const at::Tensor& values) const {
  for (size_t i = 0; i < entries_.size(); ++i) {
    const int64_t end = entries_[i].offset + entries_[i].tensor.numel();
    const int64_t next = i + 1 < entries_.size() ? entries_[i + 1].offset : size_;
    if (next > end) values.narrow(0, end, next - end).zero_();
  }
}

at::Tensor FlatUnit::part(const at::Tensor& values, size_t entry) const {
  const at::Tensor& own = entries_[entry].tensor;
  return values.narrow(0, entries_[entry].offset, own.numel()).view(own.sizes());
}

FlatUnit::Range FlatUnit::range(size_t entry) const {
  const int64_t start = entries_[entry].offset, end = start + entries_[entry].tensor.numel();
  const int64_t own = rank_ * slice_size_;
  const int64_t first = std::max(start, own), last = std::min(end, own + slice_size_);
  if (first >= last) return {};
  return {first - start, last - first};
}

at::Tensor FlatUnit::piece(const at::Tensor& values, size_t entry) const {
  const Range found = range(entry);
  if (found.count == 0) return at::empty({0}, values.options());
  return values.narrow(0, entries_[entry].offset + found.first - rank_ * slice_size_, found.count);
}

std::string part_of(const std::string& tensor_name) {
  // What stands before a layer's number in decoders and towers.
  for (const std::string layers : {".layers.", ".blocks.", ".layer."}) {
    const size_t at = tensor_name.find(layers);
    if (at == std::string::npos) continue;
    size_t end = at + layers.size();
    while (end < tensor_name.size() && std::isdigit(static_cast<unsigned char>(tensor_name[end]))) ++end;
    if (end > at + layers.size()) return tensor_name.substr(0, end);
  }
  for (const char* word : {"projector", "embed_tokens", "lm_head"}) {
    const size_t found = tensor_name.find(word);
    if (found != std::string::npos) return tensor_name.substr(0, found + std::string(word).size());
  }
  return "";
}

bool is_layer_part(const std::string& part) {
  return !part.empty() && std::isdigit(static_cast<unsigned char>(part.back()));
}

bool is_tower_tensor(const std::string& name) {
  // (A part's name ends where the next word would begin.)
  return llava_role(name + ".").part == LlavaPart::kTower;
}

bool is_connector_tensor(const std::string& name) {
  return llava_role(name + ".").part == LlavaPart::kProjector || llava_role(name).part == LlavaPart::kNewline;
}

}  // namespace ropescope
