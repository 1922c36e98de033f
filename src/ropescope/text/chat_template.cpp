#include "ropescope/text/chat_template.h"

#include <array>
#include <string_view>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"

namespace ropescope {

namespace {

constexpr std::string_view kVicunaSystem =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions.";
constexpr std::string_view kQwenSystem = "You are a helpful assistant.";

const std::array<std::pair<const char*, ChatTemplate>, 5> kNames = {{{"vicuna_v1", ChatTemplate::kVicunaV1},
                                                                     {"qwen", ChatTemplate::kQwen},
                                                                     {"plain", ChatTemplate::kPlain},
                                                                     {"none", ChatTemplate::kNone},
                                                                     {"chatml", ChatTemplate::kQwen}}};

std::string without_images(const std::string& text) {
  std::string rest = text;
  const std::string_view image = kImageText;
  for (size_t at = rest.find(image); at != std::string::npos; at = rest.find(image, at)) {
    rest.erase(at, image.size());
  }
  return rest;
}

/// White space of Python's str.strip() at `at` of UTF-8 text: its length in bytes, or 0.
size_t space_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
  };
  const unsigned first = byte(0);
  if ((first >= 0x09 && first <= 0x0D) || (first >= 0x1C && first <= 0x20)) return 1;
  if (first == 0xC2 && (byte(1) == 0x85 || byte(1) == 0xA0)) return 2;
  const unsigned code = (first << 16) | (byte(1) << 8) | byte(2);
  const bool wide = code == 0xE19A80 || (code >= 0xE28080 && code <= 0xE2808A) || code == 0xE280A8 ||
                    code == 0xE280A9 || code == 0xE280AF || code == 0xE2819F || code == 0xE38080;
  return wide ? 3 : 0;
}

std::string strip(const std::string& text) {
  size_t first = 0;
  while (const size_t length = space_at(text, first)) first += length;
  size_t last = text.size();
  for (bool again = true; again && last > first;) {
    again = false;
    for (const size_t length : {size_t{1}, size_t{2}, size_t{3}}) {
      if (last - first >= length &&
          space_at(std::string_view(text).substr(0, last), last - length) == length) {
        last -= length;
        again = true;
        break;
      }
    }
  }
  return text.substr(first, last - first);
}

/// Without an answer in front, and with or without one at the end; questions and answers in turn.
std::vector<ChatTurn> checked_turns(std::vector<ChatTurn> turns, bool open) {
  if (!turns.empty() && !turns.front().human) turns.erase(turns.begin());
  if (open && !turns.empty() && !turns.back().human) turns.pop_back();
  if (turns.empty()) throw InputError("conversation: expected at least one question, found none");
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].human != (i % 2 == 0)) {
      throw InputError(
          "conversation: expected questions and answers in turn, found two {} in a row (turn {})",
          turns[i].human ? "questions" : "answers", i + 1);
    }
  }
  return turns;
}

std::string vicuna_prompt(const std::vector<ChatTurn>& turns, const std::string& system, bool open) {
  std::string prompt = system + " ";
  for (const ChatTurn& turn : turns) {
    prompt += turn.human ? "USER:" : "ASSISTANT:";
    // An empty turn ends like an open prompt: no separator.
    if (!turn.text.empty()) prompt += " " + turn.text + (turn.human ? " " : "</s>");
  }
  return open ? prompt + "ASSISTANT:" : prompt;
}

std::string qwen_prompt(const std::vector<ChatTurn>& turns, const std::string& system, bool open) {
  std::string prompt = "<|im_start|>system\n" + system + "<|im_end|>\n";
  for (size_t i = 0; i < turns.size(); ++i) {
    prompt += turns[i].human ? "<|im_start|>user\n" : "<|im_start|>assistant\n";
    // In a prompt for generation, an empty earlier answer ends like an open one.
    if (open && turns[i].text.empty()) continue;
    prompt += turns[i].text + "<|im_end|>\n";
  }
  return open ? prompt + "<|im_start|>assistant\n" : prompt;
}

std::string plain_prompt(const std::vector<ChatTurn>& turns) {
  std::string prompt;
  for (const ChatTurn& turn : turns) {
    if (turn.human) {
      for (int64_t i = count_images(turn.text); i > 0; --i) prompt += kImageText;
    } else {
      prompt += turn.text + "\n";
    }
  }
  return prompt;
}

}  // namespace

ChatTemplate parse_chat_template(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, chat] : kNames) {
    if (name == known) return chat;
    names.emplace_back(known);
  }
  const std::string near = nearest_name(name, names);
  throw UsageError("--template: expected vicuna_v1, qwen, plain or none, found \"{}\"{}", name,
                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
}

std::string chat_template_name(ChatTemplate chat) {
  for (const auto& [known, value] : kNames) {
    if (value == chat) return known;
  }
  throw InternalError("chat_template_name: no such template");
}

std::vector<ChatTurn> move_images(std::vector<ChatTurn> turns, ImageMove rule) {
  for (ChatTurn& turn : turns) {
    const int64_t images = count_images(turn.text);
    const bool in_front = turn.text.rfind(kImageText, 0) == 0;
    const bool moved = rule == ImageMove::kAlways ? images > 0 : images == 1 && !in_front;
    if (moved) turn.text = strip(kImageText + std::string("\n") + strip(without_images(turn.text)));
  }
  return turns;
}

std::string chat_prompt(ChatTemplate chat, std::vector<ChatTurn> turns, const ChatOptions& options) {
  turns = checked_turns(std::move(turns), options.open);
  const auto system = [&](std::string_view usual) { return options.system.value_or(std::string(usual)); };
  switch (chat) {
    case ChatTemplate::kVicunaV1:
      return vicuna_prompt(turns, system(kVicunaSystem), options.open);
    case ChatTemplate::kQwen:
      return qwen_prompt(turns, system(kQwenSystem), options.open);
    case ChatTemplate::kPlain:
      return plain_prompt(turns);
    case ChatTemplate::kNone:
      break;
  }
  std::string prompt;
  for (const ChatTurn& turn : turns) prompt += turn.text;
  return prompt;
}

std::vector<int64_t> encode_with_images(const Tokenizer& tokenizer, const std::string& text,
                                        const EncodeOptions& options) {
  const std::string_view image = kImageText;
  std::vector<int64_t> ids;
  if (options.add_special) {
    const std::vector<int64_t> empty = tokenizer.encode("", options);
    const std::optional<int64_t> bos = tokenizer.bos_id();
    if (bos && !empty.empty() && empty.front() == *bos) ids.push_back(*bos);
  }
  EncodeOptions piece_options = options;
  piece_options.add_special = false;
  for (size_t first = 0; first <= text.size();) {
    const size_t end = std::min(text.find(image, first), text.size());
    const std::vector<int64_t> piece =
        tokenizer.encode(std::string_view(text).substr(first, end - first), piece_options);
    ids.insert(ids.end(), piece.begin(), piece.end());
    if (end == text.size()) break;
    ids.push_back(kImageId);
    first = end + image.size();
  }
  return ids;
}

int64_t count_marks(const std::string& text, const std::string& mark) {
  int64_t count = 0;
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + mark.size())) ++count;
  return count;
}

int64_t count_images(const std::string& text) { return count_marks(text, kImageText); }

std::string end_of_answer(ChatTemplate chat) {
  switch (chat) {
    case ChatTemplate::kVicunaV1:
      return "</s>";
    case ChatTemplate::kQwen:
      return "<|im_end|>";
    case ChatTemplate::kPlain:
    case ChatTemplate::kNone:
      break;
  }
  return {};
}

}  // namespace ropescope
