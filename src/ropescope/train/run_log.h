// What a run tells others while it goes on: the same numbers in the forms that viewers of many runs read.
//   tensorboard   DIR/tensorboard/events.out.tfevents.*: scalars, pictures, and what the run is as text (event_file.h)
//   jsonl         DIR/log.jsonl, an object a step, and DIR/log_header.json, what the run is
// Names of numbers are those of curves.h5 with a slash less: train/loss, train/learning_rate, train/grad_norm,
// train/tokens_per_second. A run that is resumed goes on behind the step that it resumes: no step is there twice.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/json.h"
#include "ropescope/train/curves.h"
#include "ropescope/train/event_file.h"

namespace ropescope {

struct RunLogForms {
  bool tensorboard = false, jsonl = false;
  bool any() const { return tensorboard || jsonl; }
};
/// "tensorboard", "jsonl", a list of them. Throws UsageError.
RunLogForms parse_log_forms(const std::vector<std::string>& names);

class RunLog {
 public:
  /// Into the folder of a run that has made `step` steps (-1: it begins); later ones that are there go. `header`: what
  /// the run is, an object of parts, each a text of its own in TensorBoard. Throws InputError, EnvironmentError.
  RunLog(const std::filesystem::path& folder, const RunLogForms& forms, int64_t step, const Json& header);

  /// The numbers of a step, at once on their way to the file.
  void add(const Curves::Point& point);
  /// A PNG file under a name such as "attention/map".
  void picture(int64_t step, const std::string& name, const std::filesystem::path& png);
  /// Waits until all of it is on the disk.
  void sync() const;

 private:
  std::unique_ptr<EventFile> events_;
  std::unique_ptr<DurableFile> lines_;
};

}  // namespace ropescope
