// A forward pass that goes layer by layer, so that several can share what a layer costs to bring: weights that are
// streamed from their files are read once for all texts that wait for them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"
#include "ropescope/models/layer.h"

namespace ropescope {

class ForwardRun {
 public:
  /// Embeds the input. `decoder` outlives the run; `input` is read here only, but for its cache. Throws as forward()
  /// (decoder.h) does.
  ForwardRun(const Decoder& decoder, const ForwardInput& input, const ForwardOptions& options = {},
             Taps taps = {});
  ForwardRun(const ForwardRun&) = delete;
  ForwardRun& operator=(const ForwardRun&) = delete;

  int64_t next_layer() const { return next_; }
  /// All layers are through, or the pass was told to stop inside the last one that ran.
  bool finished() const { return stopped_ || next_ == decoder_.config.num_hidden_layers; }
  /// Runs the next layer.
  void step();
  /// All of them under autograd, each to be computed again in the backward pass.
  void run_checkpointed();
  /// After the last step: final norm and logits, as far as they were asked for; nothing of a pass that stopped early.
  ForwardOutput finish();

 private:
  ForwardOutput head() const;
  void add_features(int64_t layer);

  const Decoder& decoder_;
  ForwardOptions options_;
  Taps taps_;
  at::Tensor hidden_;
  std::vector<AddedFeatures> added_;  // on the device of the weights
  DecoderPass pass_;
  int64_t next_ = 0;
  bool stopped_ = false;
};

/// Runs all to their ends, together: each layer's weights are brought once. `on_step` is called after each layer of each
/// run.
void run_together(const Decoder& decoder, const std::vector<std::unique_ptr<ForwardRun>>& runs,
                  const std::function<void()>& on_step = {});

}  // namespace ropescope
