// A scheme = position design x frequency allocation: where every token of a layout sits, and how every
// channel turns. Definitions and sources: docs/schemes.md and `ropescope positions --list`.
//
// Text of a scheme:  part[+part...],  part = name[/allocation][:key=value[,key=value...]]
//   "vanilla"   "mrope:sections=16/24/24"   "mrope/interleaved"   "id-align+v2pe:delta=0.5"   "dipe+mrope"
// One part is a position design; the others change it (id-align, dipe).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/rope/frequencies.h"
#include "ropescope/rope/frequency_allocation.h"
#include "ropescope/rope/layout.h"
#include "ropescope/rope/parameters.h"
#include "ropescope/rope/position_design.h"
#include "ropescope/rope/positions.h"

namespace ropescope {

/// An entry of the registry (schemes/registry.cpp).
struct SchemeDefinition {
  std::string name;
  std::string summary;  ///< one sentence
  std::string source;   ///< paper
  std::vector<ParameterInfo> parameters;
  /// Name of the frequency allocation that belongs to the design.
  std::string (*allocation)(const Parameters& parameters);
  /// Makes the design; `inner` is the design that a modifier changes, null for a design of its own.
  std::shared_ptr<const PositionDesign> (*make)(const Parameters& parameters,
                                                std::shared_ptr<const PositionDesign> inner);
  /// A modifier's base design where the text names none; empty for a design of its own.
  std::string modifies;
  /// Defaults that a modifier gives its base (DIPE counts frames one by one).
  std::vector<std::pair<std::string, std::string>> base_defaults;

  bool is_modifier() const { return !modifies.empty(); }
};

const std::vector<SchemeDefinition>& scheme_definitions();

class Scheme {
 public:
  /// Throws UsageError naming the part it cannot read and what exists.
  explicit Scheme(const std::string& text);

  const std::string& text() const { return text_; }
  /// Number of coordinate rows, and their names: "id"; t, h, w; p, w, h, n; ...
  int64_t axes() const { return design_->axes(); }
  std::vector<std::string> row_names() const { return design_->row_names(); }

  /// Coordinates of every token. `layer`, of a decoder with `layers` layers (0: not known): for designs that depend
  /// on it (PyPE); else ignored. Throws UsageError where the scheme is undefined for a block.
  Positions positions(const Layout& layout, std::optional<int64_t> layer = std::nullopt,
                      int64_t layers = 0) const;

  /// Coordinates of generated tokens first, first+1, ..., [axes, count] float64.
  at::Tensor generated_positions(const Positions& prompt, int64_t first, int64_t count) const;

  /// Frequencies and axes of every channel; arguments as make_frequencies, and the number of key/value heads.
  Frequencies frequencies(const RopeConfig& config, int64_t head_dim, int64_t kv_heads,
                          int64_t max_position_embeddings, double sequence_length) const;

  /// Settings of the scheme that change the frequencies themselves: theta' = (theta base_scale)^(1/c).
  double rope_theta(double theta) const;

  bool depends_on_layer() const { return design_->at_layer(0, 1) != nullptr; }
  bool anchored() const { return design_->anchored(); }
  bool aligned() const { return design_->aligned(); }
  std::optional<Alignment> alignment() const { return design_->alignment(); }
  /// Whether attention does more than rotate (DIPE, CCA, PyPE, ALiBi).
  bool changes_attention() const { return anchored() || design_->ruled(); }
  /// Whether attention_rule gives one.
  bool has_rule() const { return design_->ruled(); }
  /// The scheme's mask or bias over tokens that sit at `keys`, for so many query heads; null where causal order is
  /// all.
  std::shared_ptr<const AttentionRule> attention_rule(const Positions& keys, int64_t heads) const {
    return design_->attention_rule(keys, heads);
  }
  /// ALiBi's slopes for `heads` heads, or for as many as the text names; empty for other schemes.
  std::vector<double> bias_slopes(int64_t heads) const { return design_->bias_slopes(heads); }
  std::optional<int64_t> bias_heads() const { return design_->bias_heads(); }
  /// Key/value heads that the scheme's own sections count (mhrope); else none.
  std::optional<int64_t> sectioned_heads() const;
  /// The sum of channel sections that the text names; none where it names none.
  std::optional<int64_t> sectioned_channels() const;
  const FrequencyAllocation& allocation() const { return *allocation_; }
  /// Files that the text names (`weights` of mixed).
  std::vector<std::string> files() const;

 private:
  std::string text_;
  std::shared_ptr<const PositionDesign> design_;
  const FrequencyAllocation* allocation_ = nullptr;
  Parameters parameters_;  // of the design
  Sections sections_;
  double base_scale_ = 1, log_freq_scale_ = 1;
};

/// Several schemes: separated by ';', or by ',' where no part is left without a scheme ("a,b:x=1,y=2" is
/// two).
std::vector<std::string> split_scheme_list(const std::string& text);

/// Whether query `q` may see key `k` (0-based token order): causal, or as the scheme's rule says. [tokens, tokens]
/// bool; memory grows with tokens squared, so for small layouts only.
at::Tensor allowed_pairs(const Scheme& scheme, const Positions& positions);

/// What the scheme adds to scaled scores, 0 for hidden keys: [heads, tokens, tokens] float32; undefined where it adds
/// nothing.
at::Tensor bias_of_pairs(const Scheme& scheme, const Positions& positions, int64_t heads);

}  // namespace ropescope
