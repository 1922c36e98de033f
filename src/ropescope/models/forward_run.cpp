#include "ropescope/models/forward_run.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/attention.h"
#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/pass_attention.h"
#include "ropescope/models/recompute.h"

namespace ropescope {

namespace {

using kernels::linear;

at::Tensor embed_input(const Decoder& decoder, const ForwardInput& input) {
  const at::Tensor& table = decoder.weights.embed_tokens;
  if (input.inputs_embeds.defined()) {
    if (input.inputs_embeds.dim() != 3 || input.inputs_embeds.size(2) != table.size(1)) {
      throw InternalError("forward: expected inputs_embeds [batch, tokens, {}]", table.size(1));
    }
    return input.inputs_embeds.to(table.device(), table.scalar_type());
  }
  if (!input.input_ids.defined() || input.input_ids.dim() != 2 ||
      input.input_ids.scalar_type() != at::kLong) {
    throw InternalError("forward: expected int64 input_ids [batch, tokens]");
  }
  if (input.input_ids.numel() == 0) throw InputError("input_ids: expected at least one token, found none");
  const auto lowest = input.input_ids.min().item<int64_t>(), highest = input.input_ids.max().item<int64_t>();
  if (lowest < 0 || highest >= table.size(0)) {
    throw InputError("input_ids: expected ids from 0 to {}, found {}", table.size(0) - 1,
                     lowest < 0 ? lowest : highest);
  }
  const HeldWeights held(decoder.access, table);
  return embed_tokens(decoder, input.input_ids.to(table.device()));
}

// Gemma 4: (norm(P x_0 / sqrt(C)) + sqrt(n) E'[ids]) / sqrt(2), [B, T, L, n].
at::Tensor layer_inputs(const Decoder& decoder, const ForwardInput& input, const at::Tensor& hidden) {
  const int64_t width = decoder.config.layer_input_dim;
  if (width == 0) return {};
  if (!input.input_ids.defined()) {
    throw InputError(
        "forward: a model whose layers have embeddings of their own needs the tokens' ids, not only embeddings");
  }
  const DecoderWeights& weights = decoder.weights;
  const std::vector<int64_t> apart = {decoder.config.num_hidden_layers, width};
  const at::Tensor ids = input.input_ids.to(hidden.device());
  const at::Tensor of_token = embedding_rows(decoder.access, weights.layer_embedding, ids)
                                  .mul(std::sqrt(static_cast<double>(width)))
                                  .unflatten(-1, apart);
  const at::Tensor projected = linear(hidden, weights.layer_embedding_projection, {})
                                   .mul(1.0 / std::sqrt(static_cast<double>(hidden.size(2))));
  const at::Tensor normed =
      decoder_norm(decoder.config, projected.unflatten(-1, apart), weights.layer_embedding_norm);
  return normed.add(of_token).mul(1.0 / std::sqrt(2.0));
}

PassAttention make_attention(const ForwardInput& input, const PassEncoding& encoding,
                             const at::Tensor& hidden, int64_t past) {
  const int64_t tokens = hidden.size(1);
  const bool rules = encoding.changes_attention();
  if (rules && input.groups.defined()) {
    throw InputError(
        "forward: expected no pictures whose tokens see each other under a scheme that changes the attention itself "
        "(dipe, cca, pype, alibi). Try: a scheme that rotates only");
  }
  const bool padded = input.attention_mask.defined() && !input.attention_mask.ne(0).all().item<bool>();
  if (rules && (padded || !input.segment_lengths.empty())) {
    throw InputError(
        "forward: expected neither padding nor packed texts under a scheme that changes the attention itself "
        "(dipe, cca, pype, alibi); give texts one by one");
  }
  AttentionPlan plain(hidden.size(0), tokens, past, rules ? at::Tensor() : input.attention_mask,
                      input.segment_lengths, hidden.scalar_type(), hidden.device(), input.blind_query,
                      input.groups);
  return PassAttention(encoding, std::move(plain), tokens, hidden.scalar_type(), hidden.device());
}

std::vector<at::Tensor> layer_parameters(const DecoderLayerWeights& layer) {
  std::vector<at::Tensor> parameters;
  visit_layer(layer, [&](TensorKind, const at::Tensor& weight) {
    if (weight.defined()) parameters.push_back(weight);
  });
  return parameters;
}

bool shows_anything(const Taps& taps) {
  return taps.hidden || taps.qk || taps.qk_rotated || taps.q_anchored || taps.attention;
}

void check_options(const Decoder& decoder, const ForwardInput& input, const ForwardOptions& options,
                   const Taps& taps) {
  if ((input.rotary == nullptr) == (input.encoding == nullptr)) {
    throw InternalError("forward: expected either a rotary table or an encoding");
  }
  const int64_t stop = std::max(options.stop_after_qk_of_layer, options.stop_after_rows_of_layer);
  if (stop >= decoder.config.num_hidden_layers) {
    throw InternalError("forward: expected to stop at a layer below {}, found {}",
                        decoder.config.num_hidden_layers, stop);
  }
  if (stop >= 0 && input.cache != nullptr) {
    throw InternalError("forward: a pass that stops early would leave its cache incomplete");
  }
  if (options.logits != ForwardOptions::Logits::kNone && stop < 0 && !decoder.weights.lm_head.defined()) {
    throw InternalError("forward: logits were asked of a decoder loaded without lm_head");
  }
  if (input.rotary != nullptr && !rotates_alike(decoder.config)) {
    throw InternalError("forward: one rotary table for a decoder whose layers rotate in several ways");
  }
  const std::vector<LayerShape>& layers = decoder.config.layers;
  const auto reads_others = [](const LayerShape& layer) { return layer.keys_of >= 0; };
  if (options.checkpoint_layers &&
      (decoder.config.layer_input_dim > 0 || std::any_of(layers.begin(), layers.end(), reads_others))) {
    throw InputError(
        "layers that read other layers' keys, or an embedding of their own, cannot be computed again by themselves. Try: "
        "without checkpointed layers");
  }
  const auto recurrent = [](const LayerShape& layer) { return layer.mixer == Mixer::kDeltaRule; };
  if (input.attention_mask.defined() && std::any_of(layers.begin(), layers.end(), recurrent) &&
      !input.attention_mask.ne(0).all().item<bool>()) {
    throw InputError(
        "a delta rule's state would take padding for text: give texts of one length, or one by one");
  }
  if (input.groups.defined() && std::any_of(layers.begin(), layers.end(), recurrent)) {
    throw InputError(
        "forward: a delta rule reads tokens in their order: pictures' tokens cannot see later ones");
  }
  if (options.checkpoint_layers && (input.cache != nullptr || stop >= 0 || shows_anything(taps))) {
    throw InternalError("forward: layers that are computed twice have neither taps nor a cache");
  }
}

// Tokens of a picture that an earlier pass ended in would see it whole, and those before them had not.
void refuse_cut_picture(const ForwardInput& input) {
  if (input.cache == nullptr || !input.cache->last_groups.defined() || !input.groups.defined()) return;
  const at::Tensor first = input.groups.select(1, 0).to(at::kCPU, at::kLong),
                   &last = input.cache->last_groups;
  if (first.sizes() == last.sizes() && first.eq(last).logical_and(first.ge(0)).any().item<bool>()) {
    throw InputError(
        "forward: expected whole pictures in a pass, whose tokens see each other, found one that began before it");
  }
}

DecoderPass make_pass(const Decoder& decoder, const ForwardInput& input, const ForwardOptions& options,
                      const Taps& taps, const at::Tensor& hidden) {
  const int64_t past = input.cache == nullptr ? 0 : input.cache->length();
  PassEncoding encoding;
  if (input.encoding == nullptr) encoding.rotary = {*input.rotary};
  encoding = (input.encoding == nullptr ? encoding : *input.encoding).to(hidden.device());
  PassAttention attention = make_attention(input, encoding, hidden, past);
  refuse_cut_picture(input);
  return DecoderPass{decoder.config,
                     options,
                     taps,
                     input.cache,
                     encoding,
                     std::move(attention),
                     past,
                     layer_inputs(decoder, input, hidden),
                     input.segment_lengths,
                     {},
                     input.groups.defined()
                         ? input.groups.select(1, hidden.size(1) - 1).to(at::kCPU, at::kLong)
                         : at::Tensor()};
}

// Checked, and brought to where the hidden states are.
std::vector<AddedFeatures> features_to_add(const Decoder& decoder, const ForwardInput& input,
                                           const at::Tensor& hidden) {
  std::vector<AddedFeatures> all;
  const int64_t tokens = hidden.size(0) * hidden.size(1), width = hidden.size(2);
  for (const AddedFeatures& entry : input.added) {
    if (entry.layer < 0 || entry.layer >= decoder.config.num_hidden_layers) {
      throw InputError("forward: features after layer {}: expected one of 0 to {}", entry.layer,
                       decoder.config.num_hidden_layers - 1);
    }
    const at::Tensor& index = entry.token_index;
    if (!index.defined() || index.dim() != 1 || index.scalar_type() != at::kLong ||
        !entry.features.defined() || entry.features.dim() != 2 || entry.features.size(0) != index.size(0) ||
        entry.features.size(1) != width) {
      throw InternalError("forward: features after layer {}: expected int64 [n] tokens and [n, {}] features",
                          entry.layer, width);
    }
    if (index.numel() == 0) continue;
    const auto lowest = index.min().item<int64_t>(), highest = index.max().item<int64_t>();
    if (lowest < 0 || highest >= tokens) {
      throw InputError("forward: features after layer {}: expected tokens 0 to {}, found {}", entry.layer,
                       tokens - 1, lowest < 0 ? lowest : highest);
    }
    all.push_back(
        {entry.layer, index.to(hidden.device()), entry.features.to(hidden.device(), hidden.scalar_type())});
  }
  return all;
}

}  // namespace

ForwardRun::ForwardRun(const Decoder& decoder, const ForwardInput& input, const ForwardOptions& options,
                       Taps taps)
    : decoder_(decoder),
      options_(options),
      taps_(std::move(taps)),
      hidden_((check_options(decoder, input, options, taps_), embed_input(decoder, input))),
      added_(features_to_add(decoder, input, hidden_)),
      pass_(make_pass(decoder, input, options_, taps_, hidden_)) {
  if (taps_.hidden) taps_.hidden(0, hidden_);
}

void ForwardRun::add_features(int64_t layer) {
  for (const AddedFeatures& entry : added_) {
    if (entry.layer != layer) continue;
    hidden_ = hidden_.flatten(0, 1).index_add(0, entry.token_index, entry.features).view(hidden_.sizes());
  }
}

void ForwardRun::step() {
  const DecoderLayerWeights& weights = decoder_.weights.layers[static_cast<size_t>(next_)];
  hidden_ = with_weights(decoder_.access, any_weight(weights), hidden_,
                         [&](const at::Tensor& x) { return run_layer(pass_, weights, next_, x); });
  stopped_ = !hidden_.defined();
  if (!stopped_) add_features(next_);
  ++next_;
  if (!stopped_ && taps_.hidden) taps_.hidden(next_, hidden_);
}

// All layers, each computed again in the backward pass; that one comes later, so it shares what it needs.
void ForwardRun::run_checkpointed() {
  struct Kept {
    DecoderConfig config;
    ForwardOptions options;
    Taps taps;
    std::vector<DecoderLayerWeights> layers;
    std::optional<DecoderPass> pass;
  };
  auto kept = std::make_shared<Kept>();
  kept->config = decoder_.config;
  kept->layers = decoder_.weights.layers;
  kept->pass.emplace(DecoderPass{kept->config,
                                 kept->options,
                                 kept->taps,
                                 nullptr,
                                 pass_.encoding,
                                 pass_.attention,
                                 0,
                                 {},
                                 pass_.segment_lengths,
                                 {},
                                 {}});
  for (size_t l = 0; l < kept->layers.size(); ++l) {
    const auto body = [kept, l](const at::Tensor& x) {
      return run_layer(*kept->pass, kept->layers[l], static_cast<int64_t>(l), x);
    };
    hidden_ = with_weights(decoder_.access, any_weight(kept->layers[l]), hidden_, [&](const at::Tensor& x) {
      return recomputed(body, x, layer_parameters(kept->layers[l]));
    });
    add_features(static_cast<int64_t>(l));
  }
  next_ = decoder_.config.num_hidden_layers;
}

ForwardOutput ForwardRun::head() const {
  using Logits = ForwardOptions::Logits;
  const auto norm = [&](const at::Tensor& x) {
    return decoder_norm(decoder_.config, x, decoder_.weights.norm);
  };
  const auto logits = [&](const at::Tensor& x) {
    at::Tensor raw = output_product(decoder_.access, x, decoder_.weights.lm_head).to(at::kFloat);
    const double scale = decoder_.config.logit_scale, cap = decoder_.config.logit_softcap;
    if (scale != 1) raw = raw.mul(scale);
    return cap > 0 ? raw.div(cap).tanh().mul(cap) : raw;
  };
  ForwardOutput output;
  if (options_.final_hidden || options_.logits == Logits::kAll) {
    output.final_hidden = norm(hidden_);
  }
  if (options_.logits == Logits::kAll) {
    output.logits = logits(output.final_hidden);
  } else if (options_.logits == Logits::kLast) {
    const at::Tensor last = hidden_.narrow(1, hidden_.size(1) - 1, 1).contiguous();
    output.logits = logits(norm(last));
  }
  if (!options_.final_hidden) output.final_hidden = at::Tensor();
  return output;
}

ForwardOutput ForwardRun::finish() {
  if (stopped_) return {};
  if (pass_.cache != nullptr) {
    pass_.cache->advance(hidden_.size(1));
    pass_.cache->last_groups = pass_.last_groups;
  }
  return head();
}

void run_together(const Decoder& decoder, const std::vector<std::unique_ptr<ForwardRun>>& runs,
                  const std::function<void()>& on_step) {
  for (int64_t l = 0; l < decoder.config.num_hidden_layers; ++l) {
    const auto waits = [l](const std::unique_ptr<ForwardRun>& run) {
      return !run->finished() && run->next_layer() == l;
    };
    if (std::none_of(runs.begin(), runs.end(), waits)) continue;
    const HeldWeights held(decoder.access, any_weight(decoder.weights.layers[static_cast<size_t>(l)]));
    for (const auto& run : runs) {
      if (!waits(run)) continue;
      run->step();
      if (on_step) on_step();
    }
  }
}

}  // namespace ropescope
