#include "ropescope/train/spare_rows.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <mutex>
#include <utility>

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <c10/core/Storage.h>

namespace ropescope {

struct SpareRows::Pool {
  size_t most = 0;
  std::mutex mutex;
  std::deque<std::unique_ptr<Row>> spare;  // used last: at the end
};

struct SpareRows::Row {
  at::DataPtr memory;
  size_t bytes = 0;
  std::shared_ptr<Pool> pool = {};  // while it is in use

  static void give_back(void* row) {
    std::unique_ptr<Row> own(static_cast<Row*>(row));
    const std::shared_ptr<Pool> pool = std::move(own->pool);
    const std::lock_guard lock(pool->mutex);
    pool->spare.push_back(std::move(own));
    if (pool->spare.size() > pool->most) pool->spare.pop_front();
  }
};

SpareRows::SpareRows(size_t most) : pool_(std::make_shared<Pool>()) { pool_->most = most; }

SpareRows::~SpareRows() = default;

at::DataPtr SpareRows::take(const at::TensorOptions& options, size_t bytes) const {
  c10::Allocator* allocator = at::getCPUAllocator();
  if (!options.device().is_cpu()) return c10::GetAllocator(options.device().type())->allocate(bytes);
  std::unique_ptr<Row> row;
  {
    const std::lock_guard lock(pool_->mutex);
    auto& spare = pool_->spare;
    const auto found =
        std::find_if(spare.rbegin(), spare.rend(), [&](const auto& one) { return one->bytes == bytes; });
    if (found != spare.rend()) {
      row = std::move(*found);
      spare.erase(std::next(found).base());
    }
  }
  if (!row) row = std::make_unique<Row>(Row{allocator->allocate(bytes), bytes});
  row->pool = pool_;
  void* const data = row->memory.get();
  return {data, row.release(), &Row::give_back, options.device()};
}

at::Tensor SpareRows::row(const at::TensorOptions& options, int64_t count) const {
  const size_t bytes = static_cast<size_t>(count) * options.dtype().itemsize();
  const at::Tensor row = at::empty({0}, options);
  return row.set_(c10::Storage(c10::Storage::use_byte_size_t(), bytes, take(options, bytes)), 0, {count},
                  {1});
}

void SpareRows::clear() const {
  std::deque<std::unique_ptr<Row>> all;
  const std::lock_guard lock(pool_->mutex);
  all.swap(pool_->spare);
}

}  // namespace ropescope
