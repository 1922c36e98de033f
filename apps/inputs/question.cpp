#include "inputs/question.h"

#include <algorithm>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "inputs/loaded_model.h"

namespace ropescope::app {

Question read_question(const ImageFlags& flags, const std::string& model, const std::optional<VlmConfig>& vlm,
                       const PromptTemplate& chat, const Tokenizer& tokenizer, const std::string& question,
                       const std::optional<std::string>& system) {
  Question result;
  if (!vlm) {
    AskedPrompt asked = chat.ask(tokenizer, question, system);
    const bool named = count_images(question) > 0 || count_marks(question, kVideoText) > 0;
    if (named && model_kind(model) == ModelKind::kVlm) {
      log_warning(
          "--prompt: it names pictures or clips and none is given (--image, --video): the marks are run as words");
    } else {
      warn_of_marks(model, at::tensor(asked.ids, at::kLong));
    }
    result.text = std::move(asked.text);
    result.ids = std::move(asked.ids);
    return result;
  }
  const PictureReader reader(model, flags.pinpoint_rule());
  if (flags.pixels && reader.expands_text()) {
    throw UsageError("--pixels: expected --image or --video: this family's prompt depends on their sizes");
  }
  result.media = flags.pixels ? flags.read_pixels(model, reader, *vlm, {}) : flags.read(reader);
  const auto videos =
      static_cast<size_t>(std::count_if(result.media.begin(), result.media.end(), [](const NamedMedia& one) {
        return one.item.plan.kind == MediaKind::kVideo;
      }));
  const std::string text = with_media_in_front(question, result.media.size() - videos, videos);
  AskedPrompt asked = reader.ask(chat, tokenizer, text, system, vlm->tokens.image, plans_of(result.media));
  result.ids = std::move(asked.ids);
  result.text = std::move(asked.text);
  return result;
}

void warn_of_marks(const std::string& model, const at::Tensor& input_ids) {
  if (model_kind(model) != ModelKind::kVlm) return;
  VlmConfig config;
  try {
    config = read_vlm_config(model);
  } catch (const InputError&) {  // its words can be run all the same
    return;
  }
  int64_t marks = 0;
  for (const auto& id : {config.tokens.image, config.tokens.video}) {
    if (id) marks += input_ids.eq(*id).sum().item<int64_t>();
  }
  if (marks == 0) return;
  log_warning(
      "{}: {} of the prompt's tokens stand for pictures or clips, and none is given (--image, --video, --pixels): they are run as words",
      model, marks);
}

void refuse_unplaced(const std::vector<NamedMedia>& media, const Scheme& scheme) {
  if (!scheme.aligned()) return;
  for (const NamedMedia& one : media) {
    if (!one.unplaced) continue;
    throw UsageError(
        "--scheme {}: expected pictures by --image: the pixels of --pixels alone do not say which part of the picture a tile shows",
        scheme.text());
  }
}

}  // namespace ropescope::app
