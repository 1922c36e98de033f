// config.json of a vision-language model as a whole: its decoder with the position ids of its own, and what its eyes ask for.
#include "ropescope/architectures/decoder_memory.h"
#include "ropescope/architectures/vlm_config.h"

#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(vlm_config, bytes) {
  using namespace ropescope;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Json json = parse_json(text, "config.json");
  if (find_vlm_family(json) == nullptr) throw InputError("config.json: no vision-language family");
  const VlmConfig vlm = parse_vlm_config(json, "config.json");
  estimate_vision_memory(vlm.vision, "config.json");
  if (vlm.connector.deepstack < 0 || vlm.connector.deepstack > vlm.vision.num_hidden_layers) {
    throw InternalError("a config was accepted whose connector has mergers for layers that are not there");
  }
  const DecoderConfig decoder = parse_decoder_config(json, "config.json");
  check_decoder_config(decoder, "config.json");
  estimate_decoder_memory(decoder, "config.json");
  // The scheme of its own position ids is read by others: it has to be one.
  const std::string own = decoder.native_scheme();
  if (decoder.rope_axes.has_value() != (own.rfind("mrope", 0) == 0)) {
    throw InternalError("a decoder of three axes was accepted whose own scheme has another number of them");
  }
  if (to_json(decoder).empty()) throw InternalError("a decoder was accepted that cannot be written");
}
