#include "ropescope/analysis/attention_measures.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/prior_geometry.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

/// Positions of prompt and generated tokens together.
Positions positions_of_all(const SequenceEncoding& encoding, int64_t tokens) {
  Positions all = encoding.positions();
  const int64_t generated = tokens - all.tokens();
  if (generated <= 0) return all;
  all.coordinates = encoding.coordinates(tokens).contiguous();
  all.modality = at::cat({all.modality, at::zeros({generated}, all.modality.options())});
  all.raster = at::cat({all.raster, at::full({generated}, -1, all.raster.options())});
  if (all.anchors.defined()) {
    all.anchors =
        at::cat({all.anchors, at::full({all.anchors.size(0), generated}, all.next_anchor, at::kDouble)}, 1);
  }
  return all;
}

at::Tensor indicator(const TokenPlaces& places, int64_t tokens, bool (*wanted)(Modality)) {
  at::Tensor mask = at::zeros({tokens}, at::kDouble);
  auto* out = mask.mutable_data_ptr<double>();
  for (size_t i = 0; i < places.modality.size(); ++i) out[i] = wanted(places.modality[i]) ? 1 : 0;
  return mask;
}

}  // namespace

std::vector<std::string> attention_measure_names(const std::vector<int64_t>& top_k) {
  std::vector<std::string> names = {"visual_share",  "thumbnail_share", "high_res_share", "sink_first",
                                    "sink_visual",   "entropy",         "token_distance", "id_distance",
                                    "partner_share", "partner_rank"};
  for (const int64_t k : top_k) names.push_back("hit_top" + std::to_string(k));
  return names;
}

bool is_alignment_measure(const std::string& name) {
  return name.rfind("partner_", 0) == 0 || name.rfind("hit_top", 0) == 0;
}

AttentionMeasures::AttentionMeasures(const TokenPlaces& places, const SequenceEncoding& encoding,
                                     int64_t tokens, const std::vector<int64_t>& queries,
                                     const std::vector<int64_t>& visible, const std::vector<int64_t>& top_k)
    : queries_(queries), top_k_(top_k) {
  visible_ = at::tensor(visible, at::kLong).to(at::kDouble);
  visual_ = indicator(places, tokens, is_visual);
  thumbnail_ = indicator(places, tokens, [](Modality m) { return m == Modality::kImage; });
  high_ = indicator(places, tokens, [](Modality m) { return m == Modality::kHighRes; });
  const auto count = static_cast<int64_t>(queries.size());
  const at::Tensor index = at::tensor(queries, at::kLong);
  token_distance_ = (index.unsqueeze(1) - at::arange(tokens, at::kLong).unsqueeze(0)).abs().to(at::kDouble);

  const Positions positions = positions_of_all(encoding, tokens);
  std::vector<int64_t> keys(static_cast<size_t>(tokens));
  for (int64_t key = 0; key < tokens; ++key) keys[static_cast<size_t>(key)] = key;
  id_distance_ = at::empty({count, tokens}, at::kDouble);
  text_distance_ = at::full({count}, NAN, at::kDouble);
  for (int64_t q = 0; q < count; ++q) {
    const int64_t query = queries[static_cast<size_t>(q)];
    id_distance_[q].copy_(displacements_to(positions, query, keys).abs().amax(0));
    const bool of_layout = query < places.tokens();
    const auto at_query = static_cast<size_t>(query);
    // A thumbnail behind its tiles cannot be seen by them.
    const int64_t partner = of_layout ? places.partner[at_query] : -1;
    partner_.push_back(partner < query ? partner : -1);
    block_.push_back(of_layout ? places.block[at_query] : -1);
    if (block_.back() >= 0) continue;
    for (int64_t token = std::min(query, places.tokens() - 1); token >= 0; --token) {
      if (!is_visual(places.modality[static_cast<size_t>(token)])) continue;
      text_distance_[q].fill_(static_cast<double>(query - token - 1));
      break;
    }
  }
  for (size_t i = 0; i < places.block.size(); ++i) {
    if (places.block[i] < 0) continue;
    candidates_.resize(std::max(candidates_.size(), static_cast<size_t>(places.block[i]) + 1));
    if (places.modality[i] == Modality::kImage) {
      candidates_[static_cast<size_t>(places.block[i])].push_back(static_cast<int64_t>(i));
    }
  }
}

std::map<std::string, at::Tensor> AttentionMeasures::of(const at::Tensor& rows_HQS) const {
  // Head by head: temporaries in float64 stay small, whatever the number of heads.
  std::map<std::string, std::vector<at::Tensor>> parts;
  for (int64_t head = 0; head < rows_HQS.size(0); ++head) {
    for (auto& [name, values] : of_head(rows_HQS.narrow(0, head, 1).to(at::kCPU, at::kDouble))) {
      parts[name].push_back(values);
    }
  }
  std::map<std::string, at::Tensor> values;
  for (const auto& [name, heads] : parts) values[name] = at::cat(heads, 0);
  return values;
}

std::map<std::string, at::Tensor> AttentionMeasures::of_head(const at::Tensor& rows) const {
  const int64_t heads = rows.size(0), count = rows.size(1), tokens = rows.size(2);
  const at::Tensor uniform = visible_.reciprocal().unsqueeze(0);  // [1, Q]
  std::map<std::string, at::Tensor> values;
  const at::Tensor none = at::full({heads, count}, NAN, at::kDouble);
  const auto share = [&](const at::Tensor& mask) {
    return mask.sum().item<double>() > 0 ? rows.matmul(mask) : none;
  };
  values["visual_share"] = share(visual_);
  values["thumbnail_share"] = share(thumbnail_);
  values["high_res_share"] = share(high_);
  const at::Tensor first = rows.narrow(2, 0, std::min(kSinkTokens, tokens));
  values["sink_first"] = (first - uniform.unsqueeze(2)).clamp_min(0).sum(2);
  // (a key that is not visible has no attention, so it adds nothing above)
  values["sink_visual"] = visual_.sum().item<double>() > 0 ? rows.mul(visual_).amax(2) - uniform : none;
  values["entropy"] = rows.mul(rows.clamp_min(1e-300).log()).sum(2).neg();
  values["token_distance"] = rows.mul(token_distance_.unsqueeze(0)).sum(2);
  values["id_distance"] = rows.mul(id_distance_.unsqueeze(0)).sum(2);
  add_alignment(rows, values);
  return values;
}

void AttentionMeasures::add_alignment(const at::Tensor& rows,
                                      std::map<std::string, at::Tensor>& values) const {
  const int64_t heads = rows.size(0), count = rows.size(1);
  const at::Tensor share = at::full({heads, count}, NAN, at::kDouble), rank = share.clone();
  for (int64_t q = 0; q < count; ++q) {
    const int64_t partner = partner_[static_cast<size_t>(q)];
    if (partner < 0) continue;
    const std::vector<int64_t>& thumbnail = candidates_[static_cast<size_t>(block_[static_cast<size_t>(q)])];
    const at::Tensor among =
        rows.select(1, q).narrow(1, thumbnail.front(), thumbnail.back() + 1 - thumbnail.front());
    const at::Tensor own = among.select(1, partner - thumbnail.front()).unsqueeze(1);
    share.select(1, q).copy_(own.squeeze(1) / among.sum(1));
    const at::Tensor above = among.gt(own).sum(1).to(at::kDouble),
                     equal = among.eq(own).sum(1).to(at::kDouble);
    rank.select(1, q).copy_(above + (equal + 1) * 0.5);
  }
  values["partner_share"] = share;
  values["partner_rank"] = rank;
  for (const int64_t k : top_k_) {
    values["hit_top" + std::to_string(k)] =
        rank.le(static_cast<double>(k)).to(at::kDouble).masked_fill(rank.isnan(), NAN);
  }
}

at::Tensor AttentionMeasures::uniform_share() const {
  if (visual_.sum().item<double>() == 0) return at::full({visible_.size(0)}, NAN, at::kDouble);
  const at::Tensor before = visual_.cumsum(0);
  return before.index_select(0, at::tensor(queries_, at::kLong)) / visible_;
}

at::Tensor AttentionMeasures::text_distance() const { return text_distance_; }

std::vector<int64_t> visible_counts(const SequenceEncoding& encoding, const std::vector<int64_t>& queries,
                                    const at::Tensor& attention_mask) {
  std::vector<int64_t> counts;
  const at::Tensor real =
      attention_mask.defined() ? attention_mask[0].ne(0).to(at::kCPU, at::kLong).cumsum(0) : at::Tensor();
  const Positions& positions = encoding.positions();
  for (const int64_t query : queries) {
    const bool ruled = encoding.scheme().has_rule() && query < positions.tokens();
    if (ruled) {
      counts.push_back(displacements(encoding.scheme(), positions, query).key.size(0));
    } else {
      counts.push_back(real.defined() ? std::max<int64_t>(real[query].item<int64_t>(), 1) : query + 1);
    }
  }
  return counts;
}

}  // namespace ropescope
