// A decoder and its rows of text.
#pragma once

#include <string>
#include <vector>

#include "ropescope/models/decoder.h"
#include "ropescope/train/text_model.h"
#include "ropescope/train/text_rows.h"
#include "ropescope/train/trained_model.h"

namespace ropescope {

class TrainedDecoder : public TrainedModel {
 public:
  /// `decoder` must live as long. `pad_id` fills up rows of different lengths.
  TrainedDecoder(Decoder& decoder, std::vector<TextRow> rows, int64_t pad_id, ModelLossOptions options)
      : decoder_(decoder), rows_(std::move(rows)), pad_id_(pad_id), options_(std::move(options)) {}

  std::vector<TensorSlot> slots() override;
  std::vector<TensorSlot> saved_slots() override { return slots_to_save(slots(), options_); }
  void set_weight_access(const WeightAccessPointer& access) override { decoder_.access = access; }
  void after_load() override;
  int64_t rows() const override { return static_cast<int64_t>(rows_.size()); }
  std::vector<int64_t> lengths() const override;
  RowTotals totals() const override;
  std::string fingerprint() const override { return ropescope::fingerprint(rows_); }
  /// The model as a pass sees it now, its adapters applied.
  Decoder adapted() const { return with_adapters(decoder_, options_); }
  const TextRow& row(int64_t row) const { return rows_.at(static_cast<size_t>(row)); }
  std::string row_name(int64_t row) const override { return rows_.at(static_cast<size_t>(row)).name; }
  Trainer::Micro micro(const std::vector<int64_t>& rows) override;

 private:
  Decoder& decoder_;
  std::vector<TextRow> rows_;
  int64_t pad_id_;
  ModelLossOptions options_;
};

}  // namespace ropescope
