// Images decoded and cut into tiles ahead of time, on threads of their own. What comes out depends on the
// file only, never on threads or order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/vision/image.h"
#include "ropescope/vision/preprocess.h"

namespace ropescope {

/// An image before normalisation, a quarter of the size that the tower gets.
struct TiledImage {
  at::Tensor tiles;  ///< uint8 [n, 3, S, S], thumbnail first
  AnyresGeometry geometry;
};

class ImageLoader {
 public:
  /// `workers`: threads; 0: images are read when they are asked for. Throws InputError for settings without
  /// anyres tiles.
  ImageLoader(PreprocessSettings settings, const DecodeOptions& decode, int workers);
  ~ImageLoader();
  ImageLoader(const ImageLoader&) = delete;
  ImageLoader& operator=(const ImageLoader&) = delete;

  /// Begins to read the images of something called `key`; nothing if that is under way already.
  void prefetch(int64_t key, const std::vector<std::filesystem::path>& files);
  /// The images of `key`, read now if they were not asked for before; forgets them. Throws InputError for a
  /// file that is no image.
  std::vector<TiledImage> take(int64_t key, const std::vector<std::filesystem::path>& files);

  const PreprocessSettings& settings() const { return settings_; }

 private:
  using Images = std::vector<TiledImage>;
  Images read(const std::vector<std::filesystem::path>& files) const;
  void work();

  PreprocessSettings settings_;
  DecodeOptions decode_;
  std::unordered_map<int64_t, std::future<Images>> pending_;  // of the thread that asks
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::packaged_task<Images()>> tasks_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ropescope
