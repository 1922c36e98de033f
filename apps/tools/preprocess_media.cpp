// Pictures and clips of the families of vision/media_processor.h.
#include <algorithm>
#include <filesystem>

#include "ropescope/core/errors.h"
#include "ropescope/vision/media_processor.h"

#include "inputs/clip_input.h"
#include "tools/preprocess_flags.h"

namespace ropescope::app::preprocess {

namespace {

bool is_media_preset(const std::string& name) {
  const std::vector<std::string> names = media_preset_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

MediaSettings media_settings(const PreprocessFlags& flags) {
  MediaSettings settings = flags.preset ? media_preset(*flags.preset) : read_media_settings(*flags.model);
  const bool clips = flags.frames || flags.video;
  const bool native = settings.max_pixels > 0;
  if ((flags.min_pixels || flags.max_pixels || clips) && !native) {
    throw UsageError(
        "--min-pixels, --max-pixels, --frames, --video: expected a family of Qwen-VL or GLM-V, found {}",
        settings.family);
  }
  if (flags.nested && settings.family != "llava_onevision") {
    throw UsageError("--nested: expected llava_onevision, found {}", settings.family);
  }
  if (flags.pinpoints) throw UsageError("--pinpoints: expected LLaVA-NeXT, found {}", settings.family);
  if (flags.min_pixels) (clips ? settings.video_min_pixels : settings.min_pixels) = *flags.min_pixels;
  if (flags.max_pixels) (clips ? settings.video_max_pixels : settings.max_pixels) = *flags.max_pixels;
  return settings;
}

/// A clip of which every frame is kept, at the rate that the settings ask for.
ClipShape clip_of(int64_t width, int64_t height, int64_t frames, const MediaSettings& settings) {
  FrameSampling all = settings.sampling;
  all.sample = false;
  return {width, height, sample_frames(frames, all.rate, all, "--frames")};
}

void run_sizes(const PreprocessFlags& flags, const MediaProcessor& processor, Report& report) {
  const auto sizes = parse_sizes(*flags.sizes);
  for (const auto& [width, height] : sizes) {
    Json line;
    try {
      const MediaPlan plan =
          flags.frames ? processor.plan_video(clip_of(width, height, *flags.frames, processor.settings()))
                       : processor.plan_image(width, height, flags.nested && sizes.size() > 1);
      line = processor.report(plan);
    } catch (const InputError& error) {
      line = {{"size_wh", {width, height}}, {"error", error.what()}};
    }
    report.add(line, "-");
  }
}

void write_item(ResultWriter& writer, const std::string& group, const MediaProcessor& processor,
                const MediaItem& item, const std::string& file) {
  writer.write(group + (item.plan.tiles > 0 ? "/tiles" : "/patches"), item.pixels_u8);
  for (const auto& [name, tensor] : processor.tensors({item})) writer.write(group + "/" + name, tensor);
  writer.attribute(group, "name", std::filesystem::path(file).filename().string());
}

void run_pictures(const PreprocessFlags& flags, const MediaProcessor& processor,
                  const std::vector<std::string>& names, ResultWriter* writer, Report& report) {
  const DecodeOptions decode = flags.decode.options();
  const bool several = flags.nested && names.size() > 1;
  // One at a time: only one lies in memory.
  for (size_t i = 0; i < names.size(); ++i) {
    const at::Tensor rgb = read_rgb(names[i], decode);
    MediaPlan plan = processor.plan_image(rgb.size(1), rgb.size(0), several);
    if (writer != nullptr) {
      const std::string group = fmt::format("/image/{}", i);
      writer->write(group + "/rgb", rgb);
      write_item(*writer, group, processor, processor.image(rgb, several), names[i]);
    }
    report.add(processor.report(plan), names[i]);
  }
}

/// What is said of a clip beside its geometry.
Json clip_report(const MediaProcessor& processor, const MediaPlan& plan, const Clip& clip,
                 const SampledFrames& sampled) {
  Json line = processor.report(plan);
  line["frames"] = plan.frames;
  line["total_frames"] = clip.total_frames();
  line["source_fps"] = clip.fps();
  line["sampled_fps"] = sampled.sampled_fps();
  line["second_per_grid"] = plan.second_per_grid;
  line["frame_index"] = sampled.indices;
  line["seconds"] = plan.seconds;
  return line;
}

void run_clips(const PreprocessFlags& flags, const MediaProcessor& processor,
               const std::vector<std::string>& names, ResultWriter* writer, Report& report) {
  for (size_t i = 0; i < names.size(); ++i) {
    const auto [clip, sampled] = sampled_clip(names[i], flags.fps, processor.settings().sampling);
    const MediaPlan plan = processor.plan_video({clip->width(), clip->height(), sampled});
    if (writer != nullptr) {
      const std::string group = fmt::format("/video/{}", i);
      write_item(*writer, group, processor, processor.video(clip->frames(sampled.indices), sampled),
                 names[i]);
      writer->write(group + "/frame_index", at::tensor(sampled.indices, at::kLong));
    }
    report.add(clip_report(processor, plan, *clip, sampled), names[i]);
  }
}

}  // namespace

bool wants_media(const PreprocessFlags& flags) {
  if (flags.model.has_value() == flags.preset.has_value()) {
    throw UsageError("expected one of --model and --preset; see --help");
  }
  if (flags.preset) return is_media_preset(*flags.preset);
  std::error_code ignored;
  const auto config = std::filesystem::path(*flags.model) / "config.json";
  return std::filesystem::is_regular_file(config, ignored) && has_media_processor(read_json_file(config));
}

void run_media(const PreprocessFlags& flags, const Invocation& invocation) {
  const MediaProcessor processor(media_settings(flags));
  const auto sample = [&] {
    const MediaPlan plan = processor.plan_image(64, 64, flags.nested);
    if (!flags.video) return processor.report(plan);
    Json line = processor.report(plan);
    for (const char* key : {"frames", "source_fps", "sampled_fps", "second_per_grid"}) line[key] = 0;
    return line;
  };
  Report report(invocation.settings, sample());
  if (flags.sizes) {
    run_sizes(flags, processor, report);
    return;
  }
  const bool clips = flags.video.has_value();
  const auto names = clips ? split_names(*flags.video, "video") : split_names(*flags.image, "image");
  const auto writer = open_output(flags, invocation, names);
  if (writer) writer->attribute(clips ? "/video" : "/image", "settings", processor.settings().source);
  if (clips) {
    run_clips(flags, processor, names, writer.get(), report);
  } else {
    run_pictures(flags, processor, names, writer.get(), report);
  }
  if (writer) writer->commit();
}

}  // namespace ropescope::app::preprocess
