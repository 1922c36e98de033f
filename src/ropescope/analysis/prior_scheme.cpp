#include "ropescope/analysis/prior_scheme.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/prior_scores.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

constexpr int64_t kMostScores = int64_t{1} << 22;  // numbers in a score matrix: 32 MiB
/// Scores that differ by less are one rank: equal displacements give equal scores, up to rounding.
constexpr double kTie = 1e-9;

enum Slot : size_t {
  kVisualShare,
  kPartnerLogit,
  kPartnerShare,
  kPartnerRank,
  kSinkFirst,
  kSinkVisual,
  kFading
};

/// One asking token in one layout.
struct Question {
  Displacements keys;
  Frequencies frequencies;
};

/// High-resolution tokens against all thumbnail tokens: displacements [axes, P * cells], probe by probe.
struct PartnerQuestion {
  at::Tensor delta;
  at::Tensor partner;  // [P] int64: column of the own cell within its probe's cells
  int64_t probes = 0, cells = 0;
};

/// Layers of one part that have equal ids.
struct LayerGroup {
  const PriorPart* part = nullptr;
  std::vector<int64_t> rows;  // of PriorCoefficients
  Question base;
  std::vector<Question> lengths;
  std::optional<PartnerQuestion> partner;
};

class Evaluation {
 public:
  Evaluation(const Scheme& scheme, const PriorSetting& setting)
      : scheme_(scheme), setting_(setting), coefficients_(setting.coefficients) {
    const auto slopes = scheme.bias_slopes(coefficients_.model_heads);
    if (!slopes.empty() && static_cast<int64_t>(slopes.size()) != coefficients_.model_heads) {
      throw UsageError("scheme {}: heads: expected the {} heads of the samples, found {}", scheme.text(),
                       coefficients_.model_heads, slopes.size());
    }
    if (!slopes.empty()) slopes_ = at::tensor(slopes, at::kDouble);
    for (const int64_t length : setting.options.text_lengths) {
      asked_.push_back(with_text_between(setting.layout, setting.query, length));
    }
    prepare_outputs();
  }

  SchemeNumbers run() {
    for (const PriorPart& part : coefficients_.parts) {
      part_shares_.clear();
      if (!scheme_.depends_on_layer()) {
        LayerGroup group = make_group(part, std::nullopt);
        group.rows = part.rows;
        evaluate(group);
      } else {
        run_by_layer(part);
      }
      add_uniform_shares(part);
    }
    return finish();
  }

 private:
  void prepare_outputs() {
    const int64_t n = coefficients_.count(), columns = coefficients_.rows.size(1);
    const auto add = [&](std::string name, bool differentiable) {
      HeadNumbers numbers{std::move(name), at::full({n}, kNan, at::kDouble), {}};
      if (differentiable) numbers.gradient = at::full({n, columns}, kNan, at::kDouble);
      result_.values.push_back(std::move(numbers));
    };
    for (const char* name :
         {"visual_share", "partner_logit", "partner_share", "partner_rank", "sink_first", "sink_visual"}) {
      add(name, std::string(name) != "partner_rank");
    }
    for (const int64_t length : setting_.options.text_lengths)
      add(fmt::format("visual_share_{}", length), true);
    const int64_t keys = setting_.layout.tokens(), layers = coefficients_.model_layers;
    SchemePrior& maps = result_.maps;
    maps.logits_by_layer = at::zeros({layers, keys}, at::kDouble);
    maps.attention_by_layer = at::zeros({layers, keys}, at::kDouble);
    visible_ = at::zeros({layers, keys}, at::kDouble);
    heads_ = at::zeros({layers}, at::kDouble);
    if (setting_.options.by_head) {
      maps.logits_by_head = at::full({layers, coefficients_.model_heads, keys}, kNan, at::kFloat);
      maps.attention_by_head = maps.logits_by_head.clone();
    }
  }

  Frequencies frequencies_of(const PriorPart& part, double length) const {
    if (part.facts.rotates) {
      return scheme_.frequencies(part.facts.rope, part.facts.head_dim - part.facts.first_rotary,
                                 coefficients_.kv_heads, setting_.max_position_embeddings, length);
    }
    Frequencies none;
    none.inv_freq = at::zeros({0}, at::kDouble);
    none.axis = at::zeros({1, 0}, at::kLong);
    return none;
  }

  Question ask(const PriorPart& part, const Positions& positions, int64_t query) const {
    return {displacements(scheme_, positions, query, {part.facts.window, part.facts.chunk}),
            frequencies_of(part, positions.largest() + 1)};
  }

  LayerGroup make_group(const PriorPart& part, std::optional<int64_t> layer) const {
    const Positions positions = scheme_.positions(setting_.layout, layer);
    LayerGroup group;
    group.part = &part;
    group.base = ask(part, positions, setting_.query);
    for (const AskedLayout& asked : asked_) {
      group.lengths.push_back(ask(part, scheme_.positions(asked.layout, layer), asked.query));
    }
    // A tile that comes before its thumbnail cannot see it, so that there is nothing to ask.
    const auto block = first_anyres(setting_.layout);
    if (block && block->thumbnail(0) < block->high(0, 0)) group.partner = partners(*block, positions);
    return group;
  }

  PartnerQuestion partners(const AnyresTokens& block, const Positions& positions) const {
    PartnerQuestion question;
    question.cells = block.thumbnail_rows * block.thumbnail_columns;
    std::vector<int64_t> keys(static_cast<size_t>(question.cells)), own;
    for (int64_t cell = 0; cell < question.cells; ++cell) {
      keys[static_cast<size_t>(cell)] = block.thumbnail(cell);
    }
    std::vector<at::Tensor> deltas;
    const auto probe = [&](int64_t row, int64_t column) {
      deltas.push_back(displacements_to(positions, block.high(row, column), keys));
      own.push_back(block.partner_cell(row, column));
    };
    if (const auto place = block.place_of(setting_.query)) {
      probe((*place)[0], (*place)[1]);
    } else {
      constexpr int64_t kGrid = 4;
      for (int64_t i = 0; i < kGrid * kGrid; ++i) {  // middles of a 4 x 4 division
        probe((2 * (i / kGrid) + 1) * block.high_rows / (2 * kGrid),
              (2 * (i % kGrid) + 1) * block.high_columns / (2 * kGrid));
      }
    }
    question.delta = at::cat(deltas, 1);
    question.partner = at::tensor(own, at::kLong);
    question.probes = question.partner.size(0);
    return question;
  }

  void run_by_layer(const PriorPart& part) {
    std::optional<LayerGroup> group;
    at::Tensor ids;
    int64_t last = -1;
    for (const int64_t row : part.rows) {
      const int64_t layer = coefficients_.layer[static_cast<size_t>(row)];
      if (layer != last) {
        const at::Tensor now = scheme_.positions(setting_.layout, layer).coordinates;
        if (!ids.defined() || !now.equal(ids)) {
          if (group) evaluate(*group);
          group = make_group(part, layer);
          ids = now;
        }
      }
      last = layer;
      group->rows.push_back(row);
    }
    evaluate(*group);
  }

  /// What uniform attention would give, mean over the heads of all parts; of a part, that of its first layers.
  void add_uniform_shares(const PriorPart& part) {
    std::vector<double>& shares = result_.maps.uniform_share;
    if (shares.empty()) {
      shares = part_shares_;
      rows_done_ = static_cast<double>(part.rows.size());
      return;
    }
    const double rows = static_cast<double>(part.rows.size());
    for (size_t i = 0; i < shares.size(); ++i) {
      shares[i] = (shares[i] * rows_done_ + part_shares_[i] * rows) / (rows_done_ + rows);
    }
    rows_done_ += rows;
  }

  std::vector<HeadBlock> blocks_of(const LayerGroup& group) const {
    const int64_t axis_rows = group.base.frequencies.axis.size(0);
    std::vector<HeadBlock> blocks;
    for (int64_t axis_row = 0; axis_row < axis_rows; ++axis_row) {
      std::vector<int64_t> chosen;
      for (const int64_t row : group.rows) {
        if (axis_rows == 1 || coefficients_.kv_head(static_cast<size_t>(row)) == axis_row)
          chosen.push_back(row);
      }
      if (chosen.empty()) continue;
      HeadBlock block{at::tensor(chosen, at::kLong), axis_row, {}};
      if (slopes_.defined()) {
        std::vector<int64_t> heads;
        for (const int64_t row : chosen) heads.push_back(coefficients_.head[static_cast<size_t>(row)]);
        block.slopes = slopes_.index_select(0, at::tensor(heads, at::kLong));
      }
      blocks.push_back(std::move(block));
    }
    return blocks;
  }

  /// Calls body(part of the block, its scores) so that no score matrix is too large.
  template <typename Body>
  void for_parts(const HeadBlock& block, const Features& features, const Body& body) const {
    const int64_t n = block.index.size(0);
    const int64_t step = std::max<int64_t>(1, kMostScores / std::max<int64_t>(1, features.values.size(1)));
    for (int64_t begin = 0; begin < n; begin += step) {
      const int64_t count = std::min(step, n - begin);
      HeadBlock part{block.index.narrow(0, begin, count), block.axis_row, {}};
      if (block.slopes.defined()) part.slopes = block.slopes.narrow(0, begin, count);
      body(part, prior_scores(coefficients_, part, features));
    }
  }

  Features features_of(const at::Tensor& delta, const Frequencies& frequencies, const HeadBlock& block,
                       const PriorPart& part) const {
    return prior_features(delta, frequencies, block.axis_row, part.score_scale, coefficients_.pairs());
  }

  void put(size_t slot, const HeadBlock& block, const at::Tensor& values, const at::Tensor& gradient) {
    result_.values[slot].by_row.index_copy_(0, block.index, values);
    if (gradient.defined()) result_.values[slot].gradient.index_copy_(0, block.index, gradient);
  }

  void evaluate(const LayerGroup& group) {
    for (const HeadBlock& block : blocks_of(group)) {
      const Features features =
          features_of(group.base.keys.delta, group.base.frequencies, block, *group.part);
      for_parts(block, features, [&](const HeadBlock& part, const at::Tensor& scores) {
        add_base(part, scores, group.base.keys, features, group.part->logit_of_score);
      });
      for (size_t i = 0; i < group.lengths.size(); ++i) {
        const Question& question = group.lengths[i];
        const Features of_length = features_of(question.keys.delta, question.frequencies, block, *group.part);
        for_parts(block, of_length, [&](const HeadBlock& part, const at::Tensor& scores) {
          add_share(kFading + i, part, weights_of(scores), question.keys, of_length);
        });
      }
      if (group.partner) add_partner(block, *group.partner, group.base.frequencies, *group.part);
    }
    if (!part_shares_.empty()) return;
    for (const Question& question : group.lengths) {
      part_shares_.push_back(question.keys.visual.sum().item<double>() /
                             question.keys.count.sum().item<double>());
    }
  }

  /// Unnormalised attention on one key of each displacement, [n, U]; takes the place of the scores.
  static at::Tensor weights_of(at::Tensor scores) {
    return scores.sub_(scores.amax({1}, /*keepdim=*/true)).exp_();
  }

  void add_share(size_t slot, const HeadBlock& block, const at::Tensor& weights, const Displacements& keys,
                 const Features& features) {
    const at::Tensor total = weights.matmul(keys.count), share = weights.matmul(keys.visual) / total;
    // d share / d row = (sum of visual weights x features - share x that of all) / total. Intervals need few
    // digits, and the sums are as costly as the scores: float32.
    const at::Tensor weights_f = weights.to(at::kFloat);
    const auto sums = [&](const at::Tensor& count) {
      return weights_f.matmul((features.values * count.unsqueeze(0)).to(at::kFloat).transpose(0, 1))
          .to(at::kDouble);
    };
    const at::Tensor gradient =
        (sums(keys.visual) - share.unsqueeze(1) * sums(keys.count)) / total.unsqueeze(1);
    put(slot, block, share, gradient);
  }

  void add_base(const HeadBlock& block, const at::Tensor& scores, const Displacements& keys,
                const Features& features, double logit_of_score) {
    const at::Tensor weights = weights_of(scores.clone());
    const at::Tensor attention = weights / weights.matmul(keys.count).unsqueeze(1);
    add_share(kVisualShare, block, attention, keys, features);
    add_sinks(block, attention, keys, features);
    add_maps(block, scores, attention, keys, logit_of_score);
  }

  void add_sinks(const HeadBlock& block, const at::Tensor& attention, const Displacements& keys,
                 const Features& features) {
    const double uniform = 1.0 / static_cast<double>(keys.key.size(0));
    const at::Tensor excess = attention - uniform;
    const at::Tensor chosen = keys.first.unsqueeze(0) * excess.gt(0).to(at::kDouble);
    const at::Tensor mass = chosen * attention;  // of the first tokens above the uniform share
    at::Tensor weights = mass - mass.sum(1, true) * (attention * keys.count.unsqueeze(0));
    put(kSinkFirst, block, (chosen * excess).sum(1), prior_gradient(weights, features));
    if (keys.visual.sum().item<double>() == 0) return;
    const at::Tensor visual = attention.masked_fill(keys.visual.eq(0).unsqueeze(0), -1.0);
    const at::Tensor place = visual.argmax(1, true);
    const at::Tensor most = visual.gather(1, place);
    weights = -most * (attention * keys.count.unsqueeze(0));
    weights.scatter_add_(1, place, most);
    put(kSinkVisual, block, most.squeeze(1) - uniform, prior_gradient(weights, features));
  }

  void add_maps(const HeadBlock& block, const at::Tensor& scores, const at::Tensor& attention,
                const Displacements& keys, double logit_of_score) {
    const int64_t all = setting_.layout.tokens(), n = block.index.size(0);
    const auto spread = [&](const at::Tensor& values, double hidden) {
      return at::full({n, all}, hidden, at::kDouble)
          .index_copy_(1, keys.key, values.index_select(1, keys.distinct));
    };
    std::vector<int64_t> layers, heads;
    const int64_t* row = block.index.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < n; ++i) {
      layers.push_back(coefficients_.layer[static_cast<size_t>(row[i])]);
      heads.push_back(coefficients_.head[static_cast<size_t>(row[i])]);
    }
    const at::Tensor layer = at::tensor(layers, at::kLong), head = at::tensor(heads, at::kLong);
    const at::Tensor logits = spread(scores * logit_of_score, kNan), shares = spread(attention, 0.0);
    SchemePrior& maps = result_.maps;
    maps.logits_by_layer.index_add_(0, layer, logits.nan_to_num(0.0));
    visible_.index_add_(0, layer, logits.isfinite().to(at::kDouble));
    maps.attention_by_layer.index_add_(0, layer, shares);
    heads_.index_add_(0, layer, at::full({n}, 1.0, at::kDouble));
    if (!setting_.options.by_head) return;
    maps.logits_by_head.index_put_({layer, head}, logits.to(at::kFloat));
    maps.attention_by_head.index_put_({layer, head}, shares.to(at::kFloat));
  }

  /// Windows hide no partner here: the numbers say what the encoding makes of the pair.
  void add_partner(const HeadBlock& block, const PartnerQuestion& question, const Frequencies& frequencies,
                   const PriorPart& of) {
    const int64_t probes = question.probes, cells = question.cells;
    const Features features = features_of(question.delta, frequencies, block, of);
    const Features near =
        features_of(at::zeros({question.delta.size(0), 1}, at::kDouble), frequencies, block, of);
    // Columns of the partners among all displacements.
    const at::Tensor own = at::arange(probes, at::kLong) * cells + question.partner;
    const double weight = 1.0 / static_cast<double>(probes);
    for_parts(block, features, [&](const HeadBlock& part, const at::Tensor& scores) {
      const int64_t n = part.index.size(0);
      const at::Tensor of_own = scores.index_select(1, own);  // [n, P]
      // The difference is taken before the product, so that partners without distance give 0 exactly.
      const at::Tensor change = features.values.index_select(1, own).mean(1) - near.values.squeeze(1);
      at::Tensor drop = coefficients_.rows.index_select(0, part.index).matmul(change);
      if (part.slopes.defined()) drop -= part.slopes * features.distance.index_select(0, own).mean();
      put(kPartnerLogit, part, drop, change.unsqueeze(0).repeat({n, 1}));

      const at::Tensor by_probe = scores.view({n, probes, cells});
      const at::Tensor attention = by_probe.softmax(-1);
      const at::Tensor share = attention.view({n, probes * cells}).index_select(1, own);  // [n, P]
      at::Tensor weights = (-(share * weight).unsqueeze(2) * attention).view({n, probes * cells});
      weights.index_add_(1, own, share * weight);
      put(kPartnerShare, part, share.mean(1), prior_gradient(weights, features));

      const at::Tensor ahead = by_probe - of_own.unsqueeze(2);
      const at::Tensor better = ahead.gt(kTie).to(at::kDouble).sum(2);
      const at::Tensor ties = ahead.abs().le(kTie).to(at::kDouble).sum(2) - 1.0;
      put(kPartnerRank, part, (better + 0.5 * ties + 1.0).mean(1), {});
    });
  }

  SchemeNumbers finish() {
    SchemePrior& maps = result_.maps;
    // A key may be hidden in some layers only (PyPE's rings): its mean is over those that see it.
    maps.logits = maps.logits_by_layer.sum(0) / visible_.sum(0);
    maps.attention = maps.attention_by_layer.sum(0) / heads_.sum();
    maps.logits_by_layer = maps.logits_by_layer / visible_;
    maps.attention_by_layer = maps.attention_by_layer / heads_.unsqueeze(1);
    return std::move(result_);
  }

  const Scheme& scheme_;
  const PriorSetting& setting_;
  const PriorCoefficients& coefficients_;
  at::Tensor slopes_;
  std::vector<AskedLayout> asked_;
  at::Tensor visible_, heads_;       // heads behind each sum
  std::vector<double> part_shares_;  // of uniform attention at each text length, of the part at hand
  double rows_done_ = 0;             // of the parts before it
  SchemeNumbers result_;
};

}  // namespace

SchemeNumbers evaluate_scheme(const Scheme& scheme, const PriorSetting& setting) {
  return Evaluation(scheme, setting).run();
}

}  // namespace ropescope
