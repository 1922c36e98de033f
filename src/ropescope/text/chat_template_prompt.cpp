#include "ropescope/text/chat_template_prompt.h"

#include <algorithm>

#include "ropescope/core/errors.h"
#include "ropescope/text/jinja_builtins.h"
#include "ropescope/text/jinja_template.h"

namespace ropescope {

struct PromptTemplate::Own {
  jinja::Template compiled;
  StoredChatTemplate stored;
  bool sees = false;
};

namespace {

using jinja::Value;

/// A stretch of a question: a picture, a clip, or text.
struct QuestionPart {
  enum class Kind { kText, kImage, kVideo };
  Kind kind = Kind::kText;
  std::string text;
};

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string trimmed(const std::string& text) {
  const auto first = std::find_if_not(text.begin(), text.end(), is_space);
  const auto last = std::find_if_not(text.rbegin(), std::make_reverse_iterator(first), is_space).base();
  return {first, last};
}

/// Pictures in front stand for themselves: the blanks behind them are the template's.
std::vector<QuestionPart> parts_of(const std::string& question, const AskedImages& images) {
  using Kind = QuestionPart::Kind;
  const std::string image = kImageText, video = kVideoText;
  std::vector<QuestionPart> parts;
  bool in_front = images.count > 0 || images.videos > 0;
  if (!in_front) return {{Kind::kText, question}};
  for (size_t at = 0; at <= question.size();) {
    const size_t next_image =
        images.count > 0 ? std::min(question.find(image, at), question.size()) : question.size();
    const size_t next_video =
        images.videos > 0 ? std::min(question.find(video, at), question.size()) : question.size();
    const size_t next = std::min(next_image, next_video);
    std::string text = question.substr(at, next - at);
    if (in_front) text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_space));
    if (!text.empty()) {
      parts.push_back({Kind::kText, text});
      in_front = false;
    }
    if (next == question.size()) break;
    parts.push_back({next_video < next_image ? Kind::kVideo : Kind::kImage, ""});
    at = next + (next_video < next_image ? video : image).size();
  }
  return parts;
}

Value text_part(const std::string& text) {
  return Value(std::vector<std::pair<std::string, Value>>{{"type", Value("text")}, {"text", Value(text)}});
}

/// The content of a message: parts, or a text with `<image>` in it.
Value content_of(const std::vector<QuestionPart>& parts) {
  std::vector<Value> content;
  for (const QuestionPart& part : parts) {
    const bool text = part.kind == QuestionPart::Kind::kText;
    const char* type = part.kind == QuestionPart::Kind::kVideo ? "video" : "image";
    content.push_back(text ? text_part(part.text)
                           : Value(std::vector<std::pair<std::string, Value>>{{"type", Value(type)}}));
  }
  return Value(std::move(content));
}

Value message(const char* role, Value content) {
  return Value(
      std::vector<std::pair<std::string, Value>>{{"role", Value(role)}, {"content", std::move(content)}});
}

void replace_all(std::string& text, const std::string& old, const std::string& fresh) {
  for (size_t at = text.find(old); at != std::string::npos; at = text.find(old, at + fresh.size())) {
    text.replace(at, old.size(), fresh);
  }
}

std::optional<std::string> special(const StoredChatTemplate& stored, const std::string& role) {
  for (const auto& [name, text] : stored.special_tokens) {
    if (name == role) return text;
  }
  return std::nullopt;
}

jinja::Rendering rendered(const jinja::Template& compiled, const StoredChatTemplate& stored,
                          std::vector<Value> messages, bool open) {
  std::vector<std::pair<std::string, Value>> variables = {{"messages", Value(std::move(messages))},
                                                          {"tools", Value()},
                                                          {"documents", Value()},
                                                          {"add_generation_prompt", Value(open)}};
  for (const auto& [role, text] : stored.special_tokens) variables.emplace_back(role, Value(text));
  return compiled.render(variables);
}

}  // namespace

PromptTemplate::PromptTemplate(ChatTemplate named) : named_(named) {}

PromptTemplate::PromptTemplate(StoredChatTemplate own, bool sees) {
  try {
    jinja::Template compiled(own.source);
    own_ = std::make_shared<const Own>(Own{std::move(compiled), std::move(own), sees});
  } catch (const jinja::Fault& fault) {
    throw InputError("{}: the template cannot be read: {}; --template names another", own.origin,
                     fault.what());
  }
}

std::string PromptTemplate::name() const { return own_ ? own_->stored.origin : chat_template_name(named_); }

std::string PromptTemplate::own_text(const Tokenizer& tokenizer, const std::string& question,
                                     const std::optional<std::string>& system,
                                     const AskedImages& images) const {
  const std::vector<QuestionPart> parts = parts_of(question, images);
  std::vector<std::string> kept;  // must come out again
  for (const QuestionPart& part : parts) kept.push_back(trimmed(part.text));
  if (system) kept.push_back(trimmed(*system));
  // What stands for a picture in the tokenizer's own words.
  const bool known = images.token_id && *images.token_id >= 0 && *images.token_id < tokenizer.vocab_size();
  const std::string own_mark = !images.mark.empty() ? images.mark
                               : known              ? tokenizer.token(*images.token_id)
                                                    : "";
  std::string reason;
  bool refused = false, weak = true;  // a reason that may only be that the form was not the template's
  const auto attempt = [&](Value content, bool as_parts) -> std::optional<std::string> {
    try {
      std::vector<Value> messages;
      if (system) {
        messages.push_back(
            message("system", as_parts ? Value(std::vector<Value>{text_part(*system)}) : Value(*system)));
      }
      messages.push_back(message("user", std::move(content)));
      jinja::Rendering rendering = rendered(own_->compiled, own_->stored, std::move(messages), /*open=*/true);
      std::string& text = rendering.text;
      if (images.count > 0 && !own_mark.empty() && count_images(text) == 0)
        replace_all(text, own_mark, kImageText);
      if (images.videos > 0 && !images.video_mark.empty() && count_marks(text, kVideoText) == 0)
        replace_all(text, images.video_mark, kVideoText);
      const auto lost = std::find_if(kept.begin(), kept.end(), [&](const std::string& part) {
        return text.find(part) == std::string::npos;
      });
      const int64_t marks = images.count > 0 ? count_images(text) : 0;
      const bool clips = images.videos == 0 || count_marks(text, kVideoText) == images.videos;
      if (!rendering.printed_container && lost == kept.end() && marks == images.count && clips)
        return std::move(text);
      if (!refused && weak) {
        weak = rendering.printed_container;
        const bool loses_system = system && lost == kept.end() - 1;
        reason = rendering.printed_container    ? "it expects another form of message"
                 : loses_system                 ? "it leaves the system text out"
                 : lost == kept.end() && !clips ? "it leaves clips out"
                 : lost != kept.end()           ? "it does not give the question back as it is"
                                      : fmt::format("it makes {} pictures of {}", marks, images.count);
      }
    } catch (const jinja::Refusal& refusal) {
      if (!refused)
        reason = fmt::format("it says \"{}\"{}", refusal.what(), system ? " (with the system text)" : "");
      refused = true;
    } catch (const jinja::Fault& fault) {
      if (!refused && weak) reason = fault.what();
    }
    return std::nullopt;
  };
  const auto as_parts = [&] { return attempt(content_of(parts), true); };
  const auto as_text = [&] { return attempt(Value(question), false); };
  // (a processor gives parts, pictures or not; a tokenizer gives texts)
  const bool media = images.count > 0 || images.videos > 0, parts_first = media || own_->sees;
  std::optional<std::string> text = parts_first ? as_parts() : as_text();
  if (!text) text = parts_first ? as_text() : as_parts();
  // A template of texts only, in parts.
  if (!text && media) text = attempt(content_of({{QuestionPart::Kind::kText, question}}), true);
  if (text) return std::move(*text);
  throw InputError("{}: the template cannot put this question: {}; --template names another{}",
                   own_->stored.origin, reason, system ? ", and without --system there is none" : "");
}

EncodeOptions PromptTemplate::own_options(const std::string& text) const {
  const std::optional<std::string> bos = special(own_->stored, "bos_token");
  EncodeOptions options;
  options.add_special = own_->sees && !(bos && !bos->empty() && text.rfind(*bos, 0) == 0);
  return options;
}

std::vector<int64_t> PromptTemplate::own_ids(const Tokenizer& tokenizer, const std::string& text,
                                             const AskedImages& images) const {
  const EncodeOptions options = own_options(text);
  if (images.count == 0) return tokenizer.encode(text, options);
  if (!images.mark.empty()) return {};  // (the caller expands the text)
  if (images.token_id && tokenizer.encode(kImageText, {/*add_special=*/false, false}) ==
                             std::vector<int64_t>{*images.token_id}) {
    // A token like others: the text is tokenized as a whole.
    std::vector<int64_t> ids = tokenizer.encode(text, options);
    std::replace(ids.begin(), ids.end(), *images.token_id, kImageId);
    return ids;
  }
  return encode_with_images(tokenizer, text, options);
}

AskedPrompt PromptTemplate::ask(const Tokenizer& tokenizer, const std::string& question,
                                const std::optional<std::string>& system, const AskedImages& images) const {
  if (own_) {
    AskedPrompt prompt;
    prompt.text = own_text(tokenizer, question, system, images);
    prompt.options = own_options(prompt.text);
    prompt.ids = own_ids(tokenizer, prompt.text, images);
    return prompt;
  }
  AskedPrompt prompt;
  prompt.text = question;
  if (named_ != ChatTemplate::kPlain && named_ != ChatTemplate::kNone) {
    ChatOptions options;
    options.open = true;
    options.system = system;
    prompt.text = chat_prompt(named_, {{true, question}}, options);
  } else if (system) {
    throw UsageError("--system: the template {} has no place for it", chat_template_name(named_));
  }
  prompt.ids = images.count == 0 ? tokenizer.encode(prompt.text, EncodeOptions{})
                                 : encode_with_images(tokenizer, prompt.text);
  return prompt;
}

std::optional<int64_t> PromptTemplate::end_token(const Tokenizer& tokenizer) const {
  std::string behind;
  if (own_) {
    const std::string answer = "the-answer";
    for (const bool as_parts : {false, true}) {
      try {
        const auto content = [&](const std::string& text) {
          return as_parts ? Value(std::vector<Value>{text_part(text)}) : Value(text);
        };
        const std::string text =
            rendered(own_->compiled, own_->stored,
                     {message("user", content("a")), message("assistant", content(answer))},
                     /*open=*/false)
                .text;
        const size_t at = text.rfind(answer);
        if (at == std::string::npos) continue;
        behind = text.substr(at + answer.size());
        break;
      } catch (const jinja::Fault&) {
        continue;  // it may speak of no answers at all
      }
    }
    behind = trimmed(behind);
  } else {
    behind = end_of_answer(named_);
  }
  if (behind.empty()) return std::nullopt;
  const std::vector<int64_t> ids = tokenizer.encode(behind, {/*add_special=*/false, false});
  if (ids.empty() || (!own_ && ids.size() != 1)) return std::nullopt;
  // Only a token that is no text ends an answer.
  const std::vector<int64_t> first = {ids.front()};
  if (own_ && !tokenizer.decode(first, /*skip_special=*/true).empty()) return std::nullopt;
  return ids.front();
}

}  // namespace ropescope
