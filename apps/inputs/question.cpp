#include "inputs/question.h"

#include <algorithm>

#include "ropescope/core/errors.h"

namespace ropescope::app {

Question read_question(const ImageFlags& flags, const std::string& model, const std::optional<VlmConfig>& vlm,
                       const PromptTemplate& chat, const Tokenizer& tokenizer, const std::string& question,
                       const std::optional<std::string>& system) {
  Question result;
  if (!vlm) {
    AskedPrompt asked = chat.ask(tokenizer, question, system);
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
