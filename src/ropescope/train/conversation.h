// From a conversation to token ids and labels, as vision-language models are fine-tuned.
// Rules   kIntended: answers and what ends them are targets, nothing else, whatever the text holds
//         kUpstream: what the original code does. vicuna_v1: it counts tokens round by round and drops all
//         labels of a conversation where the count does not come out (texts with " ASSISTANT: " or </s>).
//         ChatML: besides whole assistant turns every <|im_start|>, <|im_end|> and newline is a target.
// Source  LLaVA-NeXT's and Open-LLaVA-NeXT's train.py; tests/golden/vision/conversations
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/text/chat_template.h"
#include "ropescope/text/tokenizer.h"

namespace ropescope {

enum class LabelRule { kIntended, kUpstream };

/// "intended", "upstream". Throws UsageError.
LabelRule parse_label_rule(const std::string& name);

struct LabeledIds {
  std::vector<int64_t> ids;     ///< kImageId stands for an image
  std::vector<int64_t> labels;  ///< as ids; -100 = no target
};

class PictureReader;
class TaughtTemplate;

struct ConversationOptions {
  ChatTemplate chat = ChatTemplate::kVicunaV1;
  LabelRule rule = LabelRule::kIntended;
  /// Longer conversations are cut, before images are expanded; 0: never.
  int64_t max_length = 0;
  /// In place of `chat`: the checkpoint's own; LabelRule::kIntended.
  std::shared_ptr<const TaughtTemplate> own = nullptr;
  /// Of a family whose texts are tokenized whole: what it writes for a picture. Null: texts are cut at their pictures.
  std::shared_ptr<const PictureReader> pictures = nullptr;
};

/// Token ids of a text, kImageId for each `<image>`. Throws InputError for a text that holds the family's own placeholder.
std::vector<int64_t> encode_conversation(const Tokenizer& tokenizer, const std::string& text,
                                         const ConversationOptions& options, bool add_special = false);

/// `turns` with their images already moved (move_images). Throws InputError for turns that do not alternate,
/// or that the checkpoint's own template cannot put, UsageError for a template without answers to learn (`none`).
LabeledIds label_conversation(const Tokenizer& tokenizer, const std::vector<ChatTurn>& turns,
                              const ConversationOptions& options);

}  // namespace ropescope
