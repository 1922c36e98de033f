#include "ropescope/vision/video.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/vision/image.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

/// Whether name `a` comes before `b`: letter by letter, numbers by their value (frame2 before frame10).
bool before_by_number(const std::string& a, const std::string& b) {
  const auto digits_from = [](const std::string& text, size_t at) {
    size_t end = at;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end])) != 0) ++end;
    return end;
  };
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    const size_t i_end = digits_from(a, i), j_end = digits_from(b, j);
    if (i_end > i && j_end > j) {
      const auto value = [](const std::string& text, size_t from, size_t end) {
        while (from + 1 < end && text[from] == '0') ++from;
        return text.substr(from, end - from);
      };
      const std::string x = value(a, i, i_end), y = value(b, j, j_end);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      i = i_end;
      j = j_end;
    } else {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
    }
  }
  return a.size() - i != b.size() - j ? a.size() - i < b.size() - j : a < b;
}

bool is_picture_name(const fs::path& path) {
  std::string end = path.extension().string();
  std::transform(end.begin(), end.end(), end.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* known : {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}) {
    if (end == known) return true;
  }
  return false;
}

class FrameFolder : public Clip {
 public:
  FrameFolder(const fs::path& folder, double fps) {
    name_ = folder.string();
    fps_ = fps;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      if (entry.is_regular_file() && is_picture_name(entry.path())) files_.push_back(entry.path());
      if (static_cast<int64_t>(files_.size()) > kMostClipFrames) {
        throw InputError("{}: expected at most {} pictures", name_, kMostClipFrames);
      }
    }
    if (files_.empty()) throw InputError("{}: expected pictures (PNG, JPEG, ...), found none", name_);
    std::sort(files_.begin(), files_.end(), [](const fs::path& a, const fs::path& b) {
      return before_by_number(a.filename().string(), b.filename().string());
    });
    for (size_t i = 0; i < files_.size(); ++i) seconds_.push_back(static_cast<double>(i) / fps);
    const at::Tensor first = read_one(0);
    height_ = first.size(0);
    width_ = first.size(1);
  }

  std::vector<at::Tensor> frames(const std::vector<int64_t>& indices) override {
    check_indices(indices);
    std::vector<at::Tensor> result;
    int64_t last = -1;
    for (const int64_t index : indices) {
      const int64_t wanted = std::min(index, total_frames() - 1);
      result.push_back(wanted == last ? result.back() : read_one(static_cast<size_t>(wanted)));
      last = wanted;
    }
    return result;
  }

 private:
  at::Tensor read_one(size_t i) const {
    DecodeOptions options;
    options.most_pixels = kMostFramePixels;
    at::Tensor picture = read_image(files_[i], options).rgb_HW3;
    if (width_ != 0 && (picture.size(0) != height_ || picture.size(1) != width_)) {
      throw InputError("{}: expected {}x{} pixels as in the first frame, found {}x{}", files_[i].string(),
                       width_, height_, picture.size(1), picture.size(0));
    }
    return picture;
  }

  std::vector<fs::path> files_;
};

}  // namespace

double Clip::drift() const {
  double worst = 0.0;
  for (size_t i = 0; i < seconds_.size(); ++i) {
    worst = std::max(worst, std::abs(seconds_[i] - static_cast<double>(i) / fps_));
  }
  return worst;
}

void Clip::check_indices(const std::vector<int64_t>& indices) const {
  if (!std::is_sorted(indices.begin(), indices.end()) || (!indices.empty() && indices.front() < 0)) {
    throw InternalError("{}: expected indices of frames that do not fall", name_);
  }
  const auto count = static_cast<int64_t>(indices.size());
  if (count > kMostClipBytes / std::max<int64_t>(3 * width_ * height_, 1)) {
    throw InputError("{}: {} frames of {}x{} take more than {} bytes. Ask for fewer frames a second", name_,
                     count, width_, height_, kMostClipBytes);
  }
}

std::unique_ptr<Clip> clips::open_frame_folder(const fs::path& path, double fps) {
  return std::make_unique<FrameFolder>(path, fps);
}

std::unique_ptr<Clip> open_clip(const fs::path& path, std::optional<double> fps) {
  if (fps && !(*fps >= 1e-3 && *fps <= 1e4)) {
    throw UsageError("{}: expected 0.001 to 10000 frames a second, found {}", path.string(), *fps);
  }
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    if (!fps)
      throw UsageError("{}: a folder of frames does not say how many there are a second: give it",
                       path.string());
    return clips::open_frame_folder(path, *fps);
  }
  if (!fs::is_regular_file(path, ignored)) {
    throw InputError("{}: expected a video file or a folder of frames, found neither", path.string());
  }
  return clips::open_video_file(path, fps);
}

}  // namespace ropescope
