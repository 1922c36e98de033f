// Flags of commands that ask a model: conversation template, positions.
#pragma once

#include <cstdint>
#include <vector>

#include "ropescope/text/chat_template.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/weights/decoder_config.h"

#include "command.h"
#include "loaded_model.h"

namespace ropescope::app {

/// --template, --system.
void add_chat_options(po::options_description& options);

/// --scheme, --rope-theta, --rope-scaling.
po::options_description rope_options();

/// What --template says; else by the tokenizer and the kind of the model.
ChatTemplate chosen_template(const Arguments& arguments, ModelKind kind, const DecoderConfig& config,
                             const Tokenizer& tokenizer);

/// Adds the token that ends an answer under the template to `ends`, if the tokenizer has it as one token.
void add_end_of_answer(ChatTemplate chat, const Tokenizer& tokenizer, std::vector<int64_t>& ends);

}  // namespace ropescope::app
