#include "ropescope/probe/sample_collector.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <ATen/ops/arange.h>
#include <ATen/ops/index.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

std::vector<int64_t> each_once(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

std::vector<int64_t> all_or(const std::vector<int64_t>& chosen, int64_t count) {
  std::vector<int64_t> values = chosen;
  if (values.empty()) {
    values.resize(static_cast<size_t>(count));
    std::iota(values.begin(), values.end(), 0);
  }
  return each_once(std::move(values));
}

/// Key/value heads of a layer as taps show them: latent attention gives every query head a key.
int64_t key_heads_shown(const LayerShape& layer) { return layer.latent ? layer.heads : layer.kv_heads; }

/// The first pick whose layer has no queries and keys of its own, or heads of another size than `head_dim`, is refused.
void check_layers_of_picks(const PickList& list, const std::vector<LayerFacts>& layers, int64_t head_dim) {
  for (size_t i = 0; i < list.picks.size(); ++i) {
    const int64_t layer = list.picks[i].layer;
    const LayerFacts& facts = layers[static_cast<size_t>(layer)];
    if (!facts.has_qk) {
      throw InputError("{} line {}: layer {}: expected a layer with queries and keys of its own, found {}",
                       list.file, list.lines[i], layer, facts.kind);
    }
    if (facts.head_dim != head_dim) {
      throw InputError(
          "{} line {}: layer {}: expected heads of {} channels, since a samples file holds one size, found {}",
          list.file, list.lines[i], layer, head_dim, facts.head_dim);
    }
  }
}

}  // namespace

at::Tensor index_tensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

RotaryTable tokens_of(const RotaryTable& table, int64_t first, int64_t count) {
  if (!table.turns()) return table;
  return {table.cos.narrow(2, first, count), table.sin.narrow(2, first, count), table.layout};
}

SampleCollector::SampleCollector(DecoderConfig config, const TextSet& texts, const SampleOptions& options)
    : config_(std::move(config)),
      options_(options),
      facts_(layer_facts(config_)),
      texts_(texts),
      lengths_(texts.lengths()),
      model_heads_(most_of_layers(config_, [](const LayerShape& layer) { return layer.heads; })),
      heads_(all_or(options.heads, model_heads_)) {
  choose_layers();
  collect_picks();
  const int64_t S = static_cast<int64_t>(lengths_.size());
  const int64_t L = config_.num_hidden_layers;
  const int64_t H = model_heads_;
  const int64_t N = static_cast<int64_t>(picks_.size());
  pair_q_ = at::zeros({N, head_dim_}, at::kFloat);
  pair_k_ = at::zeros({N, head_dim_}, at::kFloat);
  if (options_.moments) {
    moments_q_.emplace(L, H, head_dim_, S);
    moments_k_.emplace(L, most_of_layers(config_, key_heads_shown), head_dim_, S);
  }
  if (options_.profile) {
    const int64_t longest = *std::max_element(lengths_.begin(), lengths_.end());
    profile_.emplace(L, H, longest - options_.draw.skip_first);
    for (const int64_t tokens : lengths_) {
      profile_->add_text(pairs_at_distances(tokens - options_.draw.skip_first));
    }
  }
  if (texts.has_media()) prepare_kinds();
}

void SampleCollector::prepare_kinds() {
  OfKinds& of = kinds_.emplace();
  const int64_t skip = options_.draw.skip_first, L = config_.num_hidden_layers;
  const int64_t S = static_cast<int64_t>(lengths_.size());
  for (int64_t kind = 0; kind < kTokenKinds && options_.moments; ++kind) {
    of.moments_q.emplace_back(L, model_heads_, head_dim_, S);
    of.moments_k.emplace_back(L, most_of_layers(config_, key_heads_shown), head_dim_, S);
  }
  if (options_.profile) {
    const int64_t longest = *std::max_element(lengths_.begin(), lengths_.end()) - skip;
    for (int64_t pair = 0; pair < kPairKinds; ++pair) of.profiles.emplace_back(L, model_heads_, longest);
  }
  for (const TokenizedText& text : texts_.texts) {
    const std::vector<bool> visual = text.visual();
    const auto tokens = static_cast<int64_t>(visual.size());
    at::Tensor mask = at::zeros({tokens}, at::kBool);
    for (int64_t t = 0; t < tokens; ++t) mask.mutable_data_ptr<bool>()[t] = visual[static_cast<size_t>(t)];
    of.visual.push_back(mask);
    if (!options_.moments && !options_.profile) continue;
    const at::Tensor kept = mask.narrow(0, skip, tokens - skip);
    const std::vector<at::Tensor> among = {kept.logical_not(), kept};
    auto& of_text = of.tokens.emplace_back();
    for (const at::Tensor& own : among) of_text.push_back(own.nonzero().squeeze(1));
    auto& pairs = of.pairs.emplace_back();
    for (int64_t pair = 0; pair < kPairKinds && options_.profile; ++pair) {
      pairs.push_back(pairs_at_distances(among[static_cast<size_t>(query_kind(pair))],
                                         among[static_cast<size_t>(key_kind(pair))]));
      of.profiles[static_cast<size_t>(pair)].add_text(pairs.back());
    }
  }
}

int64_t SampleCollector::group(int64_t layer) const {
  return config_.layer(layer).heads / key_heads_shown(config_.layer(layer));
}

void SampleCollector::choose_layers() {
  // Picks alone say themselves where they lie.
  const bool picks_alone = options_.picks && !options_.moments && !options_.profile;
  if (options_.picks) check_picks(*options_.picks, lengths_, config_.num_hidden_layers, model_heads_);
  if (!picks_alone) layers_ = each_once(layers_to_sample(config_, options_.layers));
  head_dim_ = facts(picks_alone ? options_.picks->picks.front().layer : layers_.front()).head_dim;
  if (options_.picks) check_layers_of_picks(*options_.picks, facts_, head_dim_);
}

void SampleCollector::collect_picks() {
  if (options_.picks) {
    picks_ = options_.picks->picks;
  } else {
    for (size_t text = 0; text < lengths_.size(); ++text) {
      for (const int64_t layer : layers_) {
        const std::vector<int64_t> heads = heads_of(layer);
        if (heads.empty()) continue;
        const auto drawn =
            draw_picks(options_.draw, static_cast<int64_t>(text), layer, lengths_[text], heads);
        picks_.insert(picks_.end(), drawn.begin(), drawn.end());
      }
    }
  }
  for (size_t row = 0; row < picks_.size(); ++row) {
    picks_of_layer_[picks_[row].layer][picks_[row].text].push_back(static_cast<int64_t>(row));
  }
}

std::vector<std::vector<int64_t>> SampleCollector::packs() const {
  std::set<int64_t> needed;
  for (const Pick& pick : picks_) needed.insert(pick.text);
  const bool all = options_.moments || options_.profile;
  std::vector<int64_t> texts;
  for (size_t text = 0; text < lengths_.size(); ++text) {
    if (all || needed.count(static_cast<int64_t>(text)) > 0) texts.push_back(static_cast<int64_t>(text));
  }
  // Dynamic NTK takes its base from the longest position of a pass, so texts must not share one.
  const bool alone = depends_on_length(config_);
  return pack_texts(texts_, texts, alone ? 1 : options_.tokens_per_pass);
}

std::vector<std::pair<std::string, at::Tensor>> SampleCollector::state() const {
  std::vector<std::pair<std::string, at::Tensor>> tensors = {{"pairs/q", pair_q_}, {"pairs/k", pair_k_}};
  const auto add = [&](const std::string& group, const auto& part) {
    if (!part) return;
    for (const auto& [name, tensor] : part->state()) tensors.emplace_back(group + "/" + name, tensor);
  };
  add("moments_q", moments_q_);
  add("moments_k", moments_k_);
  add("profile", profile_);
  const auto add_kinds = [&](const std::string& group, const auto& parts) {
    for (size_t kind = 0; kind < parts.size(); ++kind) {
      for (const auto& [name, tensor] : parts[kind].state()) {
        tensors.emplace_back(fmt::format("{}/{}/{}", group, kind, name), tensor);
      }
    }
  };
  if (kinds_) {
    add_kinds("moments_q_of_kind", kinds_->moments_q);
    add_kinds("moments_k_of_kind", kinds_->moments_k);
    add_kinds("profile_of_kind", kinds_->profiles);
  }
  return tensors;
}

MomentSet SampleCollector::moment_set(const MomentAccumulator& of_q, const MomentAccumulator& of_k,
                                      const at::Tensor& text_count) const {
  // Of each layer and query head, the key that it reads; [L, H], and the layers beside it.
  at::Tensor key_head = at::zeros({config_.num_hidden_layers, model_heads_}, at::kLong);
  for (const int64_t layer : layers_) {
    for (const int64_t head : heads_of(layer)) key_head[layer][head] = head / group(layer);
  }
  const at::Tensor own_layer =
      at::arange(config_.num_hidden_layers, at::kLong).unsqueeze(1).expand_as(key_head);
  const auto by_query_head = [&](const at::Tensor& x_LK) { return at::index(x_LK, {own_layer, key_head}); };
  MomentSet set;
  set.count = of_q.count().to(at::kLong);
  const at::Tensor unmeasured = of_q.count() == 0;
  const auto blank = [&](const at::Tensor& x) {
    return x.dim() == 3 ? x.masked_fill(unmeasured.unsqueeze(-1), kNan)
                        : x.masked_fill(unmeasured.unsqueeze(-1).unsqueeze(-1), kNan);
  };
  set.mean_q = blank(of_q.mean());
  set.mean_k = blank(by_query_head(of_k.mean()));
  set.cov_q = blank(of_q.covariance());
  set.cov_k = blank(by_query_head(of_k.covariance()));
  const at::Tensor unmeasured_text = unmeasured.unsqueeze(0).unsqueeze(-1);
  set.text_mean_q = of_q.text_mean().masked_fill(unmeasured_text, kNan);
  set.text_mean_k =
      at::index(of_k.text_mean(), {at::Tensor(), own_layer, key_head}).masked_fill(unmeasured_text, kNan);
  set.text_count = text_count;
  return set;
}

KindSamples SampleCollector::kind_samples() const {
  KindSamples samples;
  for (const at::Tensor& visual : kinds_->visual)
    samples.visual_tokens.push_back(visual.sum().item<int64_t>());
  for (size_t kind = 0; kind < kinds_->moments_q.size(); ++kind) {
    std::vector<int64_t> counts;
    for (const auto& tokens : kinds_->tokens) counts.push_back(tokens[kind].size(0));
    const at::Tensor text_count = index_tensor(counts);
    MomentSet set = moment_set(kinds_->moments_q[kind], kinds_->moments_k[kind], text_count);
    const at::Tensor none = (text_count == 0).view({-1, 1, 1, 1});
    for (at::Tensor* mean : {&set.text_mean_q, &set.text_mean_k}) *mean = mean->masked_fill(none, kNan);
    samples.moments.push_back(std::move(set));
  }
  for (const ProfileAccumulator& profile : kinds_->profiles) samples.profiles.push_back(profile.result());
  return samples;
}

Samples SampleCollector::result() const {
  Samples samples;
  samples.model = model_facts(config_);
  samples.model.head_dim = head_dim_;
  samples.pairs.q = pair_q_;
  samples.pairs.k = pair_k_;
  const auto column = [&](int64_t Pick::*field) {
    std::vector<int64_t> values;
    for (const Pick& pick : picks_) values.push_back(pick.*field);
    return index_tensor(values);
  };
  samples.pairs.text = column(&Pick::text);
  samples.pairs.layer = column(&Pick::layer);
  samples.pairs.head = column(&Pick::head);
  samples.pairs.query = column(&Pick::query);
  samples.pairs.key = column(&Pick::key);
  if (moments_q_) {
    samples.moments = moment_set(*moments_q_, *moments_k_, index_tensor(lengths_) - options_.draw.skip_first);
  }
  if (profile_) samples.profile = profile_->result();
  if (kinds_) {
    std::vector<int64_t> kind;
    for (const Pick& pick : picks_) {
      const at::Tensor& visual = kinds_->visual[static_cast<size_t>(pick.text)];
      const auto of = [&](int64_t token) {
        return static_cast<int64_t>(visual.const_data_ptr<bool>()[token]);
      };
      kind.push_back(pair_kind(of(pick.query), of(pick.key)));
    }
    samples.pairs.kind = index_tensor(kind);
    samples.kinds = kind_samples();
  }
  for (const TokenizedText& text : texts_.texts) samples.text_names.push_back(text.name);
  samples.text_tokens = lengths_;
  samples.skipped_short = texts_.skipped_short;
  for (const at::Tensor& x : {pair_q_, pair_k_}) {
    if (!at::isfinite(x).all().item<bool>()) {
      throw NumericsError(
          "q or k of a sampled pair is not finite; try --dtype float32, or check the checkpoint");
    }
  }
  return samples;
}

}  // namespace ropescope
