#include "ropescope/train/spare_memory.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <mutex>
#include <utility>

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <c10/core/Storage.h>

namespace ropescope {

struct SpareMemory::Pool {
  size_t most = 0;
  std::mutex mutex;
  std::deque<std::unique_ptr<Block>> spare;  // used last: at the end
};

struct SpareMemory::Block {
  at::DataPtr memory;
  size_t bytes = 0;
  std::shared_ptr<Pool> pool = {};  // while it is in use

  static void give_back(void* block) {
    std::unique_ptr<Block> own(static_cast<Block*>(block));
    const std::shared_ptr<Pool> pool = std::move(own->pool);
    const std::lock_guard lock(pool->mutex);
    pool->spare.push_back(std::move(own));
    if (pool->spare.size() > pool->most) pool->spare.pop_front();
  }
};

SpareMemory::SpareMemory(size_t most) : pool_(std::make_shared<Pool>()) { pool_->most = most; }

SpareMemory::~SpareMemory() = default;

at::DataPtr SpareMemory::take(const at::TensorOptions& options, size_t bytes) const {
  if (!options.device().is_cpu()) return c10::GetAllocator(options.device().type())->allocate(bytes);
  std::unique_ptr<Block> block;
  {
    const std::lock_guard lock(pool_->mutex);
    auto& spare = pool_->spare;
    const auto found =
        std::find_if(spare.rbegin(), spare.rend(), [&](const auto& one) { return one->bytes == bytes; });
    if (found != spare.rend()) {
      block = std::move(*found);
      spare.erase(std::next(found).base());
    }
  }
  if (!block) block = std::make_unique<Block>(Block{at::getCPUAllocator()->allocate(bytes), bytes});
  block->pool = pool_;
  void* const data = block->memory.get();
  return {data, block.release(), &Block::give_back, options.device()};
}

at::Tensor SpareMemory::flat(const at::TensorOptions& options, int64_t count) const {
  const size_t bytes = static_cast<size_t>(count) * options.dtype().itemsize();
  const at::Tensor block = at::empty({0}, options);
  return block.set_(c10::Storage(c10::Storage::use_byte_size_t(), bytes, take(options, bytes)), 0, {count},
                    {1});
}

void SpareMemory::clear() const {
  std::deque<std::unique_ptr<Block>> all;
  const std::lock_guard lock(pool_->mutex);
  all.swap(pool_->spare);
}

}  // namespace ropescope
