// config.json, and the frequencies that it asks for.
#include <algorithm>

#include "ropescope/architectures/decoder_config.h"

#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(config, bytes) {
  using namespace ropescope;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Json json = parse_json(text, "config.json");
  const DecoderConfig config = parse_decoder_config(json, "config.json");
  check_decoder_config(config, "config.json");
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    throw InternalError("a config was accepted whose heads do not divide");
  }
  constexpr int64_t kLargestHead = 4096;
  try {
    make_frequencies(config.rope(), std::min(config.head_dim, kLargestHead), config.max_position_embeddings,
                     12);
  } catch (const InputError&) {  // an odd rotary dimension, for example
  }
}
