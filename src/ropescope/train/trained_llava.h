// A LLaVA-NeXT model and its conversations, with images read ahead.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/models/llava.h"
#include "ropescope/train/bad_rows.h"
#include "ropescope/train/conversation_rows.h"
#include "ropescope/train/image_loader.h"
#include "ropescope/train/llava_model.h"
#include "ropescope/train/trained_model.h"

namespace ropescope {

class TrainedLlava : public TrainedModel {
 public:
  struct Settings {
    std::filesystem::path image_folder;
    int64_t max_length = 0;  ///< tokens of a row with its images; 0: never cut
    ModelLossOptions loss;
    /// Tensors of the checkpoint that the model never reads (the tower's last layer), for its checkpoints.
    std::map<std::string, at::Tensor> unused_weights;
  };

  /// `llava`, `loader` and `bad` must live as long.
  TrainedLlava(Llava& llava, std::vector<ConversationRow> rows, ImageLoader& loader, BadRows& bad,
               Settings settings)
      : llava_(llava), rows_(std::move(rows)), loader_(loader), bad_(bad), settings_(std::move(settings)) {}

  std::vector<TensorSlot> slots() override { return llava_slots(llava_); }
  void set_weight_access(const WeightAccessPointer& access) override {
    llava_.decoder.access = llava_.tower.access = access;
  }
  void after_load() override;
  std::map<std::string, at::Tensor> unused_weights() const override { return settings_.unused_weights; }
  int64_t rows() const override { return static_cast<int64_t>(rows_.size()); }
  /// Of the text, as the original sampler counts.
  std::vector<int64_t> lengths() const override;
  RowTotals totals() const override;
  std::string fingerprint() const override { return ropescope::fingerprint(rows_); }
  std::string row_name(int64_t row) const override { return rows_.at(static_cast<size_t>(row)).name; }
  /// Rows whose images cannot be read are bad: they are left out whenever they come.
  Trainer::Micro micro(const std::vector<int64_t>& rows) override;
  void prefetch(const std::vector<int64_t>& rows) override;

 private:
  std::vector<std::filesystem::path> files_of(const ConversationRow& row) const;

  Llava& llava_;
  std::vector<ConversationRow> rows_;
  ImageLoader& loader_;
  BadRows& bad_;
  Settings settings_;
};

/// Tensors of a checkpoint's vision tower that `llava` has no use for, by the names of llava_slots.
std::map<std::string, at::Tensor> unused_tower_weights(const Checkpoint& checkpoint, Llava& llava);

}  // namespace ropescope
