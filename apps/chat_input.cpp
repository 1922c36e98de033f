#include "chat_input.h"

namespace ropescope::app {

namespace {

bool has_token(const Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.encode(text, {/*add_special=*/false, false}).size() == 1;
}

}  // namespace

void add_chat_options(po::options_description& options) {
  options.add_options()  //
      ("template", po::value<std::string>(),
       "vicuna_v1, qwen, plain or none; default: vicuna_v1 for LLaVA with Llama, qwen for tokenizers with "
       "<|im_start|>, else none")  //
      ("system", po::value<std::string>(), "system text in place of the template's");
}

po::options_description rope_options() {
  po::options_description rope("Positions", 110, 55);
  rope.add_options()  //
      ("scheme", po::value<std::string>(),
       "position encoding, for example id-align; default: the model's own")     //
      ("rope-theta", po::value<double>(), "base in place of the checkpoint's")  //
      ("rope-scaling", po::value<std::string>(), "JSON in place of the checkpoint's");
  return rope;
}

ChatTemplate chosen_template(const Arguments& arguments, ModelKind kind, const DecoderConfig& config,
                             const Tokenizer& tokenizer) {
  if (arguments.has("template")) return parse_chat_template(arguments.get<std::string>("template"));
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
