#include "ropescope/train/image_loader.h"

#include <system_error>
#include <utility>

namespace ropescope {

namespace fs = std::filesystem;

ImageLoader::ImageLoader(PictureReader reader, const DecodeOptions& decode, int workers)
    : reader_(std::move(reader)), decode_(decode) {
  for (int i = 0; i < workers; ++i) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      break;  // fewer threads do it too
    }
  }
}

ImageLoader::~ImageLoader() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    tasks_.clear();
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ImageLoader::work() {
  for (;;) {
    std::packaged_task<Images()> task;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
      if (stop_) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

ImageLoader::Images ImageLoader::read(const std::vector<fs::path>& files) const {
  std::vector<at::Tensor> pictures;
  for (const fs::path& file : files) pictures.push_back(read_image(file, decode_).rgb_HW3);
  Images images = reader_.images(pictures);
  for (MediaItem& image : images) image.pixel_values.reset();
  return images;
}

void ImageLoader::prefetch(int64_t key, const std::vector<fs::path>& files) {
  if (threads_.empty() || pending_.count(key) > 0) return;
  std::packaged_task<Images()> task([this, files] { return read(files); });
  pending_[key] = task.get_future();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

std::vector<MediaItem> ImageLoader::take(int64_t key, const std::vector<fs::path>& files) {
  const auto found = pending_.find(key);
  if (found == pending_.end()) return read(files);
  std::future<Images> images = std::move(found->second);
  pending_.erase(found);
  return images.get();
}

}  // namespace ropescope
