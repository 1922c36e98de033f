// What a training run is made of, by its flags.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/text/chat_template.h"
#include "ropescope/train/adapter_file.h"
#include "ropescope/train/lora.h"
#include "ropescope/train/optimizer.h"
#include "ropescope/train/sampler.h"
#include "ropescope/train/text_model.h"
#include "ropescope/train/text_rows.h"
#include "ropescope/train/trainer.h"
#include "ropescope/vision/anyres.h"
#include "ropescope/vision/image.h"

#include "command.h"
#include "train/train_flags.h"

namespace ropescope::app::train {

struct TrainSettings {
  std::filesystem::path model, vision_tower, data, image_folder;
  std::filesystem::path token_cache;  ///< empty: none
  bool sees = false;                  ///< the model has a vision tower
  bool own_template = false;          ///< conversations go under the checkpoint's own chat template
  TextRowOptions rows;
  int64_t max_bad_rows = 0;
  std::optional<ImageMove> image_move;
  std::optional<PinpointRule> pinpoints;
  std::optional<AlphaRule> alpha;
  ExifRule exif = ExifRule::kIgnore;
  int workers = 0;
  Sampler::Settings sampler;
  std::vector<std::string> trained, frozen;
  bool copies_weights = true;  ///< else the trained ones stay in the checkpoint's map until they are sharded
  std::vector<ParameterGroup> groups;
  AdamW::Settings adam;
  TrainerSettings trainer;  ///< without the schedule's steps
  ModelLossOptions loss;
  std::optional<LoraSettings> lora;
  std::optional<AdapterFile> adapter;  ///< that --lora begins with
  int64_t max_steps = 0, epochs = 1;
  double warmup_ratio = 0.0;
};

/// The parts of a list with commas that are not empty.
std::vector<std::string> words(const std::string& text);

/// The same with the flags that were not given as --stage, the model and what --adapter names want them.
TrainFlags with_stage_defaults(TrainFlags flags, const std::optional<AdapterFile>& adapter);

/// `flags` with all that with_stage_defaults fills; without what --adapter names. Throws UsageError.
TrainSettings read_settings(const TrainFlags& flags, const CommonSettings& common);

/// The flags that change a run's numbers, for its checkpoints; `flags` as for read_settings.
Json train_config(const TrainFlags& flags, const CommonSettings& common, int64_t total_steps);

}  // namespace ropescope::app::train
