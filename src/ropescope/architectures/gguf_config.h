// What GGUF metadata says about a decoder.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

/// True for the values of general.architecture whose metadata, names and row order a family here knows.
bool gguf_architecture_is_known(const std::string& architecture);

/// `bytes` is the file that `contents` was parsed from. Biases and tying follow from the tensors that are
/// there; Llama-3's frequency factors (tensor rope_freqs.weight) become the llama3 settings that they were
/// made from. What a file cannot say is what the class of transformers assumes, or what its published models have,
/// with a warning where it could be otherwise. Throws InputError for other architectures and for scaling that cannot
/// be honoured.
DecoderConfig gguf_decoder_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                  const std::string& what);

/// The llama3 settings (factor, low_freq_factor 1, high_freq_factor, trained length) that give
/// f_i' = f_i / factors[i] with f_i = base.theta^(-2i/d), d = 2 * factors.size(); kDefault when all are 1.
/// Only the ratios of M, low_freq_factor and high_freq_factor matter, so low_freq_factor is taken as 1.
/// Throws InputError if there are none.
RopeConfig rope_config_from_factors(std::span<const float> factors, RopeConfig base, const std::string& what);

}  // namespace ropescope
