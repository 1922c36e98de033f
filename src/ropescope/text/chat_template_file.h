// The chat template that a checkpoint brings along.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/text/tokenizer.h"

namespace ropescope {

struct StoredChatTemplate {
  std::string source;
  std::string origin;  ///< "chat_template of tokenizer_config.json", "chat_template.jinja"
  /// bos_token, eos_token and the others that the files or the tokenizer name, for the template's variables.
  std::vector<std::pair<std::string, std::string>> special_tokens;
};

/// Of a folder: chat_template.jinja; for a model that sees chat_template.json and processor_config.json;
/// tokenizer_config.json ("chat_template": a text, or a list of named ones, of which "default" is taken). Of a .gguf file:
/// tokenizer.chat_template. None where there is none. Throws InputError, naming the file, for what is no template.
std::optional<StoredChatTemplate> read_chat_template(const std::filesystem::path& model,
                                                     const Tokenizer& tokenizer, bool sees);

}  // namespace ropescope
