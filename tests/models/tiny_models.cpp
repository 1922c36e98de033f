#include "tests/models/tiny_models.h"

#include <numeric>

#include <ATen/core/grad_mode.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/open_checkpoint.h"

#include "tests/support/golden.h"

namespace ropescope::testing {

Decoder load_tiny(const std::string& name, const std::string& form, at::ScalarType dtype) {
  const std::string path = golden_path("language/" + name + "/" + form);
  LoadOptions options;
  options.dtype = dtype;
  return load_decoder(*open_checkpoint(path), read_decoder_config(path), options);
}

std::map<std::string, at::Tensor> tiny_tensors(const std::string& name) {
  return golden_tensors("language/" + name + "/expected.safetensors");
}

Json tiny_json(const std::string& name) { return golden_json("language/" + name + "/expected.json"); }

Shown run_and_show(const Decoder& decoder, const at::Tensor& ids, const at::Tensor& mask,
                   const at::Tensor& position_ids, BlindQuery blind_query) {
  const at::NoGradGuard no_grad;
  Shown shown;
  Taps taps;
  taps.hidden = [&](int64_t depth, const at::Tensor& hidden) { shown.hidden[depth] = hidden.clone(); };
  taps.qk = [&](int64_t layer, const at::Tensor& q, const at::Tensor& k) {
    shown.q[layer] = q.clone();
    if (k.defined()) shown.k[layer] = k.clone();
  };
  taps.qk_rotated = [&](int64_t layer, const at::Tensor& q, const at::Tensor& k) {
    shown.q_rotated[layer] = q.clone();
    shown.k_rotated[layer] = k.clone();
  };
  std::vector<int64_t> queries(static_cast<size_t>(ids.size(1)));
  std::iota(queries.begin(), queries.end(), 0);
  taps.attention = AttentionRows{
      queries, [&](int64_t layer, const at::Tensor& rows) { shown.attention[layer] = rows.clone(); }};
  const PassEncoding encoding = position_ids.defined()
                                    ? encoding_for(decoder.config, position_ids.unsqueeze(0))
                                    : plain_encoding(decoder.config, ids.size(1));
  ForwardInput input;
  input.input_ids = ids;
  input.attention_mask = mask;
  input.blind_query = blind_query;
  input.encoding = &encoding;
  shown.output = forward(decoder, input, {}, taps);
  return shown;
}

}  // namespace ropescope::testing
