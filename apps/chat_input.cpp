#include "chat_input.h"

namespace ropescope::app {

namespace {

bool has_token(const Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.encode(text, {/*add_special=*/false, false}).size() == 1;
}

}  // namespace

void ChatFlags::bind(Flags& flags) {
  flags.add(
      "template", chat_template,
      "vicuna_v1, qwen, plain or none; default: vicuna_v1 for LLaVA with Llama, qwen for tokenizers with <|im_start|>, else none");
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

ChatTemplate ChatFlags::chosen(ModelKind kind, const DecoderConfig& config,
                               const Tokenizer& tokenizer) const {
  if (chat_template) return parse_chat_template(*chat_template);
  if (has_token(tokenizer, "<|im_start|>")) return ChatTemplate::kQwen;
  return kind == ModelKind::kLlava && config.model_type == "llama" ? ChatTemplate::kVicunaV1
                                                                   : ChatTemplate::kNone;
}

void add_end_of_answer(ChatTemplate chat, const Tokenizer& tokenizer, std::vector<int64_t>& ends) {
  const std::string end = end_of_answer(chat);
  if (!end.empty() && has_token(tokenizer, end)) {
    ends.push_back(tokenizer.encode(end, {/*add_special=*/false, false}).front());
  }
}

}  // namespace ropescope::app
