#include "ropescope/eval/clips.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> names_in(const Json& value, const char* column) {
  std::vector<std::string> names;
  for (const Json& item : value.is_array() ? value : Json::array({value})) {
    if (!item.is_string() || item.get_ref<const std::string&>().empty()) {
      throw InputError("\"{}\": expected the name of a clip, or a list of names", column);
    }
    names.push_back(item.get<std::string>());
  }
  return names;
}

/// A number, or a table's cell that holds one.
std::optional<double> seconds_in(const Json& record, const char* column) {
  const Json* value = json_find(record, column);
  if (value == nullptr) return std::nullopt;
  const auto number = value->is_number()   ? std::optional(value->get<double>())
                      : value->is_string() ? parse_float(from_utf8(value->get<std::string>()))
                                           : std::nullopt;
  if (!number || !std::isfinite(*number) || *number < 0) {
    throw InputError("\"{}\": expected seconds, 0 or more, found {}", column, value->dump());
  }
  return number;
}

fs::path file_of_id(const std::string& id, const fs::path& folder) {
  std::error_code ignored;
  for (const fs::path& place : {folder, folder / "data"}) {
    for (const char* ending : {".mp4", ".MP4", ".mkv", ".webm"}) {
      const fs::path file = place / (id + ending);
      if (fs::is_regular_file(file, ignored)) return file;
    }
  }
  throw InputError("\"videoID\": expected {}.mp4 (or .mkv, .webm) in {} or its folder data, found none", id,
                   folder.empty() ? "." : folder.string());
}

}  // namespace

std::string ClipPart::key() const {
  const auto text = [](const std::optional<double>& time) { return time ? fmt::format("{}", *time) : "-"; };
  return fmt::format("{} {} {}", file.string(), text(start), text(end));
}

std::vector<ClipPart> clips_of(const Json& record, const fs::path& folder) {
  std::vector<ClipPart> clips;
  std::error_code ignored;
  for (const char* column : kClipColumns) {
    const Json* value = json_find(record, column);
    if (value == nullptr) continue;
    const bool id = column == kClipColumns.back();
    for (const std::string& name : names_in(*value, column)) {
      const fs::path file = id ? file_of_id(name, folder) : folder / name;
      if (!fs::exists(file, ignored)) throw InputError("{}: no such clip (\"{}\")", file.string(), column);
      clips.push_back({file});
    }
    if (!clips.empty()) break;
  }
  if (clips.empty()) return clips;
  const auto start = seconds_in(record, "start"), end = seconds_in(record, "end");
  if (!start && !end) return clips;
  if (clips.size() > 1)
    throw InputError("\"start\", \"end\": expected one clip with them, found {}", clips.size());
  if (start && end && *start >= *end) {
    throw InputError("\"start\", \"end\": expected a piece of the clip, found {} to {} seconds", *start,
                     *end);
  }
  clips.front().start = start;
  clips.front().end = end;
  return clips;
}

PartFrames frames_of_part(const ClipPart& part, int64_t total, double fps, const FrameSampling& sampling,
                          const std::string& what) {
  constexpr double kSlack = 0.5;  // seconds that published times may lie behind the last frame
  const double length = static_cast<double>(total) / fps;
  if (part.end && *part.end > length + kSlack) {
    throw InputError(
        "{}: expected \"end\" within its {:.4g} seconds, found {}; is the clip cut out already? Then leave out \"start\" and "
        "\"end\"",
        what, length, *part.end);
  }
  // (as times are index / fps: the frames that are shown at a time within the piece)
  const auto first = static_cast<int64_t>(std::ceil(part.start.value_or(0) * fps - 1e-9));
  const int64_t last =
      part.end ? std::min(total - 1, static_cast<int64_t>(std::floor(*part.end * fps + 1e-9))) : total - 1;
  if (first > last) {
    throw InputError("{}: expected frames from second {} on, found {:.4g} seconds", what,
                     part.start.value_or(0), length);
  }
  PartFrames frames;
  frames.within = sample_frames(last - first + 1, fps, sampling, what);
  for (const int64_t index : frames.within.indices) {
    // (an index of `total` means the last frame)
    frames.indices.push_back(first + std::min(index, last - first));
  }
  return frames;
}

}  // namespace ropescope::eval
