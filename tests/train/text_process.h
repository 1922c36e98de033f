// A run of text training in one process, for tests that stop it, save it and look at what comes back.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/device.h"
#include "ropescope/text/chat_template_file.h"
#include "ropescope/train/trained_decoder.h"
#include "ropescope/train/training_run.h"

namespace ropescope::testing {

inline std::vector<TextRow> made_rows(int64_t vocabulary) {
  std::vector<TextRow> rows;
  for (int64_t i = 0; i < 11; ++i) {
    TextRow row;
    row.name = "row " + std::to_string(i);
    for (int64_t t = 0; t < 5 + i % 4; ++t) row.text.ids.push_back((17 * i + 31 * t) % vocabulary);
    row.text.labels = row.text.ids;
    rows.push_back(row);
  }
  return rows;
}

/// One process's worth of a run.
struct TextProcess {
  /// `folder`: the model's.
  TextProcess(const std::string& folder, const std::string& output, TrainingRunSettings settings = {}) {
    set_threads(1);  // these products are too small to share
    decoder = load_decoder(*open_checkpoint(folder), read_decoder_config(folder), {});
    model.emplace(decoder, made_rows(decoder.config.vocab_size), /*pad_id=*/0, ModelLossOptions{});
    Sampler::Settings order;
    order.micro_batch = 2;
    order.accumulation = 2;
    order.seed = 5;
    sampler.emplace(model->lengths(), order);
    ParameterGroup group;
    group.learning_rate = 2e-3;
    group.weight_decay = 0.01;
    TrainerSettings training;
    training.schedule = {ScheduleKind::kCosine, 12, 2};
    trainer.emplace(AdamW(make_trainable(decoder, {"*"}, {}), {group}, {}), training);
    checkpoints.emplace(std::filesystem::path(output) / "checkpoints", read_model_files(folder));
    curves.emplace(std::filesystem::path(output) / "curves.h5", Provenance{});
    if (settings.total_steps == 0) settings.total_steps = 12;
    settings.log_every = 0;
    settings.config = {{"learning-rate", 2e-3}};
    run.emplace(*model, *sampler, *trainer, *checkpoints, *curves, settings);
  }

  Decoder decoder;
  std::optional<TrainedDecoder> model;
  std::optional<Sampler> sampler;
  std::optional<Trainer> trainer;
  std::optional<Checkpoints> checkpoints;
  std::optional<Curves> curves;
  std::optional<TrainingRun> run;
};

}  // namespace ropescope::testing
