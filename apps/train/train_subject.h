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
#include "ropescope/train/lora.h"
#include "ropescope/train/optimizer.h"
#include "ropescope/train/trained_decoder.h"
#include "ropescope/train/trained_vlm.h"

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
  const Adapters* adapters() const { return adapters_.get(); }  ///< null: none

  const DecoderConfig& decoder_config() const { return vlm_ ? vlm_->decoder.config : decoder_->config; }
  /// The decoder as a pass sees it now.
  Decoder decoder() const { return reading_ ? reading_->adapted() : seeing_->adapted().decoder; }
  TrainedVlm* seeing() { return seeing_; }  ///< null: a model without eyes
  /// The ids of a row without pictures.
  std::vector<int64_t> text_of(int64_t row);

 private:
  void load_text(const TrainSettings& settings, const LoadOptions& load);
  void load_vlm(const TrainSettings& settings, const LoadOptions& load);
  /// Makes trainable what the settings say, and the adapters; what a micro-batch's loss needs of it.
  template <typename Model>
  ModelLossOptions prepare(const TrainSettings& settings, Model& model, const Decoder& decoder,
                           const std::string& prefix);

  BadRows bad_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<Decoder> decoder_;
  std::optional<Vlm> vlm_;
  std::unique_ptr<ImageLoader> loader_;
  std::unique_ptr<TrainedModel> model_;
  TrainedDecoder* reading_ = nullptr;  // of model_, whichever it is
  TrainedVlm* seeing_ = nullptr;
  std::shared_ptr<Adapters> adapters_;
  std::vector<Parameter> parameters_;
  std::vector<ModelFile> files_;
};

}  // namespace ropescope::app::train
