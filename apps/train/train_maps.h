// Where the model that is being trained looks, every some steps: a map of one row's attention as a picture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "ropescope/rope/layout.h"
#include "ropescope/rope/scheme.h"

#include "train/train_subject.h"

namespace ropescope::app::train {

class SampleMaps {
 public:
  /// `row`: the name of a row of the data; empty: the first with a picture, without any the first. `scheme`: that of the
  /// run, else the checkpoint's own ids. Throws UsageError for a row that is not there, InputError for one that cannot be
  /// read.
  SampleMaps(TrainSubject& subject, const TrainSettings& settings, const std::string& row);

  /// The row's tokens, its pictures among them; at most as many as are shown.
  const Layout& layout() const { return layout_; }
  const std::string& row() const { return name_; }

  /// Draws what the token before the row's first target (the one that begins an answer) sees of its pictures, or, where
  /// the row has none, all of a text's first tokens: softmax rows, mean over layers and heads. Changes nothing.
  void draw(int64_t step, const std::filesystem::path& png);

 private:
  void find_row(const std::string& name);
  void draw_picture(int64_t step, const std::filesystem::path& png);
  void draw_text(int64_t step, const std::filesystem::path& png);
  std::string note(int64_t step) const;

  TrainSubject& subject_;
  const TrainSettings& settings_;
  int64_t index_ = 0;
  std::string name_;
  Layout layout_;
  bool pictures_ = false;
};

}  // namespace ropescope::app::train
