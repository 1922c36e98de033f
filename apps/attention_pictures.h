// Inputs of `ropescope attention` with pictures in them: LLaVA prompts, and layouts of a language model whose
// visual tokens are patches.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "attention_input.h"
#include "layout_input.h"

namespace ropescope::app {

/// Rows of --tokens of a model without images; one layout serves them all.
AttentionInputs token_inputs(const Arguments& arguments, const Decoder& decoder);

/// --decoder: patches of --image through a random projection, laid out by --preset or --layout.
AttentionInputs patch_inputs(const Arguments& arguments, const CommonSettings& settings,
                             const std::shared_ptr<const Decoder>& decoder, const std::string& model);

/// --model with --image or --pixels: a LLaVA-NeXT folder and what it sees.
AttentionSource read_llava_source(const Arguments& arguments, const CommonSettings& settings,
                                  const std::string& model);

}  // namespace ropescope::app
