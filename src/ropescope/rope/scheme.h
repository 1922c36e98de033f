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

namespace ropescope {

/// Where the tokens of a layout sit.
struct Positions {
  at::Tensor coordinates;  ///< [axes, tokens] float64; axes 1, or 3 in the order t, h, w
  at::Tensor modality;     ///< [tokens] uint8, values of Modality
  at::Tensor raster;   ///< [tokens] int32: which frame or grid a visual token belongs to, from 0; text -1.
                       ///< A high-resolution grid is one; in a block with pieces each tile is one
  at::Tensor anchors;  ///< DIPE: [axes, tokens] float64, ids of queries against the other modality
  double next = 0;     ///< position of the first generated token; token j sits at next + j
  double next_anchor = 0;  ///< DIPE: the anchored id of all generated tokens

  int64_t tokens() const { return coordinates.size(1); }
  /// Greatest coordinate of any token (not of generated ones); -1 for none.
  double largest() const;
};

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
  int64_t axes() const { return design_->axes(); }

  /// Coordinates of every token. `layer`: for designs that depend on it (PyPE); else ignored. Throws
  /// UsageError where the scheme is undefined for a block.
  Positions positions(const Layout& layout, std::optional<int64_t> layer = std::nullopt) const;

  /// Coordinates of generated tokens first, first+1, ..., [axes, count] float64.
  at::Tensor generated_positions(const Positions& prompt, int64_t first, int64_t count) const;

  /// Frequencies and axes of every channel; arguments as make_frequencies, and the number of key/value heads.
  Frequencies frequencies(const RopeConfig& config, int64_t head_dim, int64_t kv_heads,
                          int64_t max_position_embeddings, double sequence_length) const;

  /// Settings of the scheme that change the frequencies themselves: theta' = (theta base_scale)^(1/c).
  double rope_theta(double theta) const;

  bool depends_on_layer() const { return design_->at_layer(0) != nullptr; }
  bool rings() const { return design_->rings(); }
  bool anchored() const { return design_->anchored(); }
  bool aligned() const { return design_->aligned(); }
  std::optional<ResizeRule> alignment() const { return design_->alignment(); }
  bool biased() const { return !design_->bias_slopes(1).empty(); }
  /// Whether attention does more than rotate (DIPE, CCA, PyPE, ALiBi).
  bool changes_attention() const { return anchored() || rings() || biased(); }
  /// ALiBi's slopes for `heads` heads, or for as many as the text names; empty for other schemes.
  std::vector<double> bias_slopes(int64_t heads) const { return design_->bias_slopes(heads); }
  std::optional<int64_t> bias_heads() const { return design_->bias_heads(); }
  /// Key/value heads that the scheme's own sections count (mhrope); else none.
  std::optional<int64_t> sectioned_heads() const;
  /// The sum of channel sections that the text names; none where it names none.
  std::optional<int64_t> sectioned_channels() const;
  const FrequencyAllocation& allocation() const { return *allocation_; }

 private:
  std::string text_;
  std::shared_ptr<const PositionDesign> design_;
  const FrequencyAllocation* allocation_ = nullptr;
  Sections sections_;
  double base_scale_ = 1, log_freq_scale_ = 1;
};

/// Several schemes: separated by ';', or by ',' where no part is left without a scheme ("a,b:x=1,y=2" is
/// two).
std::vector<std::string> split_scheme_list(const std::string& text);

/// Whether query `q` may see key `k` (0-based token order): causal, and inside one raster of a design with
/// rings by id. [tokens, tokens] bool; memory grows with tokens squared, so for small layouts only.
at::Tensor allowed_pairs(const Scheme& scheme, const Positions& positions);

/// ALiBi's bias -slope |id_q - id_k| (t coordinates), 0 for hidden keys: [slopes, tokens, tokens] float32.
at::Tensor alibi_bias(const std::vector<double>& slopes, const Positions& positions);

}  // namespace ropescope
