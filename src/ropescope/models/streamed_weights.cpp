#include "ropescope/models/streamed_weights.h"

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/Storage.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/blocks/expert_formats.h"
#include "ropescope/weights/loading_memory.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

namespace {

at::TensorOptions options_of(at::ScalarType dtype, at::Device device) {
  return at::TensorOptions().dtype(dtype).device(device);
}

/// A tensor of a shape without memory: whoever reads it before its weights are there reads address 0.
at::Tensor placeholder(const std::vector<int64_t>& shape, at::ScalarType dtype, at::Device device) {
  at::Tensor tensor = at::empty({0}, options_of(dtype, device));
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(shape);
  return tensor;
}

void look_at(const at::Tensor& tensor, const at::Tensor& values) {
  c10::TensorImpl* own = tensor.unsafeGetTensorImpl();
  own->set_storage_keep_dtype(values.storage());
  own->set_storage_offset(values.storage_offset());
}

void forget(const at::Tensor& tensor) {
  c10::TensorImpl* own = tensor.unsafeGetTensorImpl();
  own->set_storage_offset(0);
  own->set_storage_keep_dtype(at::empty({0}, tensor.options()).storage());
}

uint64_t bytes_of(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  uint64_t bytes = c10::elementSize(dtype);
  for (const int64_t extent : shape) bytes *= static_cast<uint64_t>(extent);
  return bytes;
}

/// Of the memory that is left, what weights may take: a pass needs some too.
constexpr double kShareOfMemory = 0.8;

}  // namespace

bool weights_are_streamed(WeightMode mode, at::Device device, at::ScalarType dtype,
                          const WeightBytes& bytes) {
  if (mode != WeightMode::kAuto) return mode == WeightMode::kStreamed;
  const std::optional<uint64_t> left = available_memory();
  if (!device.is_cpu() || !left ||
      static_cast<double>(bytes.fresh) <= kShareOfMemory * static_cast<double>(*left)) {
    return false;
  }
  const auto gib = [](uint64_t count) { return static_cast<double>(count) / (uint64_t{1} << 30); };
  log_info(
      "weights: {:.1f} GiB in {} beside {:.1f} GiB of free memory: streamed from their files, one layer at a time (--weights resident keeps them all)",
      gib(bytes.fresh), dtype_name(dtype), gib(*left));
  return true;
}

StreamedWeights::StreamedWeights(std::shared_ptr<const Checkpoint> checkpoint, at::ScalarType dtype,
                                 at::Device device, double ahead)
    : checkpoint_(std::move(checkpoint)), dtype_(dtype), device_(device), ahead_(ahead) {}

StreamedWeights::~StreamedWeights() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (reader_.joinable()) reader_.join();
}

StreamedWeights::Piece StreamedWeights::piece_of(const TensorSlot& slot) const {
  Piece piece{slot, placeholder(slot.shape, dtype_, device_)};
  const TensorInfo* info = checkpoint_->find(slot.file_name());
  const StoredType* stored = info == nullptr ? nullptr : find_stored_type(info->dtype);
  piece.scaled = checkpoint_->find(slot.name + "_scale_inv") != nullptr;
  piece.lies_ready = device_.is_cpu() && !piece.scaled && stored != nullptr && stored->type == dtype_;
  piece.bytes = piece.lies_ready ? 0 : bytes_of(slot.shape, dtype_);
  return piece;
}

void StreamedWeights::add_part(const std::vector<TensorSlot>& slots) {
  const auto index = static_cast<int64_t>(parts_.size());
  Part& part = parts_.emplace_back();
  for (const TensorSlot& slot : slots) {
    Piece piece = piece_of(slot);
    *slot.target = piece.tensor;
    part_of_[piece.tensor.unsafeGetTensorImpl()] = index;
    part.bytes += piece.bytes;
    part.pieces.push_back(std::move(piece));
  }
}

void StreamedWeights::add_table(const TensorSlot& slot) {
  *slot.target = placeholder(slot.shape, dtype_, device_);
  tables_[slot.target->unsafeGetTensorImpl()] = slot.file_name();
  tables_kept_.push_back(*slot.target);
}

at::Tensor StreamedWeights::buffer_for(const Piece& piece) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto spare = spare_.find(piece.bytes);
    if (spare != spare_.end()) {
      const at::Tensor again = placeholder(piece.slot.shape, dtype_, at::kCPU);
      again.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(spare->second));
      spare_.erase(spare);
      return again;
    }
  }
  return at::empty(piece.slot.shape, options_of(dtype_, at::kCPU));
}

at::Tensor StreamedWeights::fetch(const Piece& piece) {
  // Memory is used again by either thread, whatever the caller's mode.
  const c10::InferenceMode plain(false);
  const at::NoGradGuard no_grad;
  const TensorSlot& slot = piece.slot;
  if (!slot.stored_name.empty()) {
    return checkpoint_->take_rows(slot.stored_name, slot.first_row, slot.shape.at(0), dtype_)
        .contiguous()
        .to(device_);
  }
  if (piece.lies_ready) return checkpoint_->take(slot.name, dtype_);
  if (piece.scaled) {
    return take_scaled(*checkpoint_, slot.name, dtype_).contiguous().to(device_);
  }
  at::Tensor buffer = buffer_for(piece);
  checkpoint_->read(slot.name, buffer);
  if (device_.is_cpu()) return buffer;
  const at::Tensor there = buffer.to(device_);
  const std::lock_guard<std::mutex> lock(mutex_);
  spare_.emplace(piece.bytes, buffer.storage());
  return there;
}

void StreamedWeights::begin(int64_t part) {
  fetching_ = part;
  fetched_.assign(part < 0 ? 0 : parts_[static_cast<size_t>(part)].pieces.size(), at::Tensor());
  next_piece_ = 0;
  fetched_bytes_ = 0;
  needed_now_ = false;
  error_ = nullptr;
}

void StreamedWeights::fetch_ahead() {
#ifdef _OPENMP
  at::internal::lazy_init_num_threads();  // which would set the number of all threads later
  omp_set_num_threads(1);                 // of this thread's own team: the others have arithmetic to do
#endif
  std::unique_lock<std::mutex> lock(mutex_);
  const auto has_work = [&] {
    if (fetching_ < 0 || needed_now_ || error_ || next_piece_ >= fetched_.size()) return false;
    const Part& part = parts_[static_cast<size_t>(fetching_)];
    const auto limit = static_cast<uint64_t>(static_cast<double>(part.bytes) * ahead_);
    return fetched_bytes_ + part.pieces[next_piece_].bytes <= limit;
  };
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || has_work(); });
    if (stop_) return;
    const size_t index = next_piece_++;
    const Piece& piece = parts_[static_cast<size_t>(fetching_)].pieces[index];
    in_flight_ = true;
    lock.unlock();
    at::Tensor tensor;
    std::exception_ptr error;
    try {
      tensor = fetch(piece);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    fetched_[index] = std::move(tensor);
    fetched_bytes_ += piece.bytes;
    error_ = error;
    in_flight_ = false;
    changed_.notify_all();
  }
}

void StreamedWeights::bring(int64_t part) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto idle = [&] { return !in_flight_; };
  if (fetching_ != part) {
    changed_.wait(lock, idle);
    begin(part);
  }
  needed_now_ = true;
  std::vector<Piece>& pieces = parts_[static_cast<size_t>(part)].pieces;
  try {
    while (next_piece_ < pieces.size() && !error_) {
      const size_t index = next_piece_++;
      lock.unlock();
      at::Tensor tensor = fetch(pieces[index]);
      lock.lock();
      fetched_[index] = std::move(tensor);
    }
    changed_.wait(lock, idle);
    if (error_) std::rethrow_exception(error_);
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    changed_.wait(lock, idle);
    begin(-1);
    throw;
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    look_at(pieces[i].tensor, fetched_[i]);
    pieces[i].reusable =
        device_.is_cpu() && pieces[i].bytes > 0 && fetched_[i].storage().nbytes() == pieces[i].bytes;
  }
  const int64_t following = part + 1 < static_cast<int64_t>(parts_.size()) ? part + 1 : -1;
  begin(following);
  if (following >= 0 && ahead_ > 0 && !reader_.joinable()) {
    reader_ = std::thread([this] { fetch_ahead(); });
  }
  lock.unlock();
  changed_.notify_all();
}

void StreamedWeights::acquire(const at::Tensor& weight) {
  if (by_rows(weight)) return;
  const auto found = part_of_.find(weight.unsafeGetTensorImpl());
  if (found == part_of_.end()) return;  // a weight that is always there
  Part& part = parts_[static_cast<size_t>(found->second)];
  if (part.held == 0) {
    try {
      bring(found->second);
    } catch (const c10::Error& error) {
      if (!is_out_of_memory(error)) throw;
      throw EnvironmentError("{}", no_room_for_weights(part.bytes, dtype_, "this machine has left", {}));
    } catch (const std::bad_alloc&) {
      throw EnvironmentError("{}", no_room_for_weights(part.bytes, dtype_, "this machine has left", {}));
    }
  }
  ++part.held;
}

void StreamedWeights::release(const at::Tensor& weight) {
  if (by_rows(weight)) return;
  const auto found = part_of_.find(weight.unsafeGetTensorImpl());
  if (found == part_of_.end()) return;
  Part& part = parts_[static_cast<size_t>(found->second)];
  if (--part.held > 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Piece& piece : part.pieces) {
    c10::Storage memory = piece.tensor.storage();
    forget(piece.tensor);
    // Only what nobody else looks at is written again.
    if (piece.reusable && memory.use_count() == 1) spare_.emplace(piece.bytes, std::move(memory));
  }
}

bool StreamedWeights::by_rows(const at::Tensor& table) const {
  return tables_.count(table.unsafeGetTensorImpl()) > 0;
}

const std::string& StreamedWeights::table_name(const at::Tensor& table) const {
  const auto found = tables_.find(table.unsafeGetTensorImpl());
  if (found == tables_.end()) throw InternalError("streamed weights: rows of a tensor that is no table");
  return found->second;
}

at::Tensor StreamedWeights::rows_between(const at::Tensor& table, int64_t first, int64_t count) const {
  return checkpoint_->take_rows(table_name(table), first, count, dtype_).to(device_);
}

at::Tensor StreamedWeights::rows(const at::Tensor& table, const at::Tensor& ids) const {
  const at::Tensor flat = ids.to(at::kCPU).reshape({-1}).contiguous();
  const int64_t* data = flat.const_data_ptr<int64_t>();
  std::vector<int64_t> each(data, data + flat.numel());
  std::sort(each.begin(), each.end());
  each.erase(std::unique(each.begin(), each.end()), each.end());
  const int64_t width = table.size(-1);
  at::Tensor taken = at::empty({static_cast<int64_t>(each.size()), width}, options_of(dtype_, at::kCPU));
  const std::string& name = table_name(table);
  for (size_t begin = 0; begin < each.size();) {
    size_t end = begin + 1;
    while (end < each.size() && each[end] == each[end - 1] + 1) ++end;
    const auto first = static_cast<int64_t>(begin), count = static_cast<int64_t>(end - begin);
    taken.narrow(0, first, count).copy_(checkpoint_->take_rows(name, each[begin], count, dtype_));
    begin = end;
  }
  at::Tensor places = at::empty_like(flat);
  auto* place = places.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    place[i] = std::lower_bound(each.begin(), each.end(), data[i]) - each.begin();
  }
  std::vector<int64_t> shape(ids.sizes().begin(), ids.sizes().end());
  shape.push_back(width);
  return taken.index_select(0, places).view(shape).to(device_);
}

}  // namespace ropescope
