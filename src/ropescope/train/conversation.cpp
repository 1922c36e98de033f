#include "ropescope/train/conversation.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/inputs/picture_reader.h"
#include "ropescope/train/taught_template.h"

namespace ropescope {

namespace {

constexpr int64_t kIgnored = -100;
constexpr std::string_view kVicunaEnd = "</s>";
constexpr std::string_view kVicunaAnswer = " ASSISTANT: ";
// The original code takes this id for the newline, whatever the tokenizer.
constexpr int64_t kNewlineId = 198;

/// A tokenizer, and how the model's family writes pictures.
struct Words {
  const Tokenizer& tokenizer;
  const ConversationOptions& options;
};

std::vector<int64_t> encode(const Words& words, std::string_view text, bool add_special = false) {
  return encode_conversation(words.tokenizer, std::string(text), words.options, add_special);
}

bool starts_with_bos(const Words& words, const std::vector<int64_t>& ids) {
  return !ids.empty() && !encode(words, "", /*add_special=*/true).empty() &&
         ids[0] == words.tokenizer.bos_id();
}

/// Where an answer lies in the prompt, in bytes: from its header's end to the end of what closes it.
struct AnswerSpan {
  size_t begin = 0, end = 0;
};

/// The prompt without turns after `count`.
size_t prompt_size(ChatTemplate chat, const std::vector<ChatTurn>& turns, size_t count) {
  return chat_prompt(chat, {turns.begin(), turns.begin() + static_cast<std::ptrdiff_t>(count)}).size();
}

std::vector<AnswerSpan> answer_spans(ChatTemplate chat, const std::vector<ChatTurn>& turns) {
  const bool vicuna = chat == ChatTemplate::kVicunaV1;
  constexpr size_t kAround = 1;  // vicuna_v1: a space in front; ChatML: a newline behind
  std::vector<AnswerSpan> spans;
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].human || (vicuna && turns[i].text.empty())) continue;
    const size_t end = prompt_size(chat, turns, i + 1);
    spans.push_back({end - turns[i].text.size() - end_of_answer(chat).size() - kAround, end});
  }
  return spans;
}

/// Tokens of `text` that lie wholly before byte `cut`. A token across the cut counts as lying before it: it
/// begins there.
size_t tokens_before(const Words& words, std::string_view text, size_t cut, const std::vector<int64_t>& ids) {
  const std::vector<int64_t> head = encode(words, text.substr(0, cut));
  const auto differ = std::mismatch(head.begin(), head.end(), ids.begin(), ids.end());
  const auto common = static_cast<size_t>(differ.first - head.begin());
  return common < head.size() ? common + 1 : common;
}

/// Answers become targets. Special tokens cut a text for good, so each stretch from the end of one answer to
/// the end of the next is tokenized by itself, after the special token that it follows.
void label_answers(const Words& words, const std::string& prompt, const std::string& anchor,
                   const std::vector<AnswerSpan>& spans, LabeledIds& labeled) {
  const size_t anchor_tokens = encode(words, anchor).size();
  size_t at = 0, token = starts_with_bos(words, labeled.ids) ? 1 : 0;  // which belongs to no stretch
  for (const AnswerSpan& span : spans) {
    const std::string before = at == 0 ? std::string() : anchor;
    const std::string stretch = before + prompt.substr(at, span.end - at);
    const std::vector<int64_t> ids = encode(words, stretch);
    const size_t skipped = at == 0 ? 0 : anchor_tokens;
    const size_t first =
        tokens_before(words, stretch, before.size() + span.begin - at, ids) - skipped + token;
    token += ids.size() - skipped;
    for (size_t i = first; i < std::min(token, labeled.ids.size()); ++i) labeled.labels[i] = labeled.ids[i];
    at = span.end;
  }
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  for (size_t first = 0;;) {
    const size_t at = text.find(separator, first);
    parts.push_back(text.substr(first, at == std::string_view::npos ? at : at - first));
    if (at == std::string_view::npos) return parts;
    first = at + separator.size();
  }
}

/// Whether text after a special token has its leading-space marker (`legacy` in tokenizer_config.json).
bool marks_space_after_specials(const Words& words) {
  std::vector<int64_t> after = encode(words, std::string(kVicunaEnd) + "USER");
  const size_t end = encode(words, kVicunaEnd).size();
  after.erase(after.begin(), after.begin() + static_cast<std::ptrdiff_t>(std::min(end, after.size())));
  return after == encode(words, "USER");
}

/// preprocess_v1 of the original code, step by step, its counting tricks included.
void label_vicuna_upstream(const Words& words, const std::string& prompt, int64_t max_length,
                           LabeledIds& labeled) {
  labeled.labels = labeled.ids;
  const auto total = static_cast<int64_t>(labeled.ids.size());
  const bool legacy = marks_space_after_specials(words);
  const auto mask = [&](int64_t first, int64_t last) {
    for (int64_t i = std::max<int64_t>(first, 0); i < std::min(last, total); ++i) {
      labeled.labels[static_cast<size_t>(i)] = kIgnored;
    }
  };
  const auto length = [&](std::string_view text) {
    return static_cast<int64_t>(encode(words, text, /*add_special=*/true).size());
  };
  int64_t at = 1;
  mask(0, at);
  bool first_round = true;
  for (const std::string_view round : split(prompt, kVicunaEnd)) {
    const std::vector<std::string_view> parts = split(round, kVicunaAnswer);
    if (round.empty() || parts.size() != 2) break;
    const int64_t surplus = !first_round && !legacy ? 1 : 0;
    const int64_t instruction = length(round.substr(0, parts[0].size() + kVicunaAnswer.size())) - 2 - surplus;
    mask(at, at + instruction);
    at += length(round) - surplus;
    first_round = false;
  }
  mask(at, total);
  const bool cut = max_length > 0 && at >= max_length;
  if (!cut && at != total) mask(0, total);
}

int64_t special_id(const Words& words, const char* text) {
  const std::vector<int64_t> ids = encode(words, text);
  if (ids.size() != 1) {
    throw InputError("tokenizer: expected {} to be one token, found {}; the model knows no ChatML", text,
                     ids.size());
  }
  return ids[0];
}

void label_qwen_upstream(const Words& words, const std::vector<ChatTurn>& turns, const std::string& prompt,
                         LabeledIds& labeled) {
  const int64_t start = special_id(words, "<|im_start|>"), end = special_id(words, "<|im_end|>");
  for (size_t i = 0; i < labeled.ids.size(); ++i) {
    const int64_t id = labeled.ids[i];
    if (id == start || id == end || id == kNewlineId) labeled.labels[i] = id;
  }
  // Every turn begins with a special token: it can be tokenized by itself.
  size_t token = 0, at = 0;
  const auto system = chat_prompt(ChatTemplate::kQwen, {turns.front()});
  const size_t first_turn = system.find("<|im_start|>user\n", 1);
  for (size_t i = 0; i <= turns.size(); ++i) {
    const size_t next = i == 0 ? first_turn : prompt_size(ChatTemplate::kQwen, turns, i);
    const size_t count = encode(words, std::string_view(prompt).substr(at, next - at)).size();
    for (size_t k = token; i > 0 && !turns[i - 1].human && k < token + count; ++k) {
      labeled.labels[k] = labeled.ids[k];
    }
    token += count;
    at = next;
  }
}

void label_plain(const Words& words, LabeledIds& labeled) {
  labeled.labels = labeled.ids;
  if (starts_with_bos(words, labeled.ids)) labeled.labels[0] = kIgnored;
}

/// Under the checkpoint's own template.
LabeledIds label_own(const Words& words, const std::vector<ChatTurn>& turns) {
  const TaughtText taught = words.options.own->write(turns);
  LabeledIds labeled;
  labeled.ids = encode(words, taught.text, taught.add_special);
  labeled.labels.assign(labeled.ids.size(), kIgnored);
  const size_t front = starts_with_bos(words, labeled.ids) && taught.add_special ? 1 : 0;
  const std::vector<int64_t> ids(labeled.ids.begin() + static_cast<std::ptrdiff_t>(front), labeled.ids.end());
  for (const auto& [begin, end] : taught.answers) {
    const size_t last = tokens_before(words, taught.text, end, ids);
    for (size_t i = tokens_before(words, taught.text, begin, ids); i < last; ++i) {
      labeled.labels[front + i] = ids[i];
    }
  }
  return labeled;
}

/// Pictures are no targets, and nothing lies beyond max_length.
LabeledIds limited(LabeledIds labeled, const ConversationOptions& options) {
  for (size_t i = 0; i < labeled.ids.size(); ++i) {
    if (labeled.ids[i] == kImageId) labeled.labels[i] = kIgnored;
  }
  if (options.max_length > 0 && static_cast<int64_t>(labeled.ids.size()) > options.max_length) {
    labeled.ids.resize(static_cast<size_t>(options.max_length));
    labeled.labels.resize(static_cast<size_t>(options.max_length));
  }
  return labeled;
}

}  // namespace

std::vector<int64_t> encode_conversation(const Tokenizer& tokenizer, const std::string& text,
                                         const ConversationOptions& options, bool add_special) {
  EncodeOptions how;
  how.add_special = add_special;
  if (options.pictures == nullptr) return encode_with_images(tokenizer, text, how);
  // One placeholder a picture, in the text that the family writes around it.
  MediaPlan one;
  one.placeholder = options.pictures->image_mark();
  one.runs.emplace_back().tokens = 1;
  const std::vector<MediaPlan> plans(static_cast<size_t>(count_images(text)), one);
  std::vector<int64_t> ids = options.pictures->encode(tokenizer, text, plans, how);
  const std::vector<int64_t> mark = tokenizer.encode(one.placeholder, {/*add_special=*/false, false});
  if (mark.size() != 1)
    throw InputError("tokenizer: expected {} to be one token, found {}", one.placeholder, mark.size());
  std::replace(ids.begin(), ids.end(), mark.front(), kImageId);
  return ids;
}

LabelRule parse_label_rule(const std::string& name) {
  if (name == "intended") return LabelRule::kIntended;
  if (name == "upstream") return LabelRule::kUpstream;
  throw UsageError("--labels: expected intended or upstream, found \"{}\"", name);
}

LabeledIds label_conversation(const Tokenizer& tokenizer, const std::vector<ChatTurn>& given,
                              const ConversationOptions& options) {
  if (options.chat == ChatTemplate::kNone && options.own == nullptr) {
    throw UsageError("--template: expected a template that marks answers, found \"none\"");
  }
  std::vector<ChatTurn> turns = given;
  if (!turns.empty() && !turns.front().human) turns.erase(turns.begin());
  const Words words = {tokenizer, options};
  if (options.own != nullptr) return limited(label_own(words, turns), options);
  const std::string prompt = chat_prompt(options.chat, turns);
  LabeledIds labeled;
  labeled.ids = encode(words, prompt, /*add_special=*/true);
  labeled.labels.assign(labeled.ids.size(), kIgnored);
  const bool upstream = options.rule == LabelRule::kUpstream;
  if (options.chat == ChatTemplate::kPlain) {
    label_plain(words, labeled);
  } else if (upstream && options.chat == ChatTemplate::kVicunaV1) {
    label_vicuna_upstream(words, prompt, options.max_length, labeled);
  } else if (upstream) {
    label_qwen_upstream(words, turns, prompt, labeled);
  } else {
    label_answers(words, prompt, end_of_answer(options.chat), answer_spans(options.chat, turns), labeled);
  }
  return limited(std::move(labeled), options);
}

}  // namespace ropescope
