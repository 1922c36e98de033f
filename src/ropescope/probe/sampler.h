// Sampling of q and k: the protocol of ID-Align (arXiv 2505.21465), figure 3: some texts, a few random
// query-key pairs for each layer of each text, taken before rotation. Beside it moments and distance
// profiles.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/models/decoder.h"
#include "ropescope/models/vlm.h"
#include "ropescope/probe/picks.h"
#include "ropescope/probe/samples.h"
#include "ropescope/probe/texts.h"

namespace ropescope {

struct SampleOptions {
  DrawRule draw;
  std::vector<int64_t> layers, heads;  ///< empty: all (layers_to_sample); heads are query heads
  std::optional<PickList> picks;       ///< taken instead of a draw, wherever they are
  bool moments = false;                ///< of `layers` x `heads`, without the tokens of draw.skip_first
  bool profile = false;                ///< of `layers` x `heads`, without the tokens of draw.skip_first
  int64_t tokens_per_pass = 2048;      ///< texts packed into one forward pass
  int64_t tokens_per_wave = 16384;     ///< of streamed weights: tokens that wait together for each layer

  /// Throws UsageError for options that cannot be met by this model.
  void validate(const DecoderConfig& config) const;
};

/// Embeddings of a text with pictures, whose pixels are read for that.
using EmbedTextMedia = std::function<MediaEmbeddings(const TextMedia& media)>;

class ForwardRun;
class SampleCollector;

/// Runs texts through a decoder up to q and k of the last layer that is needed. They are taken where positions enter:
/// after a q/k norm that comes before the rotation, and before the rotation. Pairs depend on the seed, the text's number
/// and the layer only; vectors do not depend on packing beyond rounding.
/// A text with pictures goes alone, with the checkpoint's own position ids and all that its pictures bring along.
/// The work is cut into waves, after each of which what was taken may be written down. With weights in memory a wave is
/// one pass; with streamed weights it is as many passes as `tokens_per_wave` allows, which share each layer's weights.
class SampleRun {
 public:
  /// `configs`: the decoder's, each with bases of its own, which gives one set of samples each; empty: its own alone.
  /// `embed`: needed where texts have pictures; called once for each of a pass. Decoder and texts outlive this. Throws UsageError (layers_to_sample), InputError (picks outside their text).
  SampleRun(const Decoder& decoder, const TextSet& texts, const SampleOptions& options,
            std::vector<DecoderConfig> configs = {}, EmbedTextMedia embed = nullptr);
  ~SampleRun();
  SampleRun(const SampleRun&) = delete;
  SampleRun& operator=(const SampleRun&) = delete;

  size_t waves() const { return waves_.size(); }
  /// Layers that the passes of a wave go through; run_wave calls `on_step` after each.
  int64_t steps(size_t wave) const;
  void run_wave(size_t wave, const std::function<void()>& on_step = {});
  /// After all waves, one for each of `configs`. Throws NumericsError (non-finite q or k).
  std::vector<Samples> result() const;
  /// What the waves so far have given, by dataset name. The tensors are the run's own: a later run with the same inputs
  /// that gets their numbers back goes on with the next wave.
  std::vector<std::pair<std::string, at::Tensor>> state() const;

 private:
  struct Pass {
    size_t pack, collector;
  };
  void plan_waves();
  std::unique_ptr<ForwardRun> begin(const Pass& pass);

  const Decoder& decoder_;
  const TextSet& texts_;
  SampleOptions options_;
  EmbedTextMedia embed_;
  std::vector<std::unique_ptr<SampleCollector>> collectors_;
  std::vector<std::vector<int64_t>> packs_;  // texts that share a pass
  std::vector<std::vector<Pass>> waves_;
};

/// All of it at once.
Samples sample_texts(const Decoder& decoder, const TextSet& texts, const SampleOptions& options,
                     EmbedTextMedia embed = nullptr);

}  // namespace ropescope
