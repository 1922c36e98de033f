// From a scheme and a layout to what each pass of a model needs: rotary tables, and whatever the scheme asks
// of attention beyond rotated queries and keys. Models take these, never a scheme.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/rope/rotation.h"
#include "ropescope/rope/scheme.h"

namespace ropescope {

/// One pass over T tokens that follow `past` others; S = past + T keys are in view. Vectors with one entry
/// serve all layers, else they have one entry a layer.
struct PassEncoding {
  std::vector<RotaryTable> rotary;  ///< of the T tokens; one that does not turn for layers without rotation
  /// float64 [batch or 1, T]: the row of positions that a scale of queries by position goes by; undefined: none is asked.
  at::Tensor positions;
  std::vector<RotaryTable>
      anchored;                 ///< DIPE: of the T queries against keys of the other modality; else empty
  std::vector<uint8_t> visual;  ///< DIPE: [S], 1 for visual tokens; else empty
  std::vector<std::shared_ptr<const AttentionRule>>
      rules;  ///< over the S keys (CCA, PyPE, ALiBi); else empty

  const RotaryTable& table(int64_t layer) const { return of_layer(rotary, layer); }
  const RotaryTable& anchored_table(int64_t layer) const { return of_layer(anchored, layer); }
  const AttentionRule& rule_of(int64_t layer) const { return *of_layer(rules, layer); }

  /// Whether it asks for more than rotation; neither padding nor packing is possible then.
  bool changes_attention() const { return !visual.empty() || !rules.empty(); }
  /// The same on another device; what layers share stays shared.
  PassEncoding to(at::Device device) const;

 private:
  template <typename T>
  static const T& of_layer(const std::vector<T>& entries, int64_t layer) {
    return entries[entries.size() == 1 ? 0 : static_cast<size_t>(layer)];
  }
};

/// What turns the queries and keys of one layer.
struct EncodedLayer {
  RopeConfig rope;
  bool rotates = true;
  int64_t head_dim = 0;  ///< channels that could rotate (a latent's rope part)
  int64_t kv_heads = 0;
  PairLayout pairing = PairLayout::kHalfSplit;
  bool operator==(const EncodedLayer&) const = default;
};

/// The sizes of a model that its encoding depends on.
struct EncodedModel {
  RopeConfig rope;
  int64_t head_dim = 0, heads = 0, kv_heads = 0;
  int64_t layers = 0;  ///< 0: one layer, the one that the scheme's text names (PyPE's `layer`)
  int64_t max_position_embeddings = 0;  ///< trained length; 0 = unknown
  std::vector<EncodedLayer> each =
      {};  ///< one a layer, where layers differ or pair neighbours; empty: all as above

  /// The settings of all layers, those above where they do not differ.
  EncodedLayer of_layer(int64_t layer) const {
    return each.empty() ? EncodedLayer{rope, true, head_dim, kv_heads} : each[static_cast<size_t>(layer)];
  }
};

/// Tables of given ids [axes, batch or 1, tokens] for every layer: the scheme says which channels follow which axis (and
/// nothing else, so it must not change the attention).
PassEncoding encoding_of_ids(const Scheme& scheme, const EncodedModel& model, const at::Tensor& position_ids);

class SequenceEncoding {
 public:
  /// The tokens of `layout`, then generated tokens as the scheme counts them. Throws UsageError where the
  /// scheme does not fit the model (sections, slopes, layers) or its parts exclude each other.
  SequenceEncoding(const Scheme& scheme, const Layout& layout, const EncodedModel& model);

  /// Tokens past, ..., past + tokens - 1. Under dynamic NTK the frequencies are those of a context that ends
  /// with them. Throws InputError where a pass would begin inside a raster whose tokens see later ones.
  PassEncoding pass(int64_t past, int64_t tokens) const;

  /// Whether rotated keys go stale before `tokens` tokens are in view (dynamic NTK, longrope).
  bool frequencies_change_until(int64_t tokens) const;

  /// Of the prompt, at layer 0 where layers differ.
  const Positions& positions() const { return layers_.front(); }
  const Scheme& scheme() const { return scheme_; }
  /// Coordinates of the first `tokens` tokens, generated ones included: [axes, tokens] float64.
  at::Tensor coordinates(int64_t tokens) const;

 private:
  Frequencies frequencies_of(const EncodedLayer& layer, double length) const;
  /// Tokens that sit at `coordinates`, those of `positions` and generated ones behind them; without anchors.
  static Positions seen_of(const Positions& positions, const at::Tensor& coordinates);
  at::Tensor coordinates_of(const Positions& positions, int64_t tokens) const;
  at::Tensor anchors_of(const Positions& positions, int64_t tokens) const;

  Scheme scheme_;
  EncodedModel model_;
  std::vector<Positions> layers_;  // one, or one a layer
};

}  // namespace ropescope
