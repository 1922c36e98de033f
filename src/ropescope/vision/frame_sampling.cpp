#include "ropescope/vision/frame_sampling.h"

#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

/// Numbers of frames that a rate gives, within the settings' bounds.
double wanted_frames(double total, double fps, const FrameSampling& sampling, double highest) {
  const double wanted = total / fps * sampling.rate;
  return std::min({std::max(wanted, static_cast<double>(sampling.min_frames)), highest, total});
}

std::vector<int64_t> even_indices(int64_t total, double fps, const FrameSampling& sampling) {
  const int64_t highest = std::min(sampling.max_frames, total) / sampling.group * sampling.group;
  const double wanted =
      wanted_frames(static_cast<double>(total), fps, sampling, static_cast<double>(highest));
  const auto count = static_cast<int64_t>(wanted) / sampling.group * sampling.group;
  if (count == 0) return {};
  const double step = static_cast<double>(total) / static_cast<double>(count);
  // As many steps as the reference's range makes of this: where frames / step is a hair above a whole number, one more.
  const auto steps = static_cast<int64_t>(std::ceil(static_cast<double>(total) / step));
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < steps; ++i) {
    // Kept in float32 before it is cut off, as the reference does.
    indices.push_back(static_cast<int64_t>(static_cast<float>(static_cast<double>(i) * step)));
  }
  return indices;
}

std::vector<int64_t> end_to_end_indices(int64_t total, double fps, const FrameSampling& sampling) {
  const auto all = static_cast<double>(total);
  const double wanted = std::trunc(all / fps * sampling.rate);
  const auto count =
      static_cast<int64_t>(std::min({std::max(wanted, static_cast<double>(sampling.min_frames)),
                                     static_cast<double>(sampling.max_frames), all}));
  const double step = count > 1 ? (all - 1.0) / static_cast<double>(count - 1) : 0.0;
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i) {
    const double place = i + 1 == count && count > 1 ? all - 1.0 : static_cast<double>(i) * step;
    indices.push_back(static_cast<int64_t>(std::nearbyint(place)));
  }
  return indices;
}

std::vector<int64_t> per_second_indices(int64_t total, double fps, const FrameSampling& sampling) {
  const int64_t last = total - 1;
  const double duration = std::nearbyint(static_cast<double>(last) / fps) + 1.0;
  std::vector<int64_t> indices;
  const auto add = [&](double place) {
    const auto index = std::min(last, static_cast<int64_t>(std::ceil(place)));
    if (indices.empty() || indices.back() != index) indices.push_back(index);
  };
  // No more places than this are walked through; a clip has fewer frames.
  constexpr double kMostPlaces = 1 << 24;
  if (std::min(duration, sampling.max_duration) * sampling.rate > kMostPlaces) return {};
  const bool is_long = duration > sampling.max_duration;
  const auto count =
      static_cast<int64_t>(std::floor(std::min(duration, sampling.max_duration) * sampling.rate));
  if (is_long && count >= total) {
    for (int64_t i = 0; i < total; ++i) indices.push_back(i);
  } else if (is_long) {
    const double step = count > 1 ? duration / static_cast<double>(count - 1) : 0.0;
    for (int64_t i = 0; i < count; ++i) add(static_cast<double>(i) * step * fps);
  } else {
    for (int64_t i = 0; i < count && (indices.empty() || indices.back() < last); ++i) {
      add(static_cast<double>(i) * fps / sampling.rate);
    }
  }
  if (indices.size() % 2 == 1) indices.push_back(indices.back());
  return indices;
}

}  // namespace

double SampledFrames::sampled_fps() const {
  return static_cast<double>(indices.size()) / static_cast<double>(total) * fps;
}

double SampledFrames::seconds(size_t i) const { return static_cast<double>(indices.at(i)) / fps; }

SampledFrames sample_frames(int64_t total, double fps, const FrameSampling& sampling,
                            const std::string& what) {
  constexpr double kLowestRate = 1e-3, kHighestRate = 1e4;
  if (total < 1 || total > kMostClipFrames) {
    throw InputError("{}: expected a clip of 1 to {} frames, found {}", what, kMostClipFrames, total);
  }
  if (!(fps >= kLowestRate && fps <= kHighestRate)) {
    throw InputError("{}: expected {} to {} frames a second, found {}", what, kLowestRate, kHighestRate, fps);
  }
  if (!(sampling.rate >= kLowestRate && sampling.rate <= kHighestRate)) {
    throw InputError("{}: expected to be asked for {} to {} frames a second, found {}", what, kLowestRate,
                     kHighestRate, sampling.rate);
  }
  if (sampling.group < 1 || sampling.min_frames < 1 || sampling.max_frames < sampling.min_frames ||
      !(sampling.max_duration > 0.0)) {
    throw InputError(
        "{}: expected 1 <= min_frames <= max_frames and a positive duration, found {}, {} and {}", what,
        sampling.min_frames, sampling.max_frames, sampling.max_duration);
  }
  SampledFrames result{{}, total, fps};
  const bool all = !sampling.sample;
  if (all && total <= kMostSampledFrames) {
    for (int64_t i = 0; i < total; ++i) result.indices.push_back(i);
  } else if (!all) {
    switch (sampling.rule) {
      case SamplingRule::kEven:
        result.indices = even_indices(total, fps, sampling);
        break;
      case SamplingRule::kEnds:
        result.indices = end_to_end_indices(total, fps, sampling);
        break;
      case SamplingRule::kPerSecond:
        result.indices = per_second_indices(total, fps, sampling);
        break;
    }
    if (result.indices.empty()) {
      throw InputError(
          "{}: {} frames at {} a second, asked for {}: expected enough of them for one step of {}, and no more than 2^24 "
          "places",
          what, total, fps, sampling.rate, sampling.group);
    }
  }
  const size_t kept = all ? static_cast<size_t>(total) : result.indices.size();
  if (kept > static_cast<size_t>(kMostSampledFrames)) {
    throw InputError("{}: expected at most {} frames for a model, found {}. Ask for fewer frames a second",
                     what, kMostSampledFrames, kept);
  }
  return result;
}

}  // namespace ropescope
