// What a text gives in a layer, and adding it up.
#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/index.h>
#include <ATen/ops/zeros_like.h>

#include "ropescope/core/tensor_operators.h"
#include "ropescope/probe/sample_collector.h"

namespace ropescope {

namespace {

/// x_HTD as the layer rotates it; a latent's first channels pass.
at::Tensor rotate_as_layer(const LayerFacts& layer, const at::Tensor& x_HTD, const RotaryTable& table) {
  if (!table.turns()) return x_HTD;
  const int64_t first = layer.first_rotary;
  const at::Tensor turned =
      apply_rotary(x_HTD.narrow(2, first, x_HTD.size(2) - first).unsqueeze(0), table).squeeze(0);
  return first == 0 ? turned : at::cat({x_HTD.narrow(2, 0, first), turned}, 2);
}

// Names of what is taken of a text in a layer.
constexpr const char* kPairsQ = "pairs_q";
constexpr const char* kPairsK = "pairs_k";
constexpr const char* kMomentsQ = "moments_q";
constexpr const char* kMomentsK = "moments_k";
constexpr const char* kProfile = "profile";

std::string of_kind(const std::string& name, size_t kind) { return fmt::format("{}_of_kind_{}", name, kind); }

void put_moments(TakenTensors& taken, const std::string& name, const TextMoments& moments) {
  taken[name + "/count"] = index_tensor({moments.count});
  taken[name + "/mean"] = moments.mean;
  taken[name + "/scatter"] = moments.scatter;
}

TextMoments moments_in(const TakenTensors& taken, const std::string& name) {
  return {taken.at(name + "/count").item<int64_t>(), taken.at(name + "/mean"), taken.at(name + "/scatter")};
}

/// Key/value heads that `heads` read, each once, in order.
std::vector<int64_t> key_heads_of(const std::vector<int64_t>& heads, int64_t group) {
  std::vector<int64_t> keys;
  for (const int64_t head : heads) {
    if (keys.empty() || keys.back() != head / group) keys.push_back(head / group);
  }
  return keys;
}

}  // namespace

std::vector<int64_t> SampleCollector::rows_of(int64_t layer, int64_t text) const {
  const auto of_layer = picks_of_layer_.find(layer);
  if (of_layer == picks_of_layer_.end()) return {};
  const auto rows = of_layer->second.find(text);
  return rows == of_layer->second.end() ? std::vector<int64_t>() : rows->second;
}

void SampleCollector::look_at_pairs(int64_t layer, int64_t text, const at::Tensor& q_HTD,
                                    const at::Tensor& k_KTD, TakenTensors& taken) const {
  const std::vector<int64_t> rows = rows_of(layer, text);
  if (rows.empty()) return;
  std::vector<int64_t> head, key_head, query, key;
  for (const int64_t row : rows) {
    const Pick& pick = picks_[static_cast<size_t>(row)];
    head.push_back(pick.head);
    key_head.push_back(pick.head / group(layer));
    query.push_back(pick.query);
    key.push_back(pick.key);
  }
  const auto gather = [&](const at::Tensor& x, const std::vector<int64_t>& heads,
                          const std::vector<int64_t>& tokens) {
    return at::index(x, {index_tensor(heads, x.device()), index_tensor(tokens, x.device())})
        .to(at::kCPU, at::kFloat);
  };
  taken[kPairsQ] = gather(q_HTD, head, query);
  taken[kPairsK] = gather(k_KTD, key_head, key);
}

void SampleCollector::add_pairs(int64_t layer, int64_t text, const TakenTensors& taken) {
  const std::vector<int64_t> rows = rows_of(layer, text);
  if (rows.empty()) return;
  const at::Tensor target = index_tensor(rows);
  pair_q_.index_copy_(0, target, taken.at(kPairsQ));
  pair_k_.index_copy_(0, target, taken.at(kPairsK));
}

void SampleCollector::measure(int64_t layer, int64_t text, const at::Tensor& q_HTD, const at::Tensor& k_KTD,
                              const RotaryTable& rotary, TakenTensors& taken) const {
  const int64_t skip = options_.draw.skip_first;
  const int64_t tokens = q_HTD.size(1) - skip;
  const std::vector<int64_t> of_layer = heads_of(layer);
  const std::vector<int64_t> key_heads = key_heads_of(of_layer, group(layer));
  if (of_layer.empty()) return;
  const auto chosen = [&](const at::Tensor& x, const std::vector<int64_t>& heads) {
    const at::Tensor kept = x.narrow(1, skip, tokens);
    const bool all = static_cast<int64_t>(heads.size()) == x.size(0);
    return all ? kept : kept.index_select(0, index_tensor(heads, x.device()));
  };
  if (moments_q_) {
    put_moments(taken, kMomentsQ, moments_of_text(chosen(q_HTD, of_layer)));
    put_moments(taken, kMomentsK, moments_of_text(chosen(k_KTD, key_heads)));
    for (size_t kind = 0; kinds_ && kind < kinds_->moments_q.size(); ++kind) {
      const at::Tensor& tokens_of_kind = kinds_->tokens[static_cast<size_t>(text)][kind];
      if (tokens_of_kind.size(0) == 0) continue;
      const at::Tensor index = tokens_of_kind.to(q_HTD.device());
      put_moments(taken, of_kind(kMomentsQ, kind),
                  moments_of_text(chosen(q_HTD, of_layer).index_select(1, index)));
      put_moments(taken, of_kind(kMomentsK, kind),
                  moments_of_text(chosen(k_KTD, key_heads).index_select(1, index)));
    }
  }
  if (!profile_) return;
  // Every query head of a chosen group is transformed; those that were not asked for are dropped.
  std::vector<int64_t> group_heads, rows;
  for (const int64_t key_head : key_heads) {
    for (int64_t head = key_head * group(layer); head < (key_head + 1) * group(layer); ++head) {
      if (std::binary_search(of_layer.begin(), of_layer.end(), head)) {
        rows.push_back(static_cast<int64_t>(group_heads.size()));
      }
      group_heads.push_back(head);
    }
  }
  const RotaryTable table = tokens_of(rotary, skip, tokens);
  const auto rotated = [&](const at::Tensor& x, const std::vector<int64_t>& heads) {
    return rotate_as_layer(facts(layer), chosen(x, heads).to(at::kDouble), table);
  };
  const at::Tensor q = rotated(q_HTD, group_heads), k = rotated(k_KTD, key_heads), asked = index_tensor(rows);
  taken[kProfile] = lagged_inner_products(q, k).index_select(0, asked);
  if (!kinds_) return;
  const std::vector<at::Tensor>& tokens_of_kind = kinds_->tokens[static_cast<size_t>(text)];
  // Tokens of the other kinds add nothing as zeros.
  const auto only = [&](const at::Tensor& x, int64_t kind) {
    const at::Tensor index = tokens_of_kind[static_cast<size_t>(kind)].to(x.device());
    return at::zeros_like(x).index_copy(1, index, x.index_select(1, index));
  };
  for (int64_t pair = 0; pair < kPairKinds; ++pair) {
    const at::Tensor& pairs = kinds_->pairs[static_cast<size_t>(text)][static_cast<size_t>(pair)];
    if (!(pairs > 0).any().item<bool>()) continue;
    const at::Tensor sums = lagged_inner_products(only(q, query_kind(pair)), only(k, key_kind(pair)));
    // Distances without a pair hold rounding of transforms, no sums.
    taken[of_kind(kProfile, static_cast<size_t>(pair))] =
        sums.index_select(0, asked).masked_fill(pairs == 0, 0.0);
  }
}

void SampleCollector::add_measures(int64_t layer, int64_t text, const TakenTensors& taken) {
  const std::vector<int64_t> of_layer = heads_of(layer);
  const std::vector<int64_t> key_heads = key_heads_of(of_layer, group(layer));
  if (of_layer.empty()) return;
  if (moments_q_) {
    moments_q_->add(layer, of_layer, text, moments_in(taken, kMomentsQ));
    moments_k_->add(layer, key_heads, text, moments_in(taken, kMomentsK));
    for (size_t kind = 0; kinds_ && kind < kinds_->moments_q.size(); ++kind) {
      if (kinds_->tokens[static_cast<size_t>(text)][kind].size(0) == 0) continue;
      kinds_->moments_q[kind].add(layer, of_layer, text, moments_in(taken, of_kind(kMomentsQ, kind)));
      kinds_->moments_k[kind].add(layer, key_heads, text, moments_in(taken, of_kind(kMomentsK, kind)));
    }
  }
  if (!profile_) return;
  profile_->add_sums(layer, of_layer, taken.at(kProfile),
                     pairs_at_distances(lengths_[static_cast<size_t>(text)] - options_.draw.skip_first));
  for (size_t pair = 0; kinds_ && pair < kinds_->profiles.size(); ++pair) {
    const auto sums = taken.find(of_kind(kProfile, pair));
    if (sums == taken.end()) continue;  // no pair of the kind
    kinds_->profiles[pair].add_sums(layer, of_layer, sums->second,
                                    kinds_->pairs[static_cast<size_t>(text)][pair]);
  }
}

int64_t SampleCollector::most_tensors() const {
  constexpr int64_t kOfPairs = 2, kOfMoments = 2 * 3;
  int64_t of_layer = kOfPairs;
  if (moments_q_) of_layer += kOfMoments * (1 + (kinds_ ? kTokenKinds : 0));
  if (profile_) of_layer += 1 + (kinds_ ? kPairKinds : 0);
  int64_t layers = 0;
  for (int64_t layer = 0; layer <= last_layer(); ++layer) layers += wants_layer(layer) ? 1 : 0;
  return layers * of_layer;
}

TakenTensors SampleCollector::look(int64_t layer, int64_t text, const at::Tensor& q_HTD,
                                   const at::Tensor& k_KTD, const RotaryTable& table) const {
  TakenTensors taken;
  look_at_pairs(layer, text, q_HTD, k_KTD, taken);
  if (measures_layer(layer)) measure(layer, text, q_HTD, k_KTD, table, taken);
  return taken;
}

void SampleCollector::add(int64_t layer, int64_t text, const TakenTensors& taken) {
  add_pairs(layer, text, taken);
  if (measures_layer(layer)) add_measures(layer, text, taken);
}

}  // namespace ropescope
