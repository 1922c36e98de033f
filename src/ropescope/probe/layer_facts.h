// What each layer does with its queries and keys, as samples of models whose layers differ need it later: what turns
// them, which keys a query sees, and what the product is multiplied by.
// Notation  L layers, D channels of a head, h channel pairs that turn
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/io/result_file.h"
#include "ropescope/rope/frequencies.h"
#include "ropescope/rope/rotation.h"

namespace ropescope {

struct LayerFacts {
  std::string kind = "full_attention";  ///< as transformers' layer_types name it
  bool has_qk =
      true;  ///< queries and keys of its own; not a delta rule's, nor where it reads another layer's keys
  bool rotates = true;
  RopeConfig rope;       ///< where it rotates
  int64_t head_dim = 0;  ///< D
  int64_t first_rotary =
      0;  ///< channels before this one never turn (latent attention); `rope` is of those behind
  PairLayout pairing = PairLayout::kHalfSplit;
  int64_t window = 0;      ///< a query sees its last so many keys, itself included; 0: all
  int64_t chunk = 0;       ///< a query sees the keys of its own chunk of so many tokens only; 0: all
  double score_scale = 0;  ///< what q k is multiplied by; 0: unknown
  bool norm_after_rotation =
      false;  ///< q and k are normalised once they are rotated, which samples do not hold
  bool operator==(const LayerFacts&) const = default;
};

std::vector<LayerFacts> layer_facts(const DecoderConfig& config);

/// Whether the same channels of both turn, by the same angles.
bool turn_alike(const LayerFacts& a, const LayerFacts& b);

/// Frequencies of a layer that rotates, of a run as long as the model's context (0: unknown). Throws InputError for
/// settings that no layer can have.
Frequencies layer_frequencies(const LayerFacts& layer, int64_t max_position_embeddings);

/// [D] int64: the order of channels in which pair i is (i, i + D/2), those that turn first; `rotary_dim` = 2h of them do.
/// The others are paired likewise and take the last places, to be turned by 0.
at::Tensor halves_order(const LayerFacts& layer, int64_t rotary_dim);

/// Layers whose q and k lie in one samples file: those asked for, or all that have some of their own and heads of the
/// first such layer's size, with a warning that names the others. Throws UsageError for asked ones that have none, that
/// read another layer's keys, or whose heads differ in size.
std::vector<int64_t> layers_to_sample(const DecoderConfig& config, const std::vector<int64_t>& asked);

/// /samples/layers: a dataset a fact, one number a layer; inv_freq [L, h], NaN behind a layer's own pairs.
void write_layer_facts(ResultWriter& writer, const std::vector<LayerFacts>& layers,
                       int64_t max_position_embeddings);

/// Empty where the file has no such group. Throws InputError naming file and dataset for what does not fit together.
std::vector<LayerFacts> read_layer_facts(const ResultReader& file, int64_t max_position_embeddings);

}  // namespace ropescope
