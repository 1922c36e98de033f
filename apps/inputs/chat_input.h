// Flags of commands that ask a model: conversation template, positions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/text/chat_template_prompt.h"
#include "ropescope/text/tokenizer.h"

#include "flags.h"
#include "inputs/loaded_model.h"
#include "inputs/rope_flags.h"

namespace ropescope::app {

/// --template, --system.
struct ChatFlags {
  std::optional<std::string> chat_template, system;

  /// `exception`: what else help says of the default.
  void bind(Flags& flags, const char* exception = "");
  /// What --template says; else the checkpoint's own chat template; only where it has none, the family that its tokenizer
  /// and configuration are known by, which is said on stderr. Throws InputError, naming --template, where neither is
  /// known or the template cannot put a question.
  PromptTemplate chosen(const std::string& model, ModelKind kind, const DecoderConfig& config,
                        const Tokenizer& tokenizer) const;
};

/// --scheme, --rope-theta, --rope-scaling of commands that ask a model under one scheme.
struct PositionFlags {
  std::optional<std::string> scheme;
  RopeFlags rope;

  /// Returns --scheme, for an alias where a command has no --schemes beside it.
  Flag& bind(Flags& flags);
};

/// Adds the token that ends an answer under the template to `ends`, where there is one.
void add_end_of_answer(const PromptTemplate& chat, const Tokenizer& tokenizer, std::vector<int64_t>& ends);

}  // namespace ropescope::app
