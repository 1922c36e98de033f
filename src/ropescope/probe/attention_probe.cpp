#include "ropescope/probe/attention_probe.h"

#include <utility>

#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/generate.h"

namespace ropescope {

std::vector<int64_t> continue_greedily(const Decoder& decoder, const AttentionInput& input,
                                       const SequenceEncoding& encoding, int64_t tokens) {
  GenerateInput prompt;
  prompt.input_ids = input.input_ids;
  prompt.inputs_embeds = input.inputs_embeds;
  prompt.attention_mask = input.attention_mask;
  prompt.added = input.added;
  prompt.groups = input.groups;
  prompt.encoding = &encoding;
  GenerateOptions options;
  options.max_new_tokens = tokens;
  const Generation generated = generate(decoder, prompt, options);
  const at::Tensor ids = generated.ids[0].contiguous();
  const auto* data = ids.const_data_ptr<int64_t>();
  return {data, data + generated.lengths.front()};
}

AttentionInput with_generated(const Decoder& decoder, const AttentionInput& input,
                              const std::vector<int64_t>& ids) {
  AttentionInput longer = input;
  const at::Tensor added = at::tensor(ids, at::kLong).unsqueeze(0);
  longer.input_ids = at::cat({input.input_ids, added.to(input.input_ids.device())}, 1);
  if (input.inputs_embeds.defined()) {
    const at::Tensor embedded = embed_tokens(decoder, added.to(decoder.weights.embed_tokens.device()));
    longer.inputs_embeds = at::cat({input.inputs_embeds, embedded.to(input.inputs_embeds.device())}, 1);
  }
  if (input.attention_mask.defined()) {
    longer.attention_mask = at::cat({input.attention_mask, at::ones(added.sizes(), at::kLong)}, 1);
  }
  if (input.groups.defined()) {
    longer.groups = at::cat({input.groups, at::full(added.sizes(), -1, input.groups.options())}, 1);
  }
  return longer;
}

std::unique_ptr<ForwardRun> attention_run(
    const Decoder& decoder, const AttentionInput& input, const SequenceEncoding& encoding,
    const AttentionRowRequest& request, std::function<void(int64_t layer, const at::Tensor& rows_HQS)> sink) {
  const PassEncoding pass = encoding.pass(0, input.tokens());
  ForwardInput forward_input;
  forward_input.input_ids = input.input_ids;
  forward_input.inputs_embeds = input.inputs_embeds;
  forward_input.attention_mask = input.attention_mask;
  forward_input.added = input.added;
  forward_input.groups = input.groups;
  forward_input.encoding = &pass;
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  options.final_hidden = false;
  for (size_t layer = 0; layer < request.layers.size(); ++layer) {
    if (request.layers[layer]) options.stop_after_rows_of_layer = static_cast<int64_t>(layer);
  }
  Taps taps;
  taps.wants_layer = [layers = request.layers](int64_t layer) { return layers[static_cast<size_t>(layer)]; };
  taps.attention = AttentionRows{
      request.queries,
      [sink = std::move(sink)](int64_t layer, const at::Tensor& rows_BHQS) {
        if (!at::isfinite(rows_BHQS).all().item<bool>()) {
          throw NumericsError(
              "attention of layer {}: expected finite numbers, found infinity or NaN; try --dtype float32",
              layer);
        }
        sink(layer, rows_BHQS[0]);
      },
      request.other_keys};
  if (request.entering) {
    taps.hidden = [entering = request.entering](int64_t depth, const at::Tensor& hidden_BTC) {
      entering(depth, hidden_BTC[0]);
    };
  }
  return std::make_unique<ForwardRun>(decoder, forward_input, options, std::move(taps));
}

void visit_attention_rows(const Decoder& decoder, const AttentionInput& input,
                          const SequenceEncoding& encoding, const AttentionRowRequest& request,
                          const std::function<void(int64_t layer, const at::Tensor& rows_HQS)>& sink) {
  const auto run = attention_run(decoder, input, encoding, request, sink);
  while (!run->finished()) run->step();
}

}  // namespace ropescope
