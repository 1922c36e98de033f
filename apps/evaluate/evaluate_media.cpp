#include "evaluate/evaluate_media.h"

#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/eval/subtitles.h"
#include "ropescope/vision/video.h"

#include "inputs/clip_input.h"

namespace ropescope::app::evaluate {

namespace {

namespace fs = std::filesystem;

/// Pixels of a picture as the model sees it: after its processor's resize where the family keeps the picture's own proportions
/// (its grid is of patches), else as in the file.
std::array<int64_t, 2> input_size(const PictureReader& reader, const std::array<int64_t, 2>& size_wh) {
  const MediaPlan plan = reader.plan_image(size_wh[0], size_wh[1]);
  if (plan.tiles > 0 || plan.grid_thw[0] == 0 || plan.resized_hw.empty()) return size_wh;
  return {plan.resized_hw.back()[1], plan.resized_hw.back()[0]};
}

/// The subtitles of each clip, read once.
class Subtitles {
 public:
  Subtitles(fs::path folder, std::optional<double> fps) : folder_(std::move(folder)), fps_(fps) {}

  std::string of(const Json& doc, const std::vector<eval::ClipPart>& clips) {
    const std::optional<fs::path> file = file_of(doc);
    if (!file) return eval::kNoSubtitles;
    if (clips.size() != 1) throw InputError("--subtitles: expected one clip, found {}", clips.size());
    const std::string key = file->string() + '\n' + clips.front().key();
    if (const auto known = texts_.find(key); known != texts_.end()) return known->second;
    constexpr uint64_t kMostBytes = uint64_t{1} << 26;
    const auto lines = eval::parse_subtitles(read_file(*file, kMostBytes), file->string());
    std::error_code ignored;
    const bool is_folder = fs::is_directory(clips.front().file, ignored);
    const auto clip = open_clip(clips.front().file, is_folder ? fps_ : std::nullopt);
    return texts_.emplace(key, eval::shown_subtitles(lines, clip->total_frames(), clip->fps())).first->second;
  }

 private:
  /// `subtitle_path`, which must be there if it is named; else subtitle/<videoID>.srt, where there is one.
  std::optional<fs::path> file_of(const Json& doc) const {
    if (json_has(doc, "subtitle_path")) return folder_ / json_string(doc, "subtitle_path", "doc");
    if (!json_has(doc, "videoID")) return std::nullopt;
    const fs::path file = folder_ / "subtitle" / (json_string(doc, "videoID", "doc") + ".srt");
    std::error_code ignored;
    return fs::is_regular_file(file, ignored) ? std::optional(file) : std::nullopt;
  }

  fs::path folder_;
  std::optional<double> fps_;
  std::map<std::string, std::string> texts_;
};

}  // namespace

void choose_boxes(const std::optional<VlmConfig>& vlm, EvaluateRun& run) {
  if (!run.benchmark.has_boxes || run.rules.boxes != eval::BoxScale::kAuto) return;
  run.rules.boxes = vlm ? eval::box_scale_of_family(vlm->family->name) : eval::BoxScale::kUnit;
  log_info("boxes: {} (--boxes names another scale)", eval::box_scale_name(run.rules.boxes));
}

int64_t longest_answer(const EvaluateRun& run) {
  auto* const longest = run.benchmark.longest_answer;
  return longest != nullptr ? longest(run.rules) : run.benchmark.max_new_tokens;
}

void complete_records(std::shared_ptr<const PictureReader> reader, std::optional<double> fps,
                      EvaluateRun& run) {
  eval::Records* const records = run.records.get();
  if (run.benchmark.has_boxes) {
    const eval::BoxScale scale = run.rules.boxes;
    records->complete_with([reader = std::move(reader), records, scale](int64_t i, Json& doc) {
      doc["box_scale"] = eval::box_scale_name(scale);
      if (scale != eval::BoxScale::kPixels || !reader) return;
      const std::vector<std::string> pictures = records->pictures(i);
      if (pictures.size() != 1) throw InputError("expected one picture, found {}", pictures.size());
      doc["input_size"] = input_size(*reader, records->picture_size(pictures.front()));
    });
  } else if (run.rules.subtitles) {
    const auto subtitles = std::make_shared<Subtitles>(records->folder(), fps);
    records->complete_with([subtitles, records](int64_t, Json& doc) {
      if (json_has(doc, "subtitles")) return;
      doc["subtitles"] = subtitles->of(doc, eval::clips_of(doc, records->folder()));
    });
  }
}

std::function<MediaItem(const eval::ClipPart& clip)> clip_reader(std::shared_ptr<const PictureReader> reader,
                                                                 std::optional<double> fps) {
  if (!reader) return nullptr;
  return [reader = std::move(reader), fps](const eval::ClipPart& part) {
    std::string name = part.file.string();
    if (part.start || part.end) {
      FrameSampling sampling = reader->sampling();
      const OpenedClip opened = opened_clip(name, fps, sampling);
      const eval::PartFrames frames =
          eval::frames_of_part(part, opened.clip->total_frames(), opened.clip->fps(), opened.sampling, name);
      return reader->video(opened.clip->frames(frames.indices), frames.within);
    }
    const SampledClip read = sampled_clip(name, fps, reader->sampling());
    return reader->video(read.clip->frames(read.sampled.indices), read.sampled);
  };
}

}  // namespace ropescope::app::evaluate
