// A whole conversation under the chat template that a checkpoint brings along, and where its answers lie. (Questions alone:
// text/chat_template_prompt.h.)
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "ropescope/text/chat_template.h"
#include "ropescope/text/chat_template_file.h"
#include "ropescope/text/jinja_template.h"

namespace ropescope {

struct TaughtText {
  std::string text;  ///< `<image>` stands for a picture
  /// Bytes [begin, end) of each answer and of all that the template writes behind it: what the model has to say.
  std::vector<std::array<size_t, 2>> answers;
  bool add_special = false;  ///< a start token belongs in front
};

class TaughtTemplate {
 public:
  /// `sees`: of a model with eyes, whose messages are lists of parts; `image_mark`: what the template writes for a picture.
  /// Throws InputError, naming the template, for one that cannot be parsed.
  TaughtTemplate(StoredChatTemplate own, bool sees, std::string image_mark);

  const std::string& origin() const { return stored_.origin; }
  const std::string& source() const { return stored_.source; }

  /// `turns` alternate and begin with a question; the blanks behind pictures in front of a turn are the template's. Safe on
  /// several threads. Throws InputError where the template loses a text or a picture, writes an answer elsewhere than behind
  /// the question's prompt, or refuses.
  TaughtText write(const std::vector<ChatTurn>& turns) const;

 private:
  struct Attempt;
  Attempt attempt(const std::vector<ChatTurn>& turns, int form) const;

  jinja::Template compiled_;
  StoredChatTemplate stored_;
  std::string image_mark_;
  bool sees_;
};

}  // namespace ropescope
