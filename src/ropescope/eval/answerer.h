// Asks a model: prompts with the conversation template and `<image>` marks, greedy decoding with a key/value
// cache, questions on the same pictures after one pass over what they share.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/eval/evaluation.h"
#include "ropescope/models/generate.h"
#include "ropescope/models/llava.h"
#include "ropescope/text/chat_template.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/vision/preprocess.h"

namespace ropescope::eval {

struct AnswererOptions {
  std::optional<std::string> scheme;  ///< none: the model's own positions
  ChatTemplate chat = ChatTemplate::kNone;
  std::optional<std::string> system;  ///< in place of the template's
  int64_t max_new_tokens = 16;
  std::optional<PreprocessSettings> preprocess;  ///< of a model with eyes
};

/// The text as the harness gives it to LLaVA: where it names no image, one `<image>` for each picture, joined
/// by blanks, and a newline stand in front.
std::string with_image_marks(std::string text, size_t pictures);

class Answerer {
 public:
  /// `llava` is null for a model without eyes. The objects must outlive this one.
  Answerer(const Decoder& decoder, const Llava* llava, const Tokenizer& tokenizer, AnswererOptions options);

  /// Text tokens of a question, template included.
  int64_t count_tokens(const std::string& prompt) const;

  /// One answer a question, in their order; all without pictures or all on the same ones. `bytes_of` gives a
  /// picture file. Where something goes wrong with the whole batch each question is asked alone, so that an
  /// error costs its own item only.
  std::vector<Answer> answer(const std::vector<Question>& questions,
                             const std::function<std::string(const std::string& key)>& bytes_of);

 private:
  std::vector<int64_t> encode(const Question& question) const;
  std::vector<Answer> answer_together(const std::vector<Question>& questions,
                                      const std::function<std::string(const std::string& key)>& bytes_of);
  std::vector<Answer> answer_text(const std::vector<std::vector<int64_t>>& prompts) const;
  std::vector<Answer> answer_on_pictures(const std::vector<std::vector<int64_t>>& prompts);
  /// Keys of a beginning that ends with the last picture, from the last call if it was the same.
  const KvCache& keys_of_beginning(const std::vector<int64_t>& ids, const SequenceEncoding* encoding);
  ImagePrompt expanded(const std::vector<int64_t>& ids) const;
  void look_at(const std::vector<std::string>& pictures,
               const std::function<std::string(const std::string& key)>& bytes_of);
  std::vector<Answer> generated(const GenerateInput& input, size_t rows) const;

  const Decoder& decoder_;
  const Llava* llava_;
  const Tokenizer& tokenizer_;
  AnswererOptions options_;
  std::optional<Scheme> scheme_;
  std::vector<std::string> picture_keys_;  // what images_ shows
  std::vector<LlavaImage> images_;
  struct Beginning {
    std::vector<int64_t> ids;
    at::Tensor coordinates;  // under the scheme
    KvCache keys;
  };
  std::optional<Beginning> beginning_;  // of questions on images_
};

}  // namespace ropescope::eval
