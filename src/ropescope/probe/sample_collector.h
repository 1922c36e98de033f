// What a sampling takes of each layer and text, and where it is collected; sampler.h runs the texts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/probe/moments.h"
#include "ropescope/probe/profile.h"
#include "ropescope/probe/sampler.h"
#include "ropescope/rope/rotation.h"

namespace ropescope {

/// The greatest of(layer) over layers with queries and keys.
template <typename Of>
int64_t most_of_layers(const DecoderConfig& config, const Of& of) {
  int64_t most = 0;
  for (const LayerShape& layer : config.layers) {
    if (layer.has_qk()) most = std::max(most, of(layer));
  }
  return most;
}

/// The part of a table for some of its tokens.
RotaryTable tokens_of(const RotaryTable& table, int64_t first, int64_t count);

at::Tensor index_tensor(const std::vector<int64_t>& values, at::Device device = at::kCPU);

/// One sampling: what is wanted of which layer, and what has been taken so far.
class SampleCollector {
 public:
  /// `config`: the decoder's, maybe with other bases. `texts` and `options` outlive this.
  SampleCollector(DecoderConfig config, const TextSet& texts, const SampleOptions& options);

  /// Texts packed into passes; those that nothing is taken of are left out.
  std::vector<std::vector<int64_t>> packs() const;
  const DecoderConfig& config() const { return config_; }
  bool wants_layer(int64_t layer) const { return picks_of_layer_.count(layer) > 0 || measures_layer(layer); }
  /// The last one that anything is taken of.
  int64_t last_layer() const {
    int64_t last = options_.moments || options_.profile ? layers_.back() : 0;
    if (!picks_of_layer_.empty()) last = std::max(last, picks_of_layer_.rbegin()->first);
    return last;
  }
  /// What is wanted of q and k of a text in a layer, before rotation; with the layer's table for its tokens.
  TakenTensors look(int64_t layer, int64_t text, const at::Tensor& q_HTD, const at::Tensor& k_KTD,
                    const RotaryTable& table) const;
  /// Adds it up: for each layer the texts must come in the same order for the same bits, wherever they were looked at.
  void add(int64_t layer, int64_t text, const TakenTensors& taken);
  /// Tensors of a text in all layers at the most.
  int64_t most_tensors() const;
  /// Throws NumericsError for q or k that are not finite.
  Samples result() const;
  /// All that has been collected, by name: to be written, and filled again in a later run.
  std::vector<std::pair<std::string, at::Tensor>> state() const;

 private:
  void choose_layers();
  void collect_picks();
  const LayerFacts& facts(int64_t layer) const { return facts_[static_cast<size_t>(layer)]; }
  /// Query heads of a layer that read one of its keys.
  int64_t group(int64_t layer) const;
  /// Those of the chosen query heads that a layer has.
  std::vector<int64_t> heads_of(int64_t layer) const {
    const auto end = std::lower_bound(heads_.begin(), heads_.end(), config_.layer(layer).heads);
    return {heads_.begin(), end};
  }
  bool measures_layer(int64_t layer) const {
    return (options_.moments || options_.profile) &&
           std::binary_search(layers_.begin(), layers_.end(), layer);
  }
  /// Rows of the pairs that are wanted of a text in a layer.
  std::vector<int64_t> rows_of(int64_t layer, int64_t text) const;
  void look_at_pairs(int64_t layer, int64_t text, const at::Tensor& q_HTD, const at::Tensor& k_KTD,
                     TakenTensors& taken) const;
  void measure(int64_t layer, int64_t text, const at::Tensor& q_HTD, const at::Tensor& k_KTD,
               const RotaryTable& rotary, TakenTensors& taken) const;
  void add_pairs(int64_t layer, int64_t text, const TakenTensors& taken);
  void add_measures(int64_t layer, int64_t text, const TakenTensors& taken);
  void prepare_kinds();
  MomentSet moment_set(const MomentAccumulator& of_q, const MomentAccumulator& of_k,
                       const at::Tensor& text_count) const;
  KindSamples kind_samples() const;

  DecoderConfig config_;
  const SampleOptions& options_;
  std::vector<LayerFacts> facts_;
  const TextSet& texts_;
  std::vector<int64_t> lengths_;
  int64_t model_heads_;  // of the layer that has most
  std::vector<int64_t> heads_, layers_;
  int64_t head_dim_ = 0;  // of all sampled layers
  std::vector<Pick> picks_;
  std::map<int64_t, std::map<int64_t, std::vector<int64_t>>> picks_of_layer_;  // layer -> text -> rows
  at::Tensor pair_q_, pair_k_;
  std::optional<MomentAccumulator> moments_q_, moments_k_;
  std::optional<ProfileAccumulator> profile_;

  /// Of texts with pictures: the same by kind of token and pair; empty where no text has any.
  struct OfKinds {
    std::vector<at::Tensor> visual;  // of each text, [T] bool
    // Of each text and kind: tokens [n] int64 and pairs [T] float64 at each distance, those left out by skip_first apart.
    std::vector<std::vector<at::Tensor>> tokens, pairs;
    std::vector<MomentAccumulator> moments_q, moments_k;
    std::vector<ProfileAccumulator> profiles;
  };
  std::optional<OfKinds> kinds_;
};

}  // namespace ropescope
