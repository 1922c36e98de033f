// Flags of commands that ask a model: conversation template, positions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/text/chat_template.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/weights/decoder_config.h"

#include "flags.h"
#include "loaded_model.h"
#include "rope_flags.h"

namespace ropescope::app {

/// --template, --system.
struct ChatFlags {
  std::optional<std::string> chat_template, system;

  void bind(Flags& flags);
  /// What --template says; else by the tokenizer and the kind of the model.
  ChatTemplate chosen(ModelKind kind, const DecoderConfig& config, const Tokenizer& tokenizer) const;
};

/// --scheme, --rope-theta, --rope-scaling of commands that ask a model under one scheme.
struct PositionFlags {
  std::optional<std::string> scheme;
  RopeFlags rope;

  /// Returns --scheme, for an alias where a command has no --schemes beside it.
  Flag& bind(Flags& flags);
};

/// Adds the token that ends an answer under the template to `ends`, if the tokenizer has it as one token.
void add_end_of_answer(ChatTemplate chat, const Tokenizer& tokenizer, std::vector<int64_t>& ends);

}  // namespace ropescope::app
