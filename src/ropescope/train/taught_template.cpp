#include "ropescope/train/taught_template.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/text/jinja_builtins.h"

namespace ropescope {

namespace taught {

namespace {

using jinja::Value;
using Fields = std::vector<std::pair<std::string, Value>>;

constexpr const char* kBlanks = " \t\r\n";
const std::string kPicture = kImageText;

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

/// The texts of a turn between its pictures, without the blanks behind pictures in front.
std::vector<std::string> pieces_of(const std::string& text) {
  std::vector<std::string> pieces;
  for (size_t at = 0;;) {
    const size_t next = text.find(kPicture, at);
    std::string piece = text.substr(at, next == std::string::npos ? next : next - at);
    const bool in_front =
        std::all_of(pieces.begin(), pieces.end(), [](const std::string& one) { return one.empty(); });
    if (in_front && !pieces.empty()) piece.erase(0, std::min(piece.find_first_not_of(kBlanks), piece.size()));
    pieces.push_back(std::move(piece));
    if (next == std::string::npos) return pieces;
    at = next + kPicture.size();
  }
}

Value parts_of(const std::string& text) {
  std::vector<Value> parts;
  const std::vector<std::string> pieces = pieces_of(text);
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0) parts.push_back(Value(Fields{{"type", Value("image")}}));
    if (!trimmed(pieces[i]).empty() || pieces.size() == 1) {
      parts.push_back(Value(Fields{{"type", Value("text")}, {"text", Value(pieces[i])}}));
    }
  }
  return Value(std::move(parts));
}

}  // namespace

}  // namespace taught

/// How messages are given: all as parts, questions as parts and answers as texts, all as texts.
struct TaughtTemplate::Attempt {
  std::optional<TaughtText> result;
  std::string reason;
};

TaughtTemplate::TaughtTemplate(StoredChatTemplate own, bool sees, std::string image_mark)
    : compiled_([&] {
        try {
          return jinja::Template(own.source);
        } catch (const jinja::Fault& fault) {
          throw InputError("{}: the template cannot be read: {}; --template names another", own.origin,
                           fault.what());
        }
      }()),
      stored_(std::move(own)),
      image_mark_(std::move(image_mark)),
      sees_(sees) {}

TaughtTemplate::Attempt TaughtTemplate::attempt(const std::vector<ChatTurn>& turns, int form) const {
  using namespace taught;
  Attempt made;
  bool printed_container = false;
  const auto rendered = [&](size_t count, bool open) {
    std::vector<Value> messages;
    for (size_t i = 0; i < count; ++i) {
      const ChatTurn& turn = turns[i];
      const bool in_parts = form == 0 || (form == 1 && turn.human);
      messages.push_back(Value(Fields{{"role", Value(turn.human ? "user" : "assistant")},
                                      {"content", in_parts ? parts_of(turn.text) : Value(turn.text)}}));
    }
    Fields variables = {{"messages", Value(std::move(messages))},
                        {"tools", Value()},
                        {"documents", Value()},
                        {"add_generation_prompt", Value(open)}};
    for (const auto& [role, text] : stored_.special_tokens) variables.emplace_back(role, Value(text));
    jinja::Rendering rendering = compiled_.render(variables);
    printed_container = printed_container || rendering.printed_container;
    std::string text = std::move(rendering.text);
    if (image_mark_ != kPicture && count_images(text) == 0) {
      for (size_t at = text.find(image_mark_); at != std::string::npos; at = text.find(image_mark_, at)) {
        text.replace(at, image_mark_.size(), kPicture);
        at += kPicture.size();
      }
    }
    return text;
  };
  try {
    TaughtText taught;
    taught.text = rendered(turns.size(), false);
    int64_t pictures = 0;
    size_t at = 0;
    for (const ChatTurn& turn : turns) {
      pictures += count_images(turn.text);
      for (const std::string& piece : pieces_of(turn.text)) {
        at = taught.text.find(trimmed(piece), at);
        if (at == std::string::npos) {
          made.reason = "it does not give every turn back as it is";
          return made;
        }
      }
    }
    if (printed_container) made.reason = "it expects another form of message";
    if (count_images(taught.text) != pictures) {
      made.reason = fmt::format("it makes {} pictures of {}", count_images(taught.text), pictures);
    }
    for (size_t i = 0; i < turns.size() && made.reason.empty(); ++i) {
      if (turns[i].human) continue;
      const std::string before = rendered(i, true), through = rendered(i + 1, false);
      if (through.rfind(before, 0) != 0 || taught.text.rfind(through, 0) != 0) {
        made.reason = "an answer does not stand behind the prompt that it would be asked with";
      }
      taught.answers.push_back({before.size(), through.size()});
    }
    if (!made.reason.empty()) return made;
    const auto bos = std::find_if(stored_.special_tokens.begin(), stored_.special_tokens.end(),
                                  [](const auto& one) { return one.first == "bos_token"; });
    const bool begun =
        bos != stored_.special_tokens.end() && !bos->second.empty() && taught.text.rfind(bos->second, 0) == 0;
    taught.add_special = sees_ && !begun;
    made.result = std::move(taught);
  } catch (const jinja::Refusal& refusal) {
    made.reason = fmt::format("it says \"{}\"", refusal.what());
  } catch (const jinja::Fault& fault) {
    made.reason = fault.what();
  }
  return made;
}

TaughtText TaughtTemplate::write(const std::vector<ChatTurn>& turns) const {
  std::string reason;
  for (const int form : sees_ ? std::array<int, 3>{0, 1, 2} : std::array<int, 3>{2, 1, 0}) {
    Attempt made = attempt(turns, form);
    if (made.result) return std::move(*made.result);
    if (reason.empty()) reason = made.reason;
  }
  throw InputError("{}: the template cannot put this conversation: {}; --template names another",
                   stored_.origin, reason);
}

}  // namespace ropescope
