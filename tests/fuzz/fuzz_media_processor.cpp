// The files that say how a model takes pictures and clips, together as one object {"config.json": {...}, ...}, and what follows
// from them: plans of pictures and clips of any size, chosen frames.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "ropescope/core/json.h"
#include "ropescope/vision/media_processor.h"

#include "tests/fuzz/fuzz_target.h"

namespace {

using namespace ropescope;

/// A folder of this process alone, gone with the object.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() /
              ("ropescope-fuzz-folder-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code code;
    std::filesystem::remove_all(path_, code);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

constexpr int64_t kMostTokens = int64_t{1} << 40;

void check_plan(const MediaPlan& plan) {
  int64_t tokens = 0;
  for (const MediaRun& run : plan.runs) {
    if (run.tokens < 1 || run.t < 1 || run.h < 0 || run.w < 0 ||
        run.tokens != run.t * run.h * run.w + run.newlines) {
      throw InternalError("a plan was made whose run has no grid");
    }
    tokens += run.tokens;
  }
  if (plan.runs.empty() || tokens != plan.tokens() || tokens > kMostTokens) {
    throw InternalError("a plan was made of an impossible number of tokens");
  }
}

/// A size or rate of the input, in what the flags of the commands allow.
double number(const Json& json, const char* key, double otherwise) {
  const Json* value = json_find(json, key);
  return value != nullptr && value->is_number() ? value->get<double>() : otherwise;
}

int64_t whole(const Json& json, const char* key, int64_t otherwise) {
  return static_cast<int64_t>(std::clamp(number(json, key, static_cast<double>(otherwise)), -2.0, 1e9));
}

}  // namespace

RS_FUZZ_TARGET(media_processor, bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Json json = parse_json(text, "fuzz");
  if (!json.is_object()) throw InputError("fuzz: expected an object");
  const Folder folder;
  for (const char* name : {"config.json", "processor_config.json", "preprocessor_config.json",
                           "video_preprocessor_config.json", "tokenizer_config.json"}) {
    if (const Json* file = json_find(json, name)) {
      std::ofstream(folder.path() / name) << file->dump(-1, ' ', false, Json::error_handler_t::replace);
    }
  }
  const MediaProcessor processor = read_media_processor(folder.path());
  for (const bool several : {false, true}) {
    check_plan(processor.plan_image(whole(json, "width", 640), whole(json, "height", 427), several));
  }
  if (!processor.takes_video()) return;
  ClipShape clip;
  clip.width = whole(json, "clip_width", 320);
  clip.height = whole(json, "clip_height", 240);
  clip.frames = sample_frames(whole(json, "frames", 90), number(json, "fps", 30),
                              processor.settings().sampling, "fuzz");
  const auto& indices = clip.frames.indices;
  if (indices.empty() || !std::is_sorted(indices.begin(), indices.end()) || indices.front() < 0 ||
      indices.back() > clip.frames.total) {
    throw InternalError("frames were chosen that the clip does not have");
  }
  check_plan(processor.plan_video(clip));
}
