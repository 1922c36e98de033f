#include "ropescope/models/decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/scalar_tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/forward_run.h"

namespace ropescope {

const at::Tensor& any_weight(const DecoderLayerWeights& layer) {
  const at::Tensor* found = nullptr;
  visit_layer(layer, [&](TensorKind, const at::Tensor& weight) {
    if (found == nullptr && weight.defined()) found = &weight;
  });
  if (found == nullptr) throw InternalError("a decoder layer without weights");
  return *found;
}

at::Tensor embed_tokens(const Decoder& decoder, const at::Tensor& ids) {
  const at::Tensor embedded = embedding_rows(decoder.access, decoder.weights.embed_tokens, ids);
  const double scale = decoder.config.embedding_scale;
  if (scale == 1) return embedded;
  // The scale is a number of the run's own type.
  return embedded.mul(at::scalar_tensor(scale, at::TensorOptions(embedded.scalar_type())).item<double>());
}

ForwardOutput forward(const Decoder& decoder, const ForwardInput& input, const ForwardOptions& options,
                      const Taps& taps) {
  ForwardRun run(decoder, input, options, taps);
  if (options.checkpoint_layers && at::GradMode::is_enabled()) {
    run.run_checkpointed();
  } else {
    while (!run.finished()) run.step();
  }
  return run.finish();
}

}  // namespace ropescope
