// A question with its pictures and clips, as a model gets it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/rope/scheme.h"
#include "ropescope/text/chat_template_prompt.h"

#include "inputs/image_input.h"

namespace ropescope::app {

struct Question {
  std::string text;  ///< under the conversation template, `<image>` for a picture, `<video>` for a clip
  std::vector<int64_t> ids;  ///< ready for place_media
  std::vector<NamedMedia> media;
};

/// `question` under `chat`, with the pictures and clips of `flags`; those that it does not name come in front. `vlm`: of a
/// model that is given some; else none. Throws UsageError, InputError.
Question read_question(const ImageFlags& flags, const std::string& model, const std::optional<VlmConfig>& vlm,
                       const PromptTemplate& chat, const Tokenizer& tokenizer, const std::string& question,
                       const std::optional<std::string>& system);

/// Warns where the ids of a prompt without pictures hold tokens that stand for them: they are run as words.
void warn_of_marks(const std::string& model, const at::Tensor& input_ids);

/// Throws UsageError where a scheme aligns tiles of which nothing says where they lie on their picture.
void refuse_unplaced(const std::vector<NamedMedia>& media, const Scheme& scheme);

}  // namespace ropescope::app
