// Pictures at their own resolution: Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5, GLM-4.1V. A picture is brought near its own
// size, both sides multiples of patch x merge and the area between two bounds, and cut into patches; merge x merge of them
// make one token.
//   grid_thw   groups of frames, rows and columns of PATCHES
//   order      group of frames, then merge blocks row by row, inside a block its patches row by row
//   a patch    [channel][frame of the group][row][column]; a picture fills the group, an odd last frame is repeated
#include <algorithm>
#include <array>
#include <cmath>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/parallel.h"
#include "ropescope/vision/tilings/tiling.h"

namespace ropescope {

namespace native_rules {

namespace {

using namespace tiling_parts;

bool is_glm(const MediaSettings& settings) { return settings.family == "glm4v"; }
/// Qwen3-VL and its successor: a text with the time before each group of frames.
bool has_timestamps(const MediaSettings& settings) {
  return settings.family == "qwen3_vl" || settings.family == "qwen3_5";
}
/// Whether the bounds of a clip are those of all its frames together.
bool bounds_whole_clip(const MediaSettings& settings) { return is_glm(settings) || has_timestamps(settings); }

/// Python's round: ties to even.
double round_even(double value) { return std::nearbyint(value); }

/// The size that a picture of height x width is resized to. `frames` 0: the two-dimensional form; else areas count
/// `frames` times and a side below the factor is enlarged first.
std::array<int64_t, 2> fitted_hw(double height, double width, int64_t frames, double lowest, double highest,
                                 const MediaSettings& settings) {
  const auto factor = static_cast<double>(settings.patch * settings.merge);
  double depth = 1.0, rounded_depth = 1.0;
  if (frames > 0) {
    const auto group = static_cast<double>(settings.temporal_patch);
    depth = static_cast<double>(frames);
    rounded_depth = round_even(depth / group) * group;
    if (height < factor || width < factor) {
      const double scale = std::max(factor / height, factor / width);
      height = std::trunc(height * scale);
      width = std::trunc(width * scale);
    }
  }
  double h = round_even(height / factor) * factor, w = round_even(width / factor) * factor;
  if (rounded_depth * h * w > highest) {
    const double beta = std::sqrt(depth * height * width / highest);
    h = std::max(factor, std::floor(height / beta / factor) * factor);
    w = std::max(factor, std::floor(width / beta / factor) * factor);
  } else if (rounded_depth * h * w < lowest) {
    const double beta = std::sqrt(lowest / (depth * height * width));
    h = std::ceil(height * beta / factor) * factor;
    w = std::ceil(width * beta / factor) * factor;
  }
  return {static_cast<int64_t>(h), static_cast<int64_t>(w)};
}

void refuse_narrow(int64_t width, int64_t height, const MediaSettings& settings) {
  constexpr int64_t kMostAspect = 200;
  if (std::max(width, height) > kMostAspect * std::min(width, height)) {
    throw InputError("{}x{} pixels: {} takes pictures whose longer side is at most {} times the shorter",
                     width, height, settings.family, kMostAspect);
  }
}

MediaPlan base_plan(int64_t width, int64_t height, const std::array<int64_t, 2>& resized_hw, int64_t groups,
                    const MediaSettings& settings) {
  MediaPlan plan;
  plan.size_wh = {width, height};
  plan.resized_hw = {resized_hw};
  plan.grid_thw = {groups, resized_hw[0] / settings.patch, resized_hw[1] / settings.patch};
  plan.cells =
      whole_cells(plan.size_wh, plan.grid_thw[1] / settings.merge, plan.grid_thw[2] / settings.merge);
  plan.placeholder = settings.words.placeholder;
  return plan;
}

MediaRun frames_run(const MediaPlan& plan, int64_t groups, const MediaSettings& settings) {
  MediaRun run =
      grid_run(MediaRun::Role::kFrames, plan.grid_thw[1] / settings.merge, plan.grid_thw[2] / settings.merge);
  run.t = groups;
  run.tokens *= groups;
  return run;
}

MediaPlan plan_image(int64_t width, int64_t height, bool /*one_of_several*/, const MediaSettings& settings) {
  refuse_narrow(width, height, settings);
  const auto resized = fitted_hw(
      static_cast<double>(height), static_cast<double>(width), is_glm(settings) ? settings.temporal_patch : 0,
      static_cast<double>(settings.min_pixels), static_cast<double>(settings.max_pixels), settings);
  MediaPlan plan = base_plan(width, height, resized, 1, settings);
  plan.runs = {
      grid_run(MediaRun::Role::kWhole, plan.grid_thw[1] / settings.merge, plan.grid_thw[2] / settings.merge)};
  return plan;
}

/// The largest area of all frames together: a frame's share is at most 768 tokens, but never much below the lower bound.
double capped_pixels(double frames, const MediaSettings& settings) {
  const auto factor = static_cast<double>(settings.patch * settings.merge);
  const double share =
      std::min(768.0 * factor * factor, static_cast<double>(settings.video_max_pixels) / frames);
  return std::max(share, std::trunc(1.05 * static_cast<double>(settings.video_min_pixels))) * frames;
}

MediaPlan plan_video(const ClipShape& clip, const MediaSettings& settings) {
  refuse_narrow(clip.width, clip.height, settings);
  const auto frames = static_cast<int64_t>(clip.frames.indices.size());
  if (frames < 1 || (bounds_whole_clip(settings) && frames < settings.temporal_patch)) {
    throw InputError("a clip of {} frames: {} takes at least {}", frames, settings.family,
                     bounds_whole_clip(settings) ? settings.temporal_patch : 1);
  }
  double highest = static_cast<double>(settings.video_max_pixels);
  if (settings.cap_pixels_per_frame) highest = capped_pixels(static_cast<double>(frames), settings);
  const auto resized = fitted_hw(static_cast<double>(clip.height), static_cast<double>(clip.width),
                                 bounds_whole_clip(settings) ? frames : 0,
                                 static_cast<double>(settings.video_min_pixels), highest, settings);
  const int64_t groups = ceil_div(frames, settings.temporal_patch);
  MediaPlan plan = base_plan(clip.width, clip.height, resized, groups, settings);
  plan.kind = MediaKind::kVideo;
  plan.frames = frames;
  plan.second_per_grid = static_cast<double>(settings.temporal_patch) / clip.frames.sampled_fps();
  for (int64_t group = 0; group < groups; ++group) {
    const auto first = static_cast<size_t>(group * settings.temporal_patch);
    const auto last =
        std::min(first + static_cast<size_t>(settings.temporal_patch), clip.frames.indices.size()) - 1;
    plan.seconds.push_back(is_glm(settings) ? clip.frames.seconds(first)
                                            : (clip.frames.seconds(first) + clip.frames.seconds(last)) / 2.0);
  }
  if (!bounds_whole_clip(settings)) {
    plan.placeholder = settings.words.video;
    plan.runs = {frames_run(plan, groups, settings)};
    return plan;
  }
  if (!is_glm(settings)) plan.placeholder = settings.words.video;
  const MediaTokens& words = settings.words;
  for (const double seconds : plan.seconds) {
    MediaRun run = frames_run(plan, 1, settings);
    if (is_glm(settings)) {
      run.before = plan.after + words.start;
      plan.after = fmt::format("{}{}", words.end, static_cast<int64_t>(seconds));
    } else {
      run.before = fmt::format("{}<{:.1f} seconds>{}", plan.after, seconds, words.start);
      plan.after = words.end;
    }
    plan.runs.push_back(std::move(run));
  }
  return plan;
}

MediaPlan plan_grid(MediaKind kind, const std::array<int64_t, 3>& grid_thw, const MediaSettings& settings) {
  const auto [groups, rows, columns] = grid_thw;
  if (rows % settings.merge != 0 || columns % settings.merge != 0 ||
      (kind == MediaKind::kImage && groups != 1)) {
    throw InputError("a grid of {}x{}x{} patches: expected rows and columns in multiples of {}{}", groups,
                     rows, columns, settings.merge,
                     kind == MediaKind::kImage ? ", and one group of frames" : "");
  }
  MediaPlan plan = base_plan(columns * settings.patch, rows * settings.patch,
                             {rows * settings.patch, columns * settings.patch}, groups, settings);
  plan.kind = kind;
  if (kind == MediaKind::kImage) {
    plan.runs = {grid_run(MediaRun::Role::kWhole, rows / settings.merge, columns / settings.merge)};
    return plan;
  }
  plan.frames = groups * settings.temporal_patch;
  if (!is_glm(settings)) plan.placeholder = settings.words.video;
  if (bounds_whole_clip(settings)) {
    plan.runs.assign(static_cast<size_t>(groups), frames_run(plan, 1, settings));
  } else {
    plan.runs = {frames_run(plan, groups, settings)};
  }
  return plan;
}

at::Tensor cut(const std::vector<at::Tensor>& frames, const MediaPlan& plan, const MediaSettings& settings) {
  const int64_t groups = plan.grid_thw[0], rows = plan.grid_thw[1], columns = plan.grid_thw[2];
  const int64_t p = settings.patch, m = settings.merge, depth = settings.temporal_patch;
  const int64_t height = rows * p, width = columns * p;
  const at::Tensor patches = at::empty({groups * rows * columns, 3 * depth * p * p}, at::kByte);
  uint8_t* out = patches.mutable_data_ptr<uint8_t>();
  const auto count = static_cast<int64_t>(frames.size());
  for (int64_t frame = 0; frame < groups * depth; ++frame) {
    const at::Tensor resized =
        resize_image(frames[static_cast<size_t>(std::min(frame, count - 1))], width, height, settings.filter);
    const uint8_t* in = resized.const_data_ptr<uint8_t>();
    const int64_t group = frame / depth, place = frame % depth;
    parallel_for_each(rows * columns, [&](int64_t i) {
      const int64_t block = i / (m * m), inside = i % (m * m);
      const int64_t row = block / (columns / m) * m + inside / m,
                    column = block % (columns / m) * m + inside % m;
      uint8_t* patch = out + (group * rows * columns + i) * 3 * depth * p * p;
      for (int64_t c = 0; c < 3; ++c) {
        uint8_t* plane = patch + (c * depth + place) * p * p;
        for (int64_t y = 0; y < p; ++y) {
          const uint8_t* pixel = in + ((row * p + y) * width + column * p) * 3 + c;
          for (int64_t x = 0; x < p; ++x) plane[y * p + x] = pixel[3 * x];
        }
      }
    });
  }
  return patches;
}

MediaSettings defaults(const std::string& family) {
  MediaSettings settings;
  settings.family = family;
  settings.mean = kClipMeans;
  settings.std = kClipStds;
  settings.words = {
      "<|image_pad|>", "<|video_pad|>", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "", ""};
  settings.min_pixels = 56 * 56;
  settings.max_pixels = 28 * 28 * 1280;
  settings.video_min_pixels = 128 * 28 * 28;
  settings.video_max_pixels = 768 * 28 * 28;
  settings.sampling.rule = SamplingRule::kEven;
  settings.sampling.sample = false;
  if (has_timestamps(settings)) {
    settings.video_min_pixels = 128 * 32 * 32;
    settings.video_max_pixels = 768 * 32 * 32;
    settings.sampling.rule = SamplingRule::kEnds;
    settings.sampling.sample = true;
  } else if (is_glm(settings)) {
    settings.words = {"<|image|>",        "<|video|>", "<|image|>", "<|begin_of_image|>",
                      "<|end_of_image|>", "",          ""};
    settings.min_pixels = settings.video_min_pixels = 112 * 112;
    settings.max_pixels = 28 * 28 * 15000;
    settings.video_max_pixels = 28 * 28 * 2 * 30000;
    settings.sampling.rule = SamplingRule::kPerSecond;
    settings.sampling.sample = true;
  }
  return settings;
}

MediaSettings preset(const std::string& name) {
  if (name == "glm4v") {
    MediaSettings settings = defaults("glm4v");
    settings.max_pixels = 28 * 28 * 12288;
    return settings;
  }
  if (name == "qwen3-vl") {
    MediaSettings settings = defaults("qwen3_vl");
    settings.patch = 16;
    settings.mean = settings.std = kHalf;
    settings.min_pixels = 256 * 256;
    settings.max_pixels = 4096 * 4096;
    settings.video_min_pixels = 4096;
    settings.video_max_pixels = 25'165'824;
    return settings;
  }
  MediaSettings settings = defaults(name == "qwen2-vl" ? "qwen2_vl" : "qwen2_5_vl");
  settings.max_pixels = 28 * 28 * 16384;
  return settings;
}

/// The bounds of one file: `size` with the names of edges, but areas, or the older min_pixels and max_pixels.
void read_bounds(const Json& file, const std::string& what, int64_t& lowest, int64_t& highest) {
  static const Json nothing = Json::object();
  const Json* size = json_find(file, "size");
  lowest = json_integer_or(size != nullptr ? *size : nothing, "shortest_edge", lowest, what);
  highest = json_integer_or(size != nullptr ? *size : nothing, "longest_edge", highest, what);
  lowest = json_integer_or(file, "min_pixels", lowest, what);
  highest = json_integer_or(file, "max_pixels", highest, what);
}

void read(const ProcessorFiles& files, MediaSettings& settings) {
  const std::string what = files.what;
  static const Json nothing = Json::object();
  const Json* vision = json_find(files.config, "vision_config");
  const Json& tower = vision != nullptr ? *vision : nothing;
  read_bounds(files.image, what, settings.min_pixels, settings.max_pixels);
  // Where there is no file for clips, the one for pictures speaks of both.
  const Json& video = files.video.is_object() ? files.video : files.image;
  const auto agreed = [&](const char* key, const char* tower_key, int64_t fallback) {
    const int64_t of_tower =
        json_integer_or(tower, tower_key, json_integer_or(files.image, key, fallback, what), what);
    const int64_t value = json_integer_or(files.image, key, of_tower, what);
    if (value != of_tower || json_integer_or(video, key, value, what) != value) {
      throw InputError(
          "{}: \"{}\": expected the same number for pictures, clips and the tower, found {} and {}", what,
          key, value, value != of_tower ? of_tower : json_integer_or(video, key, value, what));
    }
    return value;
  };
  settings.patch = agreed("patch_size", "patch_size", settings.patch);
  settings.merge = agreed("merge_size", "spatial_merge_size", settings.merge);
  settings.temporal_patch = agreed("temporal_patch_size", "temporal_patch_size", settings.temporal_patch);
  settings.words.image = settings.words.placeholder = token_text(files, "image_token", settings.words.image);
  settings.words.video = token_text(files, "video_token", settings.words.video);
  if (!is_glm(settings)) {
    settings.words.start = token_text(files, "vision_bos_token", settings.words.start);
    settings.words.end = token_text(files, "vision_eos_token", settings.words.end);
  }
  settings.words.image_start = settings.words.start;
  settings.words.image_end = settings.words.end;
  settings.words.video_start = is_glm(settings) ? "<|begin_of_video|>" : settings.words.start;
  settings.words.video_end = is_glm(settings) ? "<|end_of_video|>" : settings.words.end;
  read_bounds(video, what, settings.video_min_pixels, settings.video_max_pixels);
  settings.cap_pixels_per_frame = json_bool_or(video, "cap_pixels_per_frame", false, what);
  FrameSampling& sampling = settings.sampling;
  sampling.group = settings.temporal_patch;
  sampling.sample = json_bool_or(video, "do_sample_frames", sampling.sample, what);
  sampling.rate = json_number_or(video, "fps", sampling.rate, what);
  sampling.min_frames = json_integer_or(video, "min_frames", sampling.min_frames, what);
  sampling.max_frames = json_integer_or(video, "max_frames", sampling.max_frames, what);
  sampling.max_duration = json_number_or(video, "max_duration", sampling.max_duration, what);
}

void check(const MediaSettings& settings) {
  constexpr int64_t kLargestArea = int64_t{1} << 40;
  check_setting(settings, "patch_size", settings.patch, 1, 256);
  check_setting(settings, "merge_size", settings.merge, 1, 16);
  check_setting(settings, "temporal_patch_size", settings.temporal_patch, 1, 16);
  check_setting(settings, "min_pixels", settings.min_pixels, 1, kLargestArea);
  check_setting(settings, "max_pixels", settings.max_pixels, settings.min_pixels, kLargestArea);
  check_setting(settings, "min_pixels of clips", settings.video_min_pixels, 1, kLargestArea);
  check_setting(settings, "max_pixels of clips", settings.video_max_pixels, settings.video_min_pixels,
                kLargestArea);
  if (settings.cap_pixels_per_frame && !has_timestamps(settings)) {
    throw InputError("{}: \"cap_pixels_per_frame\": expected false for {}, found true", settings.source,
                     settings.family);
  }
}

void report(const MediaPlan& plan, const MediaSettings& /*settings*/, Json& out) {
  out["resized_hw"] = plan.resized_hw.back();
  out["grid_thw"] = plan.grid_thw;
}

}  // namespace

}  // namespace native_rules

extern const Tiling kNativeTiling;
const Tiling kNativeTiling = {
    {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "glm4v"},
    {"qwen2-vl", "qwen2.5-vl", "qwen3-vl", "glm4v"},
    native_rules::preset,
    native_rules::defaults,
    native_rules::read,
    native_rules::check,
    native_rules::plan_image,
    native_rules::plan_video,
    native_rules::plan_grid,
    nullptr,
    native_rules::cut,
    native_rules::report,
    Packing::kPatches,
};

}  // namespace ropescope
