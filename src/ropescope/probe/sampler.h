// Sampling of q and k: the protocol of ID-Align (arXiv 2505.21465), figure 3: some texts, a few random
// query-key pairs for each layer of each text, taken before rotation. Beside it moments and distance
// profiles.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
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

/// What texts give in layers, by name; on the CPU.
using TakenTensors = std::map<std::string, at::Tensor>;
/// Gets a tensor that the texts of a pass gave. Names begin with text and layer.
using KeepTaken = std::function<void(size_t pass, const std::string& name, const at::Tensor& tensor)>;

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

  /// Passes of texts, each made once for every one of `configs`.
  size_t passes() const { return packs_.size(); }
  int64_t tokens_of_pass(size_t pass) const;
  int64_t tokens_of_all() const;
  /// Cuts waves anew, out of these passes alone; at first they hold all.
  void choose(const std::vector<size_t>& passes);

  size_t waves() const { return waves_.size(); }
  /// Of passes(), in their order.
  std::vector<size_t> passes_of(size_t wave) const;
  /// Layers that the passes of a wave go through; run_wave calls `on_step` after each.
  int64_t steps(size_t wave) const;
  void run_wave(size_t wave, const std::function<void()>& on_step = {}) { run_wave(wave, on_step, {}); }
  /// The same without adding up: `keep` gets what add() is given later, here or in another process. For one of `configs`.
  void run_wave(size_t wave, const std::function<void()>& on_step, const KeepTaken& keep);
  /// What a pass gave. All passes one after the other give the bits of run_wave. Throws InputError for tensors that are not
  /// of this pass.
  void add(size_t pass, const TakenTensors& taken);
  /// Tensors of a pass at the most.
  int64_t most_tensors(size_t pass) const;
  /// After all waves, one for each of `configs`. Throws NumericsError (non-finite q or k).
  std::vector<Samples> result() const;
  /// What the waves so far have given, by dataset name. The tensors are the run's own: a later run with the same inputs
  /// that gets their numbers back goes on with the next wave.
  std::vector<std::pair<std::string, at::Tensor>> state() const;

 private:
  struct Pass {
    size_t pack, collector;
  };
  std::unique_ptr<ForwardRun> begin(const Pass& pass, const KeepTaken& keep);

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
