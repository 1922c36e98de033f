// Asks a model: prompts with the conversation template and `<image>` marks, greedy decoding with a key/value
// cache, questions on the same pictures (and behind the same text) after one pass over what they share.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/eval/evaluation.h"
#include "ropescope/eval/kept_prefix.h"
#include "ropescope/inputs/picture_reader.h"
#include "ropescope/models/generate.h"
#include "ropescope/models/vlm.h"
#include "ropescope/rope/scheme.h"
#include "ropescope/text/chat_template_prompt.h"
#include "ropescope/text/tokenizer.h"

namespace ropescope::eval {

struct AnswererOptions {
  PromptTemplate chat = {};
  std::optional<std::string> system;  ///< in place of the template's
  int64_t max_new_tokens = 16;
  std::shared_ptr<const PictureReader> reader = nullptr;  ///< of a model with eyes
  std::optional<int64_t> image_token_id;                  ///< where its vocabulary has one for a picture
  /// A clip's frames as its tower takes them; absent where nothing is asked about clips.
  std::function<MediaItem(const ClipPart& clip)> read_clip = nullptr;
};

/// One way to ask.
struct Manner {
  std::optional<Scheme> scheme;  ///< none: the model's own positions
  std::string distractor;        ///< text between the pictures and the question
  bool visual_share = false;     ///< measure how the prompt's last token attends to the pictures
};

/// The text as the harness gives it to LLaVA: where it names no image, one `<image>` for each picture, joined
/// by blanks, and a newline stand in front. `<video>` for each clip likewise, behind the pictures.
std::string with_image_marks(std::string text, size_t pictures, size_t clips = 0);

/// A question as a model gets it: image marks, conversation template up to where the answer begins, token
/// ids, ready for place_media. `plans`: of its pictures and then its clips, or none where only its text counts.
std::vector<int64_t> question_ids(const Tokenizer& tokenizer, const AnswererOptions& options,
                                  const std::string& text, const std::vector<MediaPlan>& plans);

class Answerer {
 public:
  /// `vlm` is null for a model without eyes. The objects must outlive this one.
  Answerer(const Decoder& decoder, const Vlm* vlm, const Tokenizer& tokenizer, AnswererOptions options);

  /// One answer a question, in their order; all without pictures and clips or all on the same ones. `bytes_of` gives a
  /// picture file. Where something goes wrong with the whole batch each question is asked alone, so that an
  /// error costs its own item only.
  std::vector<Answer> answer(const std::vector<Question>& questions, const Manner& manner,
                             const std::function<std::string(const std::string& key)>& bytes_of);

  /// Tokens of shared beginnings that went through the decoder so far.
  int64_t beginning_tokens() const { return prefix_.computed(); }

 private:
  using BytesOf = std::function<std::string(const std::string& key)>;
  /// A prompt in which every picture has its tokens.
  struct Prompt {
    std::vector<int64_t> ids;
    Layout layout;
    std::vector<int64_t> item_of;  ///< as in MediaPrompt
    int64_t first = 0;             ///< tokens up to the last picture
  };

  std::vector<int64_t> encode(const Question& question, const std::string& distractor) const;
  std::vector<Answer> answer_together(const std::vector<Question>& questions, const Manner& manner,
                                      const BytesOf& bytes_of);
  std::vector<Answer> answer_text(const std::vector<std::vector<int64_t>>& prompts,
                                  const Manner& manner) const;
  std::vector<Answer> answer_alike(const std::vector<std::vector<int64_t>>& prompts, const Manner& manner);
  /// The scheme of a manner, or the rows of the model's own positions; none where these count tokens.
  std::optional<Scheme> scheme_of(const Manner& manner) const;
  std::optional<SequenceEncoding> encoding_of(const Prompt& prompt, const Manner& manner) const;
  /// Whether rows of different lengths can share a pass.
  bool positions_known(const Prompt& prompt, const Manner& manner) const;
  /// The longest row first; all of one length unless positions_known().
  std::vector<Answer> answer_rows(const std::vector<const Prompt*>& rows, int64_t common,
                                  const Manner& manner);
  Prompt expanded(const std::vector<int64_t>& ids) const;
  MediaEmbeddings embeddings(const Prompt& prompt, int64_t tokens);
  /// Throws InputError, once more without reading them again, where pictures or clips cannot be read.
  void look_at(const Question& question, const BytesOf& bytes_of);
  std::vector<MediaItem> media_of(const Question& question, const BytesOf& bytes_of) const;
  std::vector<Answer> generated(const GenerateInput& input, size_t rows) const;

  const Decoder& decoder_;
  const Vlm* vlm_;
  const Tokenizer& tokenizer_;
  AnswererOptions options_;
  std::vector<std::string> picture_keys_;  // what images_ shows: these pictures,
  std::vector<ClipPart> clips_;            // and behind them these clips,
  std::string unreadable_;                 // unless it says why not
  std::vector<MediaItem> images_;
  std::vector<MediaPlan> plans_;   // of images_
  std::optional<SeenMedia> seen_;  // of images_, once they were asked for
  KeptPrefix prefix_;              // of questions on images_
};

}  // namespace ropescope::eval
