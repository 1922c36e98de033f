// What a samples file is made of; sample_file.cpp reads it.
#include <ATen/ops/tensor.h>

#include "ropescope/probe/samples.h"

namespace ropescope {

namespace {

void write_model(ResultWriter& writer, const ModelFacts& model) {
  const std::string group = "/model";
  if (model.rope) {
    writer.attribute(group, "rope_theta", model.rope->theta);
    writer.attribute(group, "rope_type", rope_type_name(model.rope->type));
    writer.attribute(group, "rope_scaling", to_json(*model.rope).dump());
  }
  const bool adjacent = !model.layers.empty() && model.layers.front().pairing == PairLayout::kAdjacent;
  writer.attribute(group, "pairing", std::string(adjacent ? "adjacent" : "half"));
  writer.attribute(group, "head_dim", model.head_dim);
  writer.attribute(group, "num_hidden_layers", model.num_layers);
  writer.attribute(group, "num_attention_heads", model.num_heads);
  writer.attribute(group, "num_key_value_heads", model.num_key_value_heads);
  writer.attribute(group, "max_position_embeddings", model.max_position_embeddings);
  if (!model.sources.empty()) writer.attribute(group, "sources", model.sources);
  if (!model.scheme.empty()) writer.attribute(group, "scheme", model.scheme);
  write_layer_facts(writer, model.layers, model.max_position_embeddings);
}

/// "before rotation", and what the vectors of some layers do not hold.
std::string stage_text(const ModelFacts& model) {
  std::vector<int64_t> normed;
  for (size_t l = 0; l < model.layers.size(); ++l) {
    if (model.layers[l].norm_after_rotation) normed.push_back(static_cast<int64_t>(l));
  }
  if (normed.empty()) return "before rotation";
  return fmt::format("before rotation; layers {} normalise q and k after it, which these are not",
                     ranges_text(normed));
}

}  // namespace

ModelFacts model_facts(const DecoderConfig& config) {
  ModelFacts facts;
  facts.rope = config.rope();
  facts.num_layers = config.num_hidden_layers;
  facts.num_heads = config.num_attention_heads;
  facts.num_key_value_heads = config.num_key_value_heads;
  facts.head_dim = config.head_dim;
  facts.max_position_embeddings = config.max_position_embeddings;
  facts.layers = layer_facts(config);
  for (const LayerFacts& layer : facts.layers) {
    if (!layer.has_qk) continue;
    facts.head_dim = layer.head_dim;
    break;
  }
  return facts;
}

namespace {

void write_moments(ResultWriter& writer, const std::string& group, const MomentSet& moments,
                   const ModelFacts& model) {
  writer.write(group + "/mean_q", moments.mean_q);
  writer.write(group + "/mean_k", moments.mean_k);
  writer.write(group + "/count", moments.count);
  writer.write(group + "/cov_q", moments.cov_q.to(at::kFloat));
  writer.write(group + "/cov_k", moments.cov_k.to(at::kFloat));
  writer.write(group + "/text_mean_q", moments.text_mean_q);
  writer.write(group + "/text_mean_k", moments.text_mean_k);
  writer.write(group + "/text_count", moments.text_count);
  writer.attribute(group, "stage", stage_text(model));
  writer.attribute(group, "covariance", std::string("divided by count"));
}

void write_profile(ResultWriter& writer, const std::string& group, const ProfileSet& profile) {
  writer.write(group + "/count", profile.count);
  writer.write(group + "/mean", profile.mean);
  writer.write(group + "/stderr", profile.standard_error);
}

void write_kinds(ResultWriter& writer, const Samples& samples) {
  const KindSamples& kinds = *samples.kinds;
  writer.write("/texts/visual_tokens", at::tensor(kinds.visual_tokens, at::kLong));
  for (size_t kind = 0; kind < kinds.moments.size(); ++kind) {
    write_moments(writer, fmt::format("/moments/{}_tokens", token_kind_name(static_cast<int64_t>(kind))),
                  kinds.moments[kind], samples.model);
  }
  for (size_t pair = 0; pair < kinds.profiles.size(); ++pair) {
    write_profile(writer, "/profile/" + pair_kind_name(static_cast<int64_t>(pair)), kinds.profiles[pair]);
  }
}

}  // namespace

void write_samples(ResultWriter& writer, const Samples& samples) {
  write_model(writer, samples.model);
  writer.write("/texts/name", samples.text_names);
  writer.write("/texts/tokens", at::tensor(samples.text_tokens, at::kLong));
  writer.attribute("/texts", "skipped_short", samples.skipped_short);
  const PairSet& pairs = samples.pairs;
  if (pairs.size() > 0) {
    writer.write("/pairs/q", pairs.q);
    writer.write("/pairs/k", pairs.k);
    writer.write("/pairs/text", pairs.text);
    writer.write("/pairs/layer", pairs.layer);
    writer.write("/pairs/head", pairs.head);
    writer.write("/pairs/query", pairs.query);
    writer.write("/pairs/key", pairs.key);
    writer.attribute("/pairs", "stage", stage_text(samples.model));
    if (pairs.kind.defined()) {
      writer.write("/pairs/kind", pairs.kind);
      writer.attribute("/pairs", "kinds", pair_kinds_text());
    }
  }
  if (samples.moments) write_moments(writer, "/moments", *samples.moments, samples.model);
  if (samples.profile) {
    writer.write("/profile/distance", samples.profile->distance);
    write_profile(writer, "/profile", *samples.profile);
    writer.attribute("/profile", "stderr_method", std::string("cluster-robust over texts, ratio estimator"));
  }
  if (samples.kinds) write_kinds(writer, samples);
}

}  // namespace ropescope
