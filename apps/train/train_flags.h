// Flags of `ropescope train`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "flags.h"

namespace ropescope::app::train {

/// --shard, --timeout, --ranks, --memory-report.
struct ProcessFlags {
  std::string shard = "none";
  double timeout = 600;
  int64_t ranks = 0;
  bool memory_report = false;

  void bind(Flags& flags);
};

struct TrainFlags {
  std::string model, data, data_form = "auto", labels = "intended", image_move = "auto", exif = "ignore";
  std::optional<std::string> vision_tower, stage, token_cache, pinpoints, alpha, scheme;
  int64_t max_bad_rows = 0, workers = 2;

  int64_t max_steps = 0, epochs = 1, batch_size = 8;
  std::string loss_weighting = "micro-batches", schedule = "cosine", freeze, sampler = "random";
  double min_learning_rate = 0, warmup_ratio = 0.03, weight_decay = 0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, clip_norm = 1;
  bool packing = false, checkpoint_layers = false;
  std::optional<std::string> lora, adapter;

  // Absent ones are filled by with_stage_defaults.
  std::optional<std::string> image_folder, chat_template, trained, group_learning_rates;
  std::optional<int64_t> max_length, accumulation;
  std::optional<double> learning_rate;

  std::string output;
  int64_t save_every = 500, keep_last = 0, log_every = 10, log_maps = 0;
  std::optional<std::string> resume, log, log_row;
  bool allow_change = false, dry_run = false;
  double tflops = 0;

  ProcessFlags processes;

  void bind(Flags& flags);
};

}  // namespace ropescope::app::train
