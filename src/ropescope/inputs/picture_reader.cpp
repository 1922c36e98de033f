#include "ropescope/inputs/picture_reader.h"

#include <algorithm>
#include <utility>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/text/chat_template.h"

namespace ropescope {

namespace {

bool has_no_media_processor(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  std::error_code ignored;
  return !std::filesystem::is_regular_file(path, ignored) || !has_media_processor(read_json_file(path));
}

/// Each `general` becomes the family's own mark, within the tokens that its templates write around one.
void put_marks(std::string& text, const std::string& general, const std::string& own,
               const std::string& start, const std::string& end) {
  for (size_t at = text.find(general); at != std::string::npos; at = text.find(general, at)) {
    const bool there =
        !start.empty() && at >= start.size() && text.compare(at - start.size(), start.size(), start) == 0;
    const std::string fresh = there ? own : start + own + end;
    text.replace(at, general.size(), fresh);
    at += fresh.size();
  }
}

}  // namespace

std::string with_media_in_front(std::string text, size_t images, size_t videos) {
  if (text.find(kImageText) != std::string::npos || text.find(kVideoText) != std::string::npos) return text;
  for (size_t i = 0; i < videos; ++i) text.insert(0, std::string(kVideoText) + "\n");
  for (size_t i = 0; i < images; ++i) text.insert(0, std::string(kImageText) + "\n");
  return text;
}

PictureReader::PictureReader(const std::filesystem::path& folder, std::optional<PinpointRule> pinpoints)
    : PictureReader([&]() -> PictureReader {
        if (has_no_media_processor(folder)) return PictureReader(read_preprocess_settings(folder, pinpoints));
        if (pinpoints) {
          throw UsageError("--pinpoints: {} is no LLaVA-NeXT model, whose grids could be read in two ways",
                           folder.string());
        }
        return PictureReader(read_media_processor(folder));
      }()) {}

PictureReader::PictureReader(PreprocessSettings settings)
    : settings_(std::move(settings)), image_mark_(kImageText), video_mark_(kVideoText) {
  if (!settings_->anyres) {
    throw InputError("{}: expected a LLaVA-NeXT model, whose images are cut into tiles", settings_->name);
  }
}

PictureReader::PictureReader(MediaProcessor processor)
    : processor_(std::move(processor)), video_mark_(kVideoText) {
  image_mark_ = processor_->settings().words.image;
  if (takes_video()) video_mark_ = processor_->settings().words.video;
}

at::Tensor PictureReader::normalised(const at::Tensor& pixels_u8) const {
  return processor_ ? processor_->normalised(pixels_u8) : normalize_tiles(pixels_u8, *settings_);
}

std::vector<MediaItem> PictureReader::images(const std::vector<at::Tensor>& rgb_HW3) const {
  if (processor_) return processor_->images(rgb_HW3, PictureList::kNested);
  std::vector<MediaItem> items;
  for (const at::Tensor& rgb : rgb_HW3) {
    PreprocessedImage prepared = preprocess_image(rgb, *settings_);
    const AnyresGeometry& geometry = *prepared.geometry;
    items.push_back({anyres_plan(geometry, geometry.feat_H1W1, settings_->anyres->tile_size), prepared.tiles,
                     prepared.pixel_values});
  }
  return items;
}

MediaItem PictureReader::video(const std::vector<at::Tensor>& rgb_HW3, const SampledFrames& frames) const {
  require_video();
  return processor_->video(rgb_HW3, frames);
}

const FrameSampling& PictureReader::sampling() const {
  require_video();
  return processor_->settings().sampling;
}

void PictureReader::require_video() const {
  if (takes_video()) return;
  throw UnsupportedModel("{}: clips are not supported for this family; expected pictures (--image)",
                         processor_ ? processor_->family() : "llava_next");
}

MediaPlan PictureReader::plan_image(int64_t width, int64_t height, size_t of) const {
  if (processor_) return processor_->plan_image(width, height, of > 1);
  const AnyresGeometry geometry = anyres_geometry(width, height, *settings_->anyres);
  return anyres_plan(geometry, geometry.feat_H1W1, settings_->anyres->tile_size);
}

std::vector<int64_t> PictureReader::encode(const Tokenizer& tokenizer, std::string text,
                                           const std::vector<MediaPlan>& plans,
                                           const EncodeOptions& options) const {
  if (!processor_) return encode_with_images(tokenizer, text, options);
  const MediaTokens& words = processor_->settings().words;
  put_marks(text, kImageText, image_mark_, words.image_start, words.image_end);
  if (takes_video()) put_marks(text, kVideoText, video_mark_, words.video_start, words.video_end);
  return tokenizer.encode(processor_->expand_text(text, plans), options);
}

AskedPrompt PictureReader::ask(const PromptTemplate& chat, const Tokenizer& tokenizer,
                               const std::string& question, const std::optional<std::string>& system,
                               std::optional<int64_t> token_id, const std::vector<MediaPlan>& plans) const {
  AskedImages images;
  images.count = count_images(question);
  images.token_id = token_id;
  if (processor_) images.mark = image_mark_;
  if (processor_ && !plans.empty()) {
    images.videos = static_cast<int64_t>(std::count_if(
        plans.begin(), plans.end(), [](const MediaPlan& plan) { return plan.kind == MediaKind::kVideo; }));
    images.video_mark = video_mark_;
  }
  AskedPrompt asked = chat.ask(tokenizer, question, system, images);
  if (processor_ && !plans.empty()) asked.ids = encode(tokenizer, asked.text, plans, asked.options);
  return asked;
}

}  // namespace ropescope
