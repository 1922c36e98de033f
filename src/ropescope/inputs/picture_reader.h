// What a model folder does with pictures and clips, whichever family it is: from files' pixels to what its tower takes,
// and from the marks in a prompt to token ids. `<image>` and `<video>` stand for them in every text here, whatever the
// family itself writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/text/chat_template_prompt.h"
#include "ropescope/vision/media_processor.h"
#include "ropescope/vision/preprocess.h"

namespace ropescope {

class PictureReader {
 public:
  /// `pinpoints`: of LLaVA-NeXT, how its list of grids is read. Throws InputError as read_media_processor and
  /// read_preprocess_settings do.
  explicit PictureReader(const std::filesystem::path& folder,
                         std::optional<PinpointRule> pinpoints = std::nullopt);
  /// Of models that have no folder yet: LLaVA-NeXT (InputError without anyres tiles), and any other family.
  explicit PictureReader(PreprocessSettings settings);
  explicit PictureReader(MediaProcessor processor);

  /// The pictures of one prompt, uint8 [H, W, 3] each.
  std::vector<MediaItem> images(const std::vector<at::Tensor>& rgb_HW3) const;
  /// What the tower takes of MediaItem::pixels_u8, which is all that is worth keeping while a picture waits: float32, the
  /// same shape.
  at::Tensor normalised(const at::Tensor& pixels_u8) const;
  /// A clip's frames, as many as `frames` says. Throws UnsupportedModel where the family takes none.
  MediaItem video(const std::vector<at::Tensor>& rgb_HW3, const SampledFrames& frames) const;
  /// How the frames of a clip are chosen. Throws UnsupportedModel likewise.
  const FrameSampling& sampling() const;
  bool takes_video() const { return processor_ && processor_->takes_video(); }

  /// The plan of a picture of so many pixels, one of `of` in its prompt.
  MediaPlan plan_image(int64_t width, int64_t height, size_t of = 1) const;

  /// What the model's own chat template writes for a picture ("<|image_pad|>", "<start_of_image>", ...).
  const std::string& image_mark() const { return image_mark_; }
  const std::string& video_mark() const { return video_mark_; }

  /// Whether texts are expanded before they are tokenized (all but LLaVA-NeXT, whose pieces of text are tokenized alone).
  bool expands_text() const { return processor_.has_value(); }
  /// Ids of a text in which `<image>` and `<video>`, or the family's own marks, stand for `plans` in their order; the
  /// placeholders are all there. Throws InputError where their numbers differ.
  std::vector<int64_t> encode(const Tokenizer& tokenizer, std::string text,
                              const std::vector<MediaPlan>& plans, const EncodeOptions& options = {}) const;

  /// A question under a conversation template, `<image>` in it standing for pictures: of LLaVA-NeXT the ids hold kImageId
  /// for each, else every placeholder is there. `token_id`: of a picture, where the vocabulary has one.
  AskedPrompt ask(const PromptTemplate& chat, const Tokenizer& tokenizer, const std::string& question,
                  const std::optional<std::string>& system, std::optional<int64_t> token_id,
                  const std::vector<MediaPlan>& plans) const;

  /// Null for LLaVA-NeXT.
  const MediaProcessor* processor() const { return processor_ ? &*processor_ : nullptr; }
  const std::optional<PreprocessSettings>& anyres_settings() const { return settings_; }

 private:
  void require_video() const;

  std::optional<MediaProcessor> processor_;
  std::optional<PreprocessSettings> settings_;  // of LLaVA-NeXT
  std::string image_mark_, video_mark_;
};

/// A prompt that names no picture gets its pictures (and clips) in front, one a line, as the models were trained.
std::string with_media_in_front(std::string text, size_t images, size_t videos = 0);

}  // namespace ropescope
