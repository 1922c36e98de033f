// What sampling gives: query and key vectors of real text before rotation, their moments, distance profiles.
// Notation  L layers, H query heads, K key/value heads, D head_dim, N pairs, M distances, S texts
// Query head a reads key/value head floor(a / (H / K)); everything that belongs to a key is stored per query
// head, so that shapes agree. Vectors are taken before rotation and never divided by sqrt(D).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/io/result_file.h"
#include "ropescope/probe/layer_facts.h"
#include "ropescope/probe/token_kinds.h"
#include "ropescope/rope/frequencies.h"

namespace ropescope {

/// The facts of a checkpoint that its samples need later. A file that others wrote may lack any of them.
struct ModelFacts {
  std::optional<RopeConfig> rope;  ///< of layers that see everything, where layers differ
  int64_t num_layers = 0;          ///< 0: unknown
  int64_t num_heads = 0;           ///< query heads; 0: unknown
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;                 ///< of the layers that were sampled
  int64_t max_position_embeddings = 0;  ///< 0: unknown
  std::vector<LayerFacts> layers;       ///< one a layer; empty: unknown, then `rope` turns every layer
  std::string sources;                  ///< names of the model and the texts, for figures; empty: unknown
  std::string scheme;                   ///< that it was trained under; empty: none named
};

ModelFacts model_facts(const DecoderConfig& config);

/// Drawn or picked pairs. Channels stand in the model's own order (LayerFacts says which turn together).
struct PairSet {
  at::Tensor q, k;                           ///< [N, D] float32, or float64 when read from a file
  at::Tensor text, layer, head, query, key;  ///< [N] int64; text counts the texts that were used
  at::Tensor kind;  ///< [N] int64, of pair_kind; undefined where no text has pictures
  int64_t size() const { return q.defined() ? q.size(0) : 0; }
};

/// First and second moments of q and k over all tokens of all texts, float64. With q and k independent,
///   E[q^T R k] = mean_q^T R mean_k,
///   Var[q^T R k] = mean_k^T R^T cov_q R mean_k + mean_q^T R cov_k R^T mean_q + tr(cov_q R cov_k R^T).
/// Heads that were not measured have count 0 and NaN moments. Covariances divide by the count (not count -
/// 1).
struct MomentSet {
  at::Tensor mean_q, mean_k;  ///< [L, H, D]
  at::Tensor count;           ///< [L, H] int64
  at::Tensor cov_q, cov_k;    ///< [L, H, D, D]; undefined when a file has none
  at::Tensor text_mean_q,
      text_mean_k;        ///< [S, L, H, D] float32, for intervals; undefined when a file has none
  at::Tensor text_count;  ///< [S] int64
};

/// Mean logit of the real pairs (i, i - m) under the checkpoint's own rotation.
struct ProfileSet {
  at::Tensor distance, count;  ///< [M] int64: m, and its number of pairs over all texts
  /// [L, H, M] float64; NaN where not measured. stderr is cluster-robust over texts (see statistics of
  /// profile.h) and NaN where fewer than two texts reach the distance.
  at::Tensor mean, standard_error;
};

/// The same apart for each kind of token, where texts have pictures.
struct KindSamples {
  std::vector<int64_t> visual_tokens;  ///< of each text
  /// By TokenKind: of the texts' tokens of that kind alone, whose numbers text_count says; 0: text_mean is NaN. Empty: not
  /// measured.
  std::vector<MomentSet> moments;
  std::vector<ProfileSet> profiles;  ///< by pair_kind; they share their distances. Empty: not measured
};

struct Samples {
  ModelFacts model;
  PairSet pairs;
  std::optional<MomentSet> moments;
  std::optional<ProfileSet> profile;
  std::optional<KindSamples> kinds;
  std::vector<std::string> text_names;
  std::vector<int64_t> text_tokens;  ///< tokens used of each text
  int64_t skipped_short = 0;
};

/// Writes /pairs, /moments, /profile, /samples/layers, /texts (each if present) and the attributes of /model. Of texts with
/// pictures also /pairs/kind, /moments/text_tokens, /moments/visual_tokens, /profile/text_to_visual, ... and
/// /texts/visual_tokens.
void write_samples(ResultWriter& writer, const Samples& samples);

/// What read_samples is asked for.
enum class SampleSource { kPairs, kMoments };

/// Indices in order, each once: "0-2,5".
std::string ranges_text(std::vector<int64_t> values);

/// The part of the samples that is wanted; the numbers are those of the model.
struct SampleSelection {
  std::vector<int64_t> layers, heads;  ///< empty: all
  bool causal = false;                 ///< pairs whose key is not after the query

  bool empty() const { return layers.empty() && heads.empty() && !causal; }
  /// "layers 0-2,5; heads 1; causal pairs"
  std::string text() const;
};

/// Reads /pairs or /moments of any HDF5 file that has those datasets, whoever wrote it: integers and floats
/// of any width; /pairs/text, layer and head may be missing (then everything is one text, layer 0, head 0), as may
/// /pairs/kind (then pairs are not told apart);
/// /moments needs mean_q and mean_k only; /samples/layers may be missing. Throws InputError naming the file and dataset
/// for shapes that do not agree, negative or absurd indices, and non-finite vectors.
/// `selection`: other pairs are left out, other heads' moments count as not measured. It needs what it goes by: the
/// datasets /pairs/layer, head, query, key. Throws UsageError for numbers beyond the model, for `causal` of moments and
/// where the file cannot answer, InputError where nothing is left.
Samples read_samples(const std::filesystem::path& path, SampleSource source,
                     const SampleSelection& selection = {});

}  // namespace ropescope
