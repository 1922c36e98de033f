// How much memory a decoder takes, from its settings alone.
#pragma once

#include <cstdint>

#include "ropescope/weights/decoder_config.h"

namespace ropescope {

/// Numbers (not bytes) that a decoder holds; multiply by the size of the type.
struct DecoderMemory {
  int64_t parameters = 0;             ///< tied embeddings counted once
  int64_t kv_cache_per_token = 0;     ///< keys and values of all layers
  int64_t activations_per_token = 0;  ///< alive at once in the widest part of a layer, logits not counted
  int64_t logits_per_token = 0;       ///< always float32
};

/// `config` has passed check_decoder_config. Throws InputError if a count does not fit in 63 bits.
DecoderMemory estimate_decoder_memory(const DecoderConfig& config, const std::string& what);

}  // namespace ropescope
