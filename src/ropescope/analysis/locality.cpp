#include "ropescope/analysis/locality.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include <ATen/ops/_unique2.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/decay_coefficients.h"
#include "ropescope/analysis/score_order.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/parallel.h"
#include "ropescope/core/strings.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/decay_theory.h"

namespace ropescope {

namespace {

constexpr const char* kSharesInterval =
    "95%, cluster-robust over texts (ratio estimator, G/(G-1), Student t with G-1 degrees of freedom), cut at 0 and 1";

void validate_locality(const Samples& run, const LocalityOptions& options) {
  check_bases(options, run.model);
  if (run.pairs.size() == 0) throw UsageError("--samples: expected pairs, found none");
  if (options.lengths.empty()) throw UsageError("--lengths: expected at least one length");
  for (const int64_t length : options.lengths) {
    if (length >= 2 && length <= kLongestContext) continue;
    throw UsageError("--lengths: expected contexts of 2 to {} tokens, found {}", kLongestContext, length);
  }
  if (options.points != 0 && options.points < 2) {
    throw UsageError("--points: expected 0 (all distances) or 2 and more, found {}", options.points);
  }
}

/// What the scores of all pairs are linear in, [pairs, 2h] float64.
struct PairRows {
  at::Tensor score;       ///< of (q, k)
  at::Tensor difference;  ///< of (q, k - k'); 0 without k'
};

PairRows pair_rows(const PairSet& pairs, const DecayLayers& layers, const at::Tensor& second) {
  const at::Tensor q = in_halves(pairs.q, pairs, layers), k = in_halves(pairs.k, pairs, layers);
  const at::Tensor other = k.index_select(0, second.clamp_min(0));
  return {coefficient_rows(q, k),
          coefficient_rows(q, (k - other).masked_fill_((second < 0).unsqueeze(1), 0.0))};
}

/// The two probabilities of every pair, [pairs, N] float64.
struct PairShares {
  at::Tensor near, order;
};

/// Pairs that are evaluated at the same distances, together: places begin..begin+size-1 of a part.
struct PairBlock {
  size_t length;
  int64_t text;  ///< whose draw of distances it takes; 0 where all are counted
  int64_t begin, size;
};

/// `text`: of each place, ascending.
std::vector<PairBlock> pair_blocks(const at::Tensor& text, const LocalityOptions& options) {
  // A block's scores stay near the caches; its size must not depend on the threads.
  constexpr int64_t kBlockBytes = int64_t{8} << 20;
  const int64_t* texts = text.const_data_ptr<int64_t>();
  const int64_t count = text.size(0);
  std::vector<PairBlock> blocks;
  for (size_t n = 0; n < options.lengths.size(); ++n) {
    const int64_t points = spread_points(options.lengths[n], options.points);
    const bool drawn = points < options.lengths[n];
    const int64_t most = std::clamp<int64_t>(kBlockBytes / (16 * points), 1, 512);
    for (int64_t begin = 0, end = 0; begin < count; begin = end) {
      while (end < count && end - begin < most && (!drawn || texts[end] == texts[begin])) ++end;
      blocks.push_back({n, drawn ? texts[begin] : 0, begin, end - begin});
    }
  }
  return blocks;
}

/// Of the pairs of some layers, which turn alike.
void count_part(const PairRows& rows, const at::Tensor& places_of_part, const at::Tensor& text_of_pairs,
                const LayerRotation& rotation, const LocalityOptions& options, PairShares& shares) {
  const auto [text, by_text] = text_of_pairs.index_select(0, places_of_part).sort(std::optional<bool>(true));
  const at::Tensor place = places_of_part.index_select(0, by_text);
  const std::vector<PairBlock> blocks = pair_blocks(text.contiguous(), options);
  const int64_t half = rotation.inv_freq.size(0);
  const int64_t* places = place.const_data_ptr<int64_t>();
  double* near = shares.near.mutable_data_ptr<double>();
  double* order = shares.order.mutable_data_ptr<double>();
  const auto lengths = static_cast<int64_t>(options.lengths.size());
  parallel_for_each(static_cast<int64_t>(blocks.size()), [&](int64_t b) {
    const PairBlock& block = blocks[static_cast<size_t>(b)];
    const at::Tensor distance =
        spread_distances(options.lengths[block.length], options.points, options.seed, block.text);
    const at::Tensor chosen = place.narrow(0, block.begin, block.size);
    const at::Tensor both =
        at::cat({rows.score.index_select(0, chosen), rows.difference.index_select(0, chosen)}) *
        rotation.channel_scale;
    at::Tensor curves = evaluate_decay(both.narrow(1, 0, half), both.narrow(1, half, half), distance,
                                       rotation.inv_freq, DecaySign::kCausal);
    double* scores = curves.mutable_data_ptr<double>();
    const int64_t points = distance.size(0);
    std::vector<double> scratch;
    for (int64_t i = 0; i < block.size; ++i) {
      const int64_t to = places[block.begin + i] * lengths + static_cast<int64_t>(block.length);
      near[to] = share_in_falling_order(scores + i * points, points, scratch);
      order[to] = share_of_flips(scores + (block.size + i) * points, points);
    }
  });
}

PairShares count_column(const PairSet& pairs, const PairRows& rows, const at::Tensor& second,
                        const DecayLayers& layers, const ModelFacts& model, const BaseChange& change,
                        const LocalityOptions& options) {
  const std::vector<int64_t> shape = {pairs.size(), static_cast<int64_t>(options.lengths.size())};
  // Where nothing turns, a moved key scores the same.
  PairShares shares{at::full(shape, 0.5, at::kDouble), at::zeros(shape, at::kDouble)};
  for (const TurningLayers& part : layers.turning) {
    count_part(rows, pairs_in(pairs, layers, part.layers), pairs.text,
               layer_rotation(part.facts, model.max_position_embeddings, change), options, shares);
  }
  shares.order.masked_fill_((second < 0).unsqueeze(1), kNan);
  return shares;
}

struct Estimate {
  at::Tensor mean, low, high;  // [N]
  int64_t pairs = 0, clusters = 0;
};

/// Of the pairs at `place`: their mean and its interval over texts.
Estimate over_texts(const at::Tensor& values, const at::Tensor& text, const at::Tensor& place) {
  Estimate estimate;
  estimate.pairs = place.size(0);
  if (estimate.pairs == 0) {
    estimate.mean = estimate.low = estimate.high = at::full({values.size(1)}, kNan, at::kDouble);
    return estimate;
  }
  const at::Tensor own = values.index_select(0, place);
  const auto [names, cluster, unused] =
      at::_unique2(text.index_select(0, place), /*sorted=*/true, /*return_inverse=*/true);
  estimate.clusters = names.size(0);
  const at::Tensor sums =
      at::zeros({estimate.clusters, values.size(1)}, at::kDouble).index_add_(0, cluster, own);
  const at::Tensor deviations =
      ratio_deviations(sums, at::bincount(cluster, {}, estimate.clusters).to(at::kDouble));
  const at::Tensor margin =
      (deviations * deviations).sum(0).sqrt() * student_quantile(0.95, estimate.clusters - 1);
  estimate.mean = own.mean(0);
  estimate.low = (estimate.mean - margin).clamp(0, 1);
  estimate.high = (estimate.mean + margin).clamp(0, 1);
  return estimate;
}

/// The pairs that one of the two probabilities is a mean of.
struct Counted {
  at::Tensor overall;             ///< places of those in layers that rotate
  std::vector<at::Tensor> layer;  ///< of each layer
  std::vector<at::Tensor> kind;   ///< of each kind
  at::Tensor head, count;         ///< layer * H + head of all that count, beside their places
  at::Tensor place;
};

Counted counted_pairs(const PairSet& pairs, const DecayLayers& layers, int64_t heads,
                      const at::Tensor& counts) {
  const auto among = [&](const std::vector<int64_t>& wanted) {
    const at::Tensor place = pairs_in(pairs, layers, wanted);
    return place.index_select(0, counts.index_select(0, place).nonzero().squeeze(1));
  };
  std::vector<int64_t> turning;
  for (const TurningLayers& part : layers.turning) {
    turning.insert(turning.end(), part.layers.begin(), part.layers.end());
  }
  Counted counted;
  counted.overall = among(turning);
  for (int64_t layer = 0; layer < layers.count; ++layer) counted.layer.push_back(among({layer}));
  for (const LayerKind& kind : layers.kinds) counted.kind.push_back(among(kind.layers));
  counted.place = counts.nonzero().squeeze(1);
  counted.head = (pairs.layer * heads + pairs.head).index_select(0, counted.place);
  counted.count = at::bincount(counted.head, {}, layers.count * heads);
  return counted;
}

/// The columns of one probability as they are added one after the other.
class ShareColumns {
 public:
  ShareColumns(const PairSet& pairs, const DecayLayers& layers, int64_t heads, const at::Tensor& counts)
      : text_(pairs.text),
        layers_(layers.count),
        heads_(heads),
        counted_(counted_pairs(pairs, layers, heads, counts)) {}

  /// values: [pairs, N].
  void add(const at::Tensor& values) {
    const Estimate overall = over_texts(values, text_, counted_.overall);
    pairs_ = overall.pairs;
    clusters_ = overall.clusters;
    mean_.push_back(overall.mean);
    low_.push_back(overall.low);
    high_.push_back(overall.high);
    layer_.add(values, text_, counted_.layer);
    kind_.add(values, text_, counted_.kind);
    const at::Tensor sums = at::zeros({layers_ * heads_, values.size(1)}, at::kDouble)
                                .index_add_(0, counted_.head, values.index_select(0, counted_.place));
    // 0/0 is the NaN that marks a head without pairs.
    const at::Tensor means = sums / counted_.count.to(at::kDouble).unsqueeze(1);
    head_.push_back(means.transpose(0, 1).contiguous().view({values.size(1), layers_, heads_}));
  }

  LocalityShare joined() const {
    LocalityShare share;
    share.mean = at::stack(mean_);
    share.low = at::stack(low_);
    share.high = at::stack(high_);
    std::tie(share.layer_mean, share.layer_low, share.layer_high) = layer_.joined();
    if (!counted_.kind.empty()) {
      std::tie(share.kind_mean, share.kind_low, share.kind_high) = kind_.joined();
    }
    share.head_mean = at::stack(head_);
    share.count = counted_.count.view({layers_, heads_});
    share.pairs = pairs_;
    share.clusters = clusters_;
    return share;
  }

  /// Pairs and texts behind each kind.
  const std::vector<std::pair<int64_t, int64_t>>& kind_counts() const { return kind_.counts; }

 private:
  /// [T, N, groups]
  struct Groups {
    std::vector<at::Tensor> mean, low, high;
    std::vector<std::pair<int64_t, int64_t>> counts;

    void add(const at::Tensor& values, const at::Tensor& text, const std::vector<at::Tensor>& places) {
      if (places.empty()) return;
      std::vector<at::Tensor> means, lows, highs;
      counts.clear();
      for (const at::Tensor& place : places) {
        const Estimate estimate = over_texts(values, text, place);
        means.push_back(estimate.mean);
        lows.push_back(estimate.low);
        highs.push_back(estimate.high);
        counts.emplace_back(estimate.pairs, estimate.clusters);
      }
      mean.push_back(at::stack(means, 1));
      low.push_back(at::stack(lows, 1));
      high.push_back(at::stack(highs, 1));
    }
    std::tuple<at::Tensor, at::Tensor, at::Tensor> joined() const {
      return {at::stack(mean), at::stack(low), at::stack(high)};
    }
  };

  at::Tensor text_;
  int64_t layers_, heads_;
  Counted counted_;
  std::vector<at::Tensor> mean_, low_, high_, head_;
  Groups layer_, kind_;
  int64_t pairs_ = 0, clusters_ = 0;
};

/// [T, ...] from `reached` [T, N, ...] (bool): the smallest length at which it holds, NaN where it never does.
at::Tensor first_length(const at::Tensor& reached, const at::Tensor& length) {
  std::vector<int64_t> shape(static_cast<size_t>(reached.dim()), 1);
  shape[1] = length.size(0);
  const at::Tensor lengths = length.to(at::kDouble).view(shape);
  const at::Tensor first =
      lengths.expand(reached.sizes()).masked_fill(reached.logical_not(), kInfinity).amin({1});
  return first.masked_fill(first.isinf(), kNan);
}

void find_halves(LocalityShare& share, const at::Tensor& length, bool falls) {
  const auto reached = [&](const at::Tensor& low, const at::Tensor& high) {
    return falls ? low <= 0.5 : high >= 0.5;  // false of NaN
  };
  share.half_length = first_length(reached(share.low, share.high), length);
  if (share.kind_mean.defined()) {
    share.kind_half_length = first_length(reached(share.kind_low, share.kind_high), length);
  }
}

void add_locality_notes(const DecayLayers& layers, const ModelFacts& model, int64_t pairs,
                        LocalityResult& result) {
  if (result.near.clusters == 1)
    result.notes.emplace_back("no confidence intervals (pairs of one text only)");
  if (!layers.still.empty() && !layers.kinds.empty()) {
    result.notes.push_back(fmt::format("layers {} do not rotate: a moved key scores the same there, and {}",
                                       ranges_text(layers.still),
                                       layers.turning.empty() ? "there is no mean over layers that rotate"
                                                              : "the mean is over the other layers"));
  }
  const int64_t with_second = result.order.count.sum().item<int64_t>();
  if (with_second < pairs) {
    result.notes.push_back(fmt::format(
        "{} of {} have no second key of their text, layer and key/value head: they count for near_preferred alone; "
        "more --pairs-per-layer when sampling give them one",
        pairs - with_second, counted(pairs, "pair")));
  }
  if (!layers.normed.empty()) {
    result.notes.push_back(
        fmt::format("layers {} normalise q and k after the rotation: the two keys are compared before that",
                    ranges_text(layers.normed)));
  }
  const std::string left_out = left_out_layers(model);
  if (!left_out.empty()) result.notes.push_back(left_out);
}

}  // namespace

at::Tensor second_keys(const Samples& run) {
  const PairSet& pairs = run.pairs;
  const int64_t heads = run.model.num_heads, own = run.model.num_key_value_heads;
  const int64_t readers = own > 0 && heads % own == 0 ? heads / own : 1;  // query heads of a key/value head
  const at::Tensor columns[] = {pairs.text.contiguous(), pairs.layer.contiguous(), pairs.head.contiguous()};
  const int64_t* text = columns[0].const_data_ptr<int64_t>();
  const int64_t* layer = columns[1].const_data_ptr<int64_t>();
  const int64_t* head = columns[2].const_data_ptr<int64_t>();
  std::map<std::tuple<int64_t, int64_t, int64_t>, std::vector<int64_t>> groups;
  for (int64_t i = 0; i < pairs.size(); ++i) groups[{text[i], layer[i], head[i] / readers}].push_back(i);
  const at::Tensor k = pairs.k.to(at::kDouble).contiguous();
  const int64_t width = k.size(1);
  const double* keys = k.const_data_ptr<double>();
  const auto same = [&](int64_t i, int64_t j) {
    return std::equal(keys + i * width, keys + (i + 1) * width, keys + j * width);
  };
  std::vector<int64_t> second(static_cast<size_t>(pairs.size()), -1);
  for (const auto& [name, members] : groups) {
    const size_t size = members.size();
    for (size_t i = 0; i < size; ++i) {
      for (size_t step = 1; step < size; ++step) {
        const int64_t other = members[(i + step) % size];
        if (same(members[i], other)) continue;
        second[static_cast<size_t>(members[i])] = other;
        break;
      }
    }
  }
  return at::tensor(second, at::kLong);
}

LocalityResult compute_locality(const Samples& run, const LocalityOptions& options) {
  validate_locality(run, options);
  const PairSet& pairs = run.pairs;
  const ModelFacts& model = run.model;
  const DecayLayers layers = decay_layers(model, at::bincount(pairs.layer, {}, model.num_layers) > 0);
  LocalityResult result;
  result.options = options;
  result.sources = model.sources;
  result.length = at::tensor(options.lengths, at::kLong);
  std::vector<int64_t> points;
  for (const int64_t length : options.lengths) points.push_back(spread_points(length, options.points));
  result.points = at::tensor(points, at::kLong);
  const std::vector<BaseChange> changes = base_changes(options);
  std::vector<double> bases;
  for (const BaseChange& change : changes) {
    bases.push_back(change.theta.value_or(common_base(layers, change)));
  }
  result.theta = at::tensor(bases, at::kDouble);
  if (!options.theta_scale.empty()) result.theta_scale = at::tensor(options.theta_scale, at::kDouble);

  const at::Tensor second = second_keys(run);
  const PairRows rows = pair_rows(pairs, layers, second);
  ShareColumns near(pairs, layers, model.num_heads, at::full({pairs.size()}, true, at::kBool));
  ShareColumns order(pairs, layers, model.num_heads, second >= 0);
  for (const BaseChange& change : changes) {
    const PairShares shares = count_column(pairs, rows, second, layers, model, change, options);
    near.add(shares.near);
    order.add(shares.order);
  }
  result.near = near.joined();
  result.order = order.joined();
  find_halves(result.near, result.length, /*falls=*/true);
  find_halves(result.order, result.length, /*falls=*/false);
  result.interval = result.near.clusters == 1 ? "none: pairs of one text only" : kSharesInterval;
  for (size_t k = 0; k < layers.kinds.size(); ++k) {
    const LayerKind& kind = layers.kinds[k];
    const auto [count, clusters] = near.kind_counts()[k];
    result.kinds.push_back({kind.name, ranges_text(kind.layers), kind.facts.window, kind.facts.chunk,
                            kind.facts.rotates, count, clusters});
  }
  if (!layers.kinds.empty()) result.kind_theta = kind_bases(layers, changes);
  add_locality_notes(layers, model, pairs.size(), result);
  return result;
}

}  // namespace ropescope
