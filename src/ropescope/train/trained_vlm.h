// A vision-language model and its conversations, with pictures read ahead.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/models/vlm.h"
#include "ropescope/train/bad_rows.h"
#include "ropescope/train/conversation_rows.h"
#include "ropescope/train/image_loader.h"
#include "ropescope/train/trained_model.h"
#include "ropescope/train/vlm_model.h"

namespace ropescope {

class TrainedVlm : public TrainedModel {
 public:
  struct Settings {
    std::filesystem::path image_folder;
    int64_t max_length = 0;  ///< tokens of a row with its pictures; 0: never cut
    ModelLossOptions loss;
    /// Tensors of the checkpoint that the model never reads (a tower's last layer), for its checkpoints.
    std::map<std::string, at::Tensor> unused_weights;
  };

  /// `vlm`, `tokenizer`, `loader` and `bad` must live as long. Throws UnsupportedModel for a family whose pictures do not
  /// stand alone among the tokens (Gemma 3, whose newlines around a picture melt with those of the text).
  TrainedVlm(Vlm& vlm, std::vector<ConversationRow> rows, const Tokenizer& tokenizer, ImageLoader& loader,
             BadRows& bad, Settings settings);

  std::vector<TensorSlot> slots() override;
  std::vector<TensorSlot> saved_slots() override { return slots_to_save(slots(), settings_.loss); }
  void set_weight_access(const WeightAccessPointer& access) override {
    vlm_.decoder.access = vlm_.eyes.tower.access = access;
  }
  void after_load() override;
  std::map<std::string, at::Tensor> unused_weights() const override { return settings_.unused_weights; }
  int64_t rows() const override { return static_cast<int64_t>(rows_.size()); }
  /// Of the text, as the original sampler counts.
  std::vector<int64_t> lengths() const override;
  RowTotals totals() const override;
  std::string fingerprint() const override { return ropescope::fingerprint(rows_); }
  std::string row_name(int64_t row) const override { return rows_.at(static_cast<size_t>(row)).name; }
  /// Rows whose pictures cannot be read are bad: they are left out whenever they come.
  Trainer::Micro micro(const std::vector<int64_t>& rows) override;
  void prefetch(const std::vector<int64_t>& rows) override;

  const Vlm& vlm() const { return vlm_; }
  /// The model as a pass sees it now, its adapters applied.
  Vlm adapted() const { return with_adapters(vlm_, settings_.loss); }
  /// A row with its pictures, as a micro-batch has it. Throws InputError for pictures that cannot be read.
  VlmRow ready_row(int64_t row);

 private:
  std::vector<std::filesystem::path> files_of(const ConversationRow& row) const;
  std::vector<int64_t> written(const MediaPlan& plan) const;
  void write_pictures(VlmRow& row) const;
  VlmRow with_items(int64_t row, std::vector<MediaItem> items) const;
  MediaPlan largest_picture() const;

  Vlm& vlm_;
  MediaMarks marks_;
  std::vector<ConversationRow> rows_;
  const Tokenizer& tokenizer_;
  ImageLoader& loader_;
  BadRows& bad_;
  Settings settings_;
};

/// Tensors of a checkpoint's tower that `vlm` has no use for, by the names that its checkpoints have.
std::map<std::string, at::Tensor> unused_tower_weights(const Checkpoint& checkpoint, Vlm& vlm);

}  // namespace ropescope
