// The pictures and clips of the texts of a measurement: lines {"text": ..., "images": [...], "videos": [...], "fps": ...}
// of a .jsonl file, whose names are relative to it.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/models/vlm.h"
#include "ropescope/probe/texts.h"

#include "inputs/image_input.h"

namespace ropescope::app {

class TextPictures {
 public:
  /// `flags`: how files become pixels and grids are read (--alpha, --exif, --pinpoints); the rest of it is not looked at.
  TextPictures(const std::filesystem::path& model, VlmConfig config, const DecoderConfig& decoder,
               ImageFlags flags);

  /// The tokens of a document, `<image>`, `<video>` or the model's own marks standing for its pictures and clips in their
  /// order; without any mark they come in front. Their pixels are not kept. Throws InputError naming file and line.
  TextMedia read(const Document& document, const Tokenizer& tokenizer) const;
  /// Through the model's eyes; reads the files again.
  MediaEmbeddings embed(const Vlm& vlm, const TextMedia& media) const;

  const VlmConfig& config() const { return config_; }
  /// How files become pixels and grids are read, by flag.
  Json rules() const;

 private:
  std::vector<NamedMedia> pixels(const TextMedia& media) const;

  VlmConfig config_;
  int64_t vocab_size_;
  ImageFlags flags_;
  PictureReader reader_;
};

/// What the record says of the clips of texts, by the texts' numbers: the attribute `clips` of /texts, which is there. Without
/// clips there is none.
void write_clips(ResultWriter& writer, const TextSet& texts);

/// All files of the pictures and clips of texts, each once, in their order.
std::vector<std::filesystem::path> picture_files(const TextSet& texts);

}  // namespace ropescope::app
