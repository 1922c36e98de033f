#include "inputs/chat_input.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <initializer_list>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "inputs/model_folder.h"

namespace ropescope::app {

namespace {

bool has_token(const Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.encode(text, {/*add_special=*/false, false}).size() == 1;
}

}  // namespace

void ChatFlags::bind(Flags& flags, const char* exception) {
  flags.add(
      "template", chat_template,
      fmt::format(
          "vicuna_v1, qwen, plain or none; default: the checkpoint's own chat template, and only without one qwen for tokenizers with <|im_start|>, vicuna_v1 for LLaVA with Llama, none for a language model{}",
          exception));
  flags.add("system", system, "system text in place of the template's");
}

Flag& PositionFlags::bind(Flags& flags) {
  flags.group("Positions");
  Flag& named = flags.add(
      "scheme", scheme,
      "position encoding, for example id-align; default: that which the model was trained under, as its config.json says, else its own rotation");
  rope.bind(flags);
  return named;
}

namespace {

/// Whether config.json names a decoder on whose plain Llama form Vicuna is known to lie. (The decoder's own configuration
/// calls Mistral a Llama.)
bool names_llama(const std::string& model) {
  const std::filesystem::path path = std::filesystem::path(model) / "config.json";
  const Json config = read_json_file(path);
  std::string names;
  for (const Json* part : std::initializer_list<const Json*>{&config, json_find(config, "text_config")}) {
    if (part == nullptr) continue;
    for (const char* key : {"model_type", "architectures", "_name_or_path"}) {
      if (const Json* value = json_find(*part, key)) names += value->dump() + " ";
    }
  }
  for (char& c : names) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return names.find("mistral") == std::string::npos && names.find("mixtral") == std::string::npos;
}

PromptTemplate guessed(const std::string& model, ModelKind kind, const DecoderConfig& config,
                       const Tokenizer& tokenizer) {
  const auto trained = trained_template(model);
  if (trained && kind == ModelKind::kVlm) {
    log_info("template {}, as state.json says", *trained);
    return PromptTemplate(parse_chat_template(*trained));
  }
  if (has_token(tokenizer, "<|im_start|>")) {
    log_warning(
        "{}: it has no chat template of its own; its tokenizer knows <|im_start|>, so qwen is taken (--template)",
        model);
    return PromptTemplate(ChatTemplate::kQwen);
  }
  if (kind != ModelKind::kVlm) return PromptTemplate(ChatTemplate::kNone);
  const bool llama3 = has_token(tokenizer, "<|start_header_id|>") || has_token(tokenizer, "<|eot_id|>");
  if (config.model_type != "llama" || llama3 || !names_llama(model)) {
    throw InputError(
        "{}: it has no chat template of its own, and nothing tells how it was taught to be asked; expected --template with vicuna_v1, qwen, plain or none",
        model);
  }
  log_warning(
      "{}: it has no chat template of its own; as a LLaVA model on Llama it is asked as vicuna_v1 (--template)",
      model);
  return PromptTemplate(ChatTemplate::kVicunaV1);
}

}  // namespace

PromptTemplate ChatFlags::chosen(const std::string& model, ModelKind kind, const DecoderConfig& config,
                                 const Tokenizer& tokenizer) const {
  if (chat_template) return PromptTemplate(parse_chat_template(*chat_template));
  const bool sees = kind == ModelKind::kVlm;
  auto stored = read_chat_template(model, tokenizer, sees);
  if (!stored) return guessed(model, kind, config, tokenizer);
  const PromptTemplate own(std::move(*stored), sees);
  own.ask(tokenizer, "Is it?", system);
  log_info("template: the model's own, {}", own.name());
  const auto trained = trained_template(model);
  if (trained && sees) {
    log_warning(
        "{}: this step was trained with --template {}, which may differ from the checkpoint's own chat template",
        model, *trained);
  }
  return own;
}

void add_end_of_answer(const PromptTemplate& chat, const Tokenizer& tokenizer, std::vector<int64_t>& ends) {
  const std::optional<int64_t> end = chat.end_token(tokenizer);
  if (end && std::count(ends.begin(), ends.end(), *end) == 0) ends.push_back(*end);
}

}  // namespace ropescope::app
