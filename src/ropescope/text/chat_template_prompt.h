// A question as a model gets it: under the chat template of its own checkpoint, or under a named one. All that ask models
// go through here.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/text/chat_template.h"
#include "ropescope/text/chat_template_file.h"

namespace ropescope {

/// The pictures of a question, for which `<image>` stands in its text.
struct AskedImages {
  int64_t count = 0;
  std::optional<int64_t> token_id = {};  ///< of a picture, where the model's vocabulary has one
  std::string mark = {};  ///< what the model's template writes for a picture; empty: the token of token_id
  int64_t videos = 0;     ///< clips, for which `<video>` stands
  std::string video_mark = {};  ///< what the template writes for one
};

struct AskedPrompt {
  std::string text;
  std::vector<int64_t>
      ids;  ///< kImageId for a picture; with AskedImages::mark and pictures none: `text` is expanded first
  EncodeOptions options = {};  ///< with which `text` became them
};

class PromptTemplate {
 public:
  PromptTemplate() : PromptTemplate(ChatTemplate::kNone) {}
  explicit PromptTemplate(ChatTemplate named);
  /// `sees`: of a model with eyes, whose processor puts a start token in front of a prompt that does not begin with one;
  /// a language model's template writes all of its special tokens itself (both as transformers do it). Throws InputError,
  /// naming the template, for one that cannot be parsed.
  PromptTemplate(StoredChatTemplate own, bool sees);

  /// "vicuna_v1", or where the model's own stands: "chat_template of tokenizer_config.json".
  std::string name() const;
  bool is_own() const { return own_ != nullptr; }

  /// Up to where the answer begins. `plain` and `none` give the question alone. Pictures and texts are given to an own
  /// template as the parts of the message's content, or, to one that expects a text, as a text with `<image>` in it:
  /// whichever comes out with the whole question and every picture. Throws InputError where neither does, with what the
  /// template says; UsageError for a system text that has no place.
  AskedPrompt ask(const Tokenizer& tokenizer, const std::string& question,
                  const std::optional<std::string>& system, const AskedImages& images = {}) const;

  /// The token behind which an answer is complete under this template; none where it has none of one token.
  std::optional<int64_t> end_token(const Tokenizer& tokenizer) const;

 private:
  struct Own;
  std::string own_text(const Tokenizer& tokenizer, const std::string& question,
                       const std::optional<std::string>& system, const AskedImages& images) const;
  EncodeOptions own_options(const std::string& text) const;
  std::vector<int64_t> own_ids(const Tokenizer& tokenizer, const std::string& text,
                               const AskedImages& images) const;

  ChatTemplate named_ = ChatTemplate::kNone;
  std::shared_ptr<const Own> own_;
};

}  // namespace ropescope
