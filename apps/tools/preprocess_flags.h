// Flags and printed lines of `ropescope preprocess`, for preprocess.cpp and preprocess_media.cpp.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "command.h"
#include "inputs/image_input.h"

namespace ropescope::app::preprocess {

struct PreprocessFlags {
  std::optional<std::string> model, preset, pinpoints, image, video, sizes, output;
  std::optional<int64_t> frames, min_pixels, max_pixels;
  std::optional<double> fps;
  bool nested = false;
  DecodeFlags decode;

  void bind(Flags& flags);
};

/// The words of a list separated by commas. Throws UsageError naming `flag`.
std::vector<std::string> split_names(const std::string& text, const char* flag);
/// The sizes of --sizes, width and height.
std::vector<std::array<int64_t, 2>> parse_sizes(const std::string& text);
/// The result file of --output, with the images or clips `names` and the files of --model as inputs.
std::unique_ptr<ResultWriter> open_output(const PreprocessFlags& flags, const Invocation& invocation,
                                          const std::vector<std::string>& names);

/// Lines of the result as they come: JSON objects, CSV or a table.
class Report {
 public:
  /// `sample`: an object of the kind that follows, whose keys are the columns.
  Report(const CommonSettings& settings, const Json& sample);

  /// `name`: the file, or "-".
  void add(const Json& geometry, const std::string& name);

 private:
  void print_cell(const std::string& text) const;

  const CommonSettings& settings_;
  std::vector<std::string> columns_;
  bool first_ = true;
};

/// Whether the flags mean one of the families of vision/media_processor.h; then run_media does the work.
bool wants_media(const PreprocessFlags& flags);
void run_media(const PreprocessFlags& flags, const Invocation& invocation);

}  // namespace ropescope::app::preprocess
