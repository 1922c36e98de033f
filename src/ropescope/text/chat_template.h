// From turns of a conversation to the text, and the token ids, that a vision-language model was trained on.
// Templates of the original LLaVA code; `<image>` stands for an image:
//   vicuna_v1  SYSTEM USER: question ASSISTANT: answer</s>USER: question ASSISTANT:
//   qwen       <|im_start|>system\nSYSTEM<|im_end|>\n<|im_start|>user\nquestion<|im_end|>\n
//              <|im_start|>assistant\nanswer<|im_end|>\n                              (ChatML)
//   plain      the question's images, then the answer and a newline; the question itself is thrown away
//   none       the turns as they are
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/text/tokenizer.h"

namespace ropescope {

enum class ChatTemplate { kVicunaV1, kQwen, kPlain, kNone };

/// "vicuna_v1", "qwen" (or "chatml"), "plain", "none". Throws UsageError with the nearest name.
ChatTemplate parse_chat_template(const std::string& name);
std::string chat_template_name(ChatTemplate chat);

inline constexpr const char* kImageText = "<image>";
inline constexpr const char* kVideoText = "<video>";
/// What stands for an image among the ids.
inline constexpr int64_t kImageId = -200;

struct ChatTurn {
  bool human = true;
  std::string text;
};

/// How a turn's images are moved before training. kAlways (Open-LLaVA-NeXT): all images of a turn become
/// one in front; kSingle (LLaVA-NeXT): only where a turn has exactly one, and not in front already.
enum class ImageMove { kAlways, kSingle };
std::vector<ChatTurn> move_images(std::vector<ChatTurn> turns, ImageMove rule);

struct ChatOptions {
  std::optional<std::string> system;  ///< in place of the template's own
  /// Ends where the model's next answer begins; an answer in the last turn is left out.
  bool open = false;
};

/// A conversation that begins with an answer loses it. Throws InputError for turns that do not alternate, or
/// none.
std::string chat_prompt(ChatTemplate chat, std::vector<ChatTurn> turns, const ChatOptions& options = {});

/// The text is cut at each `<image>`, and every piece is tokenized alone: the start token comes once, but
/// each piece has its own leading-space marker. An image is kImageId.
std::vector<int64_t> encode_with_images(const Tokenizer& tokenizer, const std::string& text,
                                        const EncodeOptions& options = {});

int64_t count_images(const std::string& text);
int64_t count_marks(const std::string& text, const std::string& mark);

/// Text that ends an answer ("</s>", "<|im_end|>"); empty where the template has none.
std::string end_of_answer(ChatTemplate chat);

}  // namespace ropescope
