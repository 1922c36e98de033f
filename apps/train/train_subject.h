// What `ropescope train` trains: a model and its rows, by what the flags and the model's folder say.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "ropescope/models/vlm.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/train/bad_rows.h"
#include "ropescope/train/checkpoints.h"
#include "ropescope/train/image_loader.h"
#include "ropescope/train/optimizer.h"
#include "ropescope/train/trained_model.h"

#include "train/train_settings.h"

namespace ropescope::app::train {

class TrainSubject {
 public:
  /// Reads data and weights. `log`: where bad rows are named; empty: nowhere.
  TrainSubject(const TrainSettings& settings, at::Device device, std::filesystem::path log);

  TrainedModel& model() { return *model_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<ModelFile>& files() const { return files_; }
  const BadRows& bad_rows() const { return bad_; }

 private:
  void load_text(const TrainSettings& settings, const LoadOptions& load);
  void load_vlm(const TrainSettings& settings, const LoadOptions& load);

  BadRows bad_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<Decoder> decoder_;
  std::optional<Vlm> vlm_;
  std::unique_ptr<ImageLoader> loader_;
  std::unique_ptr<TrainedModel> model_;
  std::vector<Parameter> parameters_;
  std::vector<ModelFile> files_;
};

}  // namespace ropescope::app::train
