#include "measure/text_pictures.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"

namespace ropescope::app {

namespace fs = std::filesystem;

namespace {

/// The names under a key, relative to the document's file.
std::vector<fs::path> names_of(const Document& document, const char* key, const std::string& where) {
  std::vector<fs::path> names;
  const Json* list = json_find(document.media, key);
  if (list == nullptr) return names;
  const bool strings = list->is_array() && std::all_of(list->begin(), list->end(), [](const Json& name) {
                         return name.is_string() && !name.get_ref<const std::string&>().empty();
                       });
  if (!strings) throw InputError("{}: {}: expected a list of file names, found {}", where, key, list->dump());
  for (const Json& name : *list) names.push_back(document.file.parent_path() / name.get<std::string>());
  return names;
}

}  // namespace

TextPictures::TextPictures(const fs::path& model, VlmConfig config, const DecoderConfig& decoder,
                           ImageFlags flags)
    : config_(std::move(config)),
      vocab_size_(decoder.vocab_size),
      flags_(std::move(flags)),
      reader_(model, flags_.pinpoint_rule()) {}

TextMedia TextPictures::read(const Document& document, const Tokenizer& tokenizer) const {
  const std::string where = fmt::format("{}:{}", document.file.string(), document.line);
  TextMedia media;
  media.images = names_of(document, "images", where);
  media.videos = names_of(document, "videos", where);
  if (const Json* fps = json_find(document.media, "fps")) {
    if (!fps->is_number() || !(fps->get<double>() > 0)) {
      throw InputError("{}: fps: expected frames a second above 0, found {}", where, fps->dump());
    }
    media.fps = fps->get<double>();
  }
  try {
    const std::vector<NamedMedia> seen = pixels(media);
    const std::vector<MediaPlan> plans = plans_of(seen);
    if (const Json clips = clips_of(seen); !clips.empty()) media.clips = clips.dump();
    const bool marked = document.text.find(reader_.image_mark()) != std::string::npos ||
                        document.text.find(reader_.video_mark()) != std::string::npos;
    const std::string text =
        marked ? document.text : with_media_in_front(document.text, media.images.size(), media.videos.size());
    const std::vector<int64_t> ids = reader_.encode(tokenizer, text, plans);
    media.prompt =
        place_media(at::tensor(ids, at::kLong).unsqueeze(0), {}, plans, media_marks(config_), vocab_size_);
  } catch (const InputError& error) {
    throw InputError("{}: {}", where, error.what());
  } catch (const UsageError& error) {  // what a flag would say stands in the file
    throw InputError("{}: {}", where, error.what());
  }
  return media;
}

std::vector<NamedMedia> TextPictures::pixels(const TextMedia& media) const {
  const DecodeOptions rules = flags_.decode.options();
  std::vector<at::Tensor> pictures;
  for (const fs::path& file : media.images) pictures.push_back(read_rgb(file.string(), rules));
  std::vector<NamedMedia> all;
  if (!pictures.empty()) {
    for (MediaItem& item : reader_.images(pictures)) all.push_back({std::move(item), "", {}});
  }
  ImageFlags flags = flags_;
  if (media.fps > 0) flags.fps = media.fps;
  for (const fs::path& clip : media.videos) all.push_back(flags.read_clip(clip.string(), reader_));
  return all;
}

Json TextPictures::rules() const {
  return {{"alpha", flags_.decode.alpha},
          {"exif", flags_.decode.exif},
          {"pinpoints", flags_.pinpoints ? Json(*flags_.pinpoints) : Json()}};
}

MediaEmbeddings TextPictures::embed(const Vlm& vlm, const TextMedia& media) const {
  return ropescope::embed(vlm, media.prompt, see(vlm, items_of(pixels(media))));
}

void write_clips(ResultWriter& writer, const TextSet& texts) {
  Json clips = Json::object();
  for (size_t i = 0; i < texts.texts.size(); ++i) {
    const TokenizedText& text = texts.texts[i];
    if (text.media == nullptr || text.media->clips.empty()) continue;
    clips[std::to_string(i)] = parse_json(text.media->clips, text.name);
  }
  if (!clips.empty()) writer.attribute("/texts", "clips", clips.dump());
}

std::vector<fs::path> picture_files(const TextSet& texts) {
  std::vector<fs::path> files;
  std::set<fs::path> known;
  const auto add = [&](const fs::path& file) {
    if (known.insert(file).second) files.push_back(file);
  };
  for (const TokenizedText& text : texts.texts) {
    if (text.media == nullptr) continue;
    for (const fs::path& file : text.media->images) add(file);
    for (const fs::path& clip : text.media->videos) {
      for (const fs::path& file : files_of_clip(clip)) add(file);
    }
  }
  return files;
}

}  // namespace ropescope::app
