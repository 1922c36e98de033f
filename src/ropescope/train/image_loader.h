// Pictures decoded and cut into tiles or patches ahead of time, on threads of their own. What comes out depends on the
// files only, never on threads or order.
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

#include "ropescope/inputs/picture_reader.h"
#include "ropescope/vision/image.h"

namespace ropescope {

class ImageLoader {
 public:
  /// `workers`: threads; 0: pictures are read when they are asked for.
  ImageLoader(PictureReader reader, const DecodeOptions& decode, int workers);
  ~ImageLoader();
  ImageLoader(const ImageLoader&) = delete;
  ImageLoader& operator=(const ImageLoader&) = delete;

  /// Begins to read the images of something called `key`; nothing if that is under way already.
  void prefetch(int64_t key, const std::vector<std::filesystem::path>& files);
  /// The pictures of `key`, those of one prompt, read now if they were not asked for before; forgets them. Without
  /// pixel_values, which take four times the room: PictureReader::normalised makes them. Throws InputError for a file that
  /// is no image.
  std::vector<MediaItem> take(int64_t key, const std::vector<std::filesystem::path>& files);

  const PictureReader& reader() const { return reader_; }

 private:
  using Images = std::vector<MediaItem>;
  Images read(const std::vector<std::filesystem::path>& files) const;
  void work();

  PictureReader reader_;
  DecodeOptions decode_;
  std::unordered_map<int64_t, std::future<Images>> pending_;  // of the thread that asks
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::packaged_task<Images()>> tasks_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ropescope
