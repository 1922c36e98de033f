#include "ropescope/models/decoder.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/attention.h"
#include "ropescope/models/kernels/in_place_gradients.h"
#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/kernels/rms_norm.h"
#include "ropescope/models/pass_attention.h"
#include "ropescope/models/recompute.h"

namespace ropescope {

namespace {

using kernels::gated_linear;
using kernels::linear;
using kernels::linear_plus;
using kernels::linears;
using kernels::rms_norm;

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
  return kernels::embedding(table, input.input_ids.to(table.device()));
}

bool wants(const Taps& taps, int64_t layer) { return !taps.wants_layer || taps.wants_layer(layer); }

// What the layers of one pass share.
struct Pass {
  const DecoderConfig& config;
  const ForwardOptions& options;
  const Taps& taps;
  KvCache* cache;
  PassEncoding encoding;  // on the device of the weights
  PassAttention attention;
};

PassAttention make_attention(const ForwardInput& input, const PassEncoding& encoding,
                             const at::Tensor& hidden, int64_t past) {
  const int64_t tokens = hidden.size(1);
  const bool rules = encoding.changes_attention();
  const bool padded = input.attention_mask.defined() && !input.attention_mask.ne(0).all().item<bool>();
  if (rules && (padded || !input.segment_lengths.empty())) {
    throw InputError(
        "forward: expected neither padding nor packed texts under a scheme that changes the attention itself "
        "(dipe, cca, pype, alibi); give texts one by one");
  }
  AttentionPlan plain(hidden.size(0), tokens, past, rules ? at::Tensor() : input.attention_mask,
                      input.segment_lengths, hidden.scalar_type(), hidden.device(), input.blind_query);
  return PassAttention(encoding, std::move(plain), tokens, hidden.scalar_type(), hidden.device());
}

// The attention's contribution before the output projection, [B, T, H*D]; undefined when the pass stops here.
at::Tensor attend(const Pass& pass, const DecoderLayerWeights& weights, int64_t layer, const at::Tensor& x) {
  const int64_t kv_heads = pass.config.num_key_value_heads;
  const bool shown = wants(pass.taps, layer), last = pass.options.stop_after_qk_of_layer == layer;
  const bool rows_only = pass.options.stop_after_rows_of_layer == layer;
  at::Tensor q, k, v;
  if (last || rows_only) {
    q = linear(x, weights.q, weights.q_bias);
    k = linear(x, weights.k, weights.k_bias);
  } else {
    const auto qkv =
        linears(x, {weights.q, weights.k, weights.v}, {weights.q_bias, weights.k_bias, weights.v_bias});
    q = qkv[0], k = qkv[1], v = split_heads(qkv[2], kv_heads);
  }
  q = split_heads(q, pass.config.num_attention_heads);
  k = split_heads(k, kv_heads);
  if (shown && pass.taps.qk) pass.taps.qk(layer, q, k);
  const bool shows_anchored = shown && pass.taps.q_anchored && !pass.encoding.anchored.empty();
  if (last && !(shown && pass.taps.qk_rotated) && !shows_anchored) return {};
  at::Tensor q_anchored;
  if (!pass.encoding.anchored.empty()) q_anchored = apply_rotary(q, pass.encoding.anchored_table(layer));
  if (shows_anchored) pass.taps.q_anchored(layer, q_anchored);
  q = apply_rotary(q, pass.encoding.table(layer));
  k = apply_rotary(k, pass.encoding.table(layer));
  if (shown && pass.taps.qk_rotated) pass.taps.qk_rotated(layer, q, k);
  if (last) return {};
  if (pass.cache != nullptr) {
    pass.cache->append(layer, k, v);
    k = pass.cache->keys[static_cast<size_t>(layer)];
    v = pass.cache->values[static_cast<size_t>(layer)];
  }
  if (shown && pass.taps.attention) {
    pass.taps.attention->sink(layer,
                              pass.attention.rows(layer, q, q_anchored, k, pass.taps.attention->query_index));
  }
  if (rows_only) return {};
  return pass.attention.attend(layer, q, q_anchored, k, v);
}

// The layer's output [B, T, C]; undefined when the pass stops inside it.
at::Tensor run_layer(const Pass& pass, const DecoderLayerWeights& weights, int64_t layer,
                     const at::Tensor& hidden) {
  const double eps = pass.config.rms_norm_eps;
  const at::Tensor mixed = attend(pass, weights, layer, rms_norm(hidden, weights.input_norm, eps));
  if (!mixed.defined()) return {};
  const at::Tensor middle = linear_plus(hidden, mixed, weights.o, weights.o_bias);
  const at::Tensor x = rms_norm(middle, weights.post_attention_norm, eps);
  const at::Tensor inner = gated_linear(x, weights.gate, weights.gate_bias, weights.up, weights.up_bias);
  return linear_plus(middle, inner, weights.down, weights.down_bias);
}

std::vector<at::Tensor> layer_parameters(const DecoderLayerWeights& layer) {
  std::vector<at::Tensor> parameters;
  for (const at::Tensor& weight :
       {layer.input_norm, layer.q, layer.k, layer.v, layer.o, layer.q_bias, layer.k_bias, layer.v_bias,
        layer.o_bias, layer.post_attention_norm, layer.gate, layer.up, layer.down, layer.gate_bias,
        layer.up_bias, layer.down_bias}) {
    if (weight.defined()) parameters.push_back(weight);
  }
  return parameters;
}

// All layers, each computed again in the backward pass; that one comes later, so it shares what it needs.
at::Tensor run_checkpointed(const Decoder& decoder, const Pass& of_caller, at::Tensor hidden) {
  struct Kept {
    DecoderConfig config;
    ForwardOptions options;
    Taps taps;
    std::vector<DecoderLayerWeights> layers;
    std::optional<Pass> pass;
  };
  auto kept = std::make_shared<Kept>();
  kept->config = decoder.config;
  kept->layers = decoder.weights.layers;
  kept->pass.emplace(
      Pass{kept->config, kept->options, kept->taps, nullptr, of_caller.encoding, of_caller.attention});
  for (size_t l = 0; l < kept->layers.size(); ++l) {
    const auto body = [kept, l](const at::Tensor& x) {
      return run_layer(*kept->pass, kept->layers[l], static_cast<int64_t>(l), x);
    };
    hidden = with_weights(decoder.access, kept->layers[l].q, hidden, [&](const at::Tensor& x) {
      return recomputed(body, x, layer_parameters(kept->layers[l]));
    });
  }
  return hidden;
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
  if (options.checkpoint_layers && (input.cache != nullptr || stop >= 0 || shows_anything(taps))) {
    throw InternalError("forward: layers that are computed twice have neither taps nor a cache");
  }
}

ForwardOutput head(const Decoder& decoder, const ForwardOptions& options, const at::Tensor& hidden) {
  using Logits = ForwardOptions::Logits;
  const double eps = decoder.config.rms_norm_eps;
  ForwardOutput output;
  if (options.final_hidden || options.logits == Logits::kAll) {
    output.final_hidden = rms_norm(hidden, decoder.weights.norm, eps);
  }
  if (options.logits == Logits::kAll) {
    output.logits = linear(output.final_hidden, decoder.weights.lm_head, {}).to(at::kFloat);
  } else if (options.logits == Logits::kLast) {
    const at::Tensor last = hidden.narrow(1, hidden.size(1) - 1, 1).contiguous();
    output.logits =
        linear(rms_norm(last, decoder.weights.norm, eps), decoder.weights.lm_head, {}).to(at::kFloat);
  }
  if (!options.final_hidden) output.final_hidden = at::Tensor();
  return output;
}

}  // namespace

ForwardOutput forward(const Decoder& decoder, const ForwardInput& input, const ForwardOptions& options,
                      const Taps& taps) {
  check_options(decoder, input, options, taps);
  at::Tensor hidden = embed_input(decoder, input);
  const int64_t past = input.cache == nullptr ? 0 : input.cache->length();
  PassEncoding encoding;
  if (input.encoding == nullptr) encoding.rotary = {*input.rotary};
  encoding = (input.encoding == nullptr ? encoding : *input.encoding).to(hidden.device());
  const Pass pass{decoder.config, options,  taps,
                  input.cache,    encoding, make_attention(input, encoding, hidden, past)};
  if (taps.hidden) taps.hidden(0, hidden);
  if (options.checkpoint_layers && at::GradMode::is_enabled()) {
    return head(decoder, options, run_checkpointed(decoder, pass, hidden));
  }
  for (int64_t l = 0; l < decoder.config.num_hidden_layers; ++l) {
    const DecoderLayerWeights& weights = decoder.weights.layers[static_cast<size_t>(l)];
    hidden = with_weights(decoder.access, weights.q, hidden,
                          [&](const at::Tensor& x) { return run_layer(pass, weights, l, x); });
    if (!hidden.defined()) return {};
    if (taps.hidden) taps.hidden(l + 1, hidden);
  }
  return head(decoder, options, hidden);
}

}  // namespace ropescope
