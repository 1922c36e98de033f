// Flags of `ropescope train`, and what a run is made of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/train/optimizer.h"
#include "ropescope/train/sampler.h"
#include "ropescope/train/text_model.h"
#include "ropescope/train/text_rows.h"
#include "ropescope/train/trainer.h"

#include "command.h"

namespace ropescope::app {

struct TrainFlags {
  std::filesystem::path model, data;
  TextRowOptions rows;
  Sampler::Settings sampler;
  std::vector<std::string> trained, frozen;
  std::vector<ParameterGroup> groups;
  AdamW::Settings adam;
  TrainerSettings trainer;  ///< without the schedule's steps
  ModelLossOptions loss;
  int64_t max_steps = 0, epochs = 1;
  double warmup_ratio = 0.0;
};

std::vector<po::options_description> train_options();

/// Throws UsageError for values out of range.
TrainFlags read_train_flags(const Arguments& arguments, const CommonSettings& common);

/// The flags that change a run's numbers, for its checkpoints.
Json train_config(const Arguments& arguments, int64_t total_steps);

}  // namespace ropescope::app
