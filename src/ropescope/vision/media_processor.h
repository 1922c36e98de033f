// What a vision-language model's processor does to pictures, clips and text. A family's rules are one file in tilings/ and
// one line in tilings/registry.cpp. Everything up to normalisation is 8-bit and equal to the Pillow path of the Hugging
// Face processors bit for bit; then pixel_value = (float32(value * rescale_factor) - mean) / std, as in preprocess.h.
//
//   const MediaProcessor processor = read_media_processor(folder);
//   const MediaItem cat = processor.image(read_image("cat.png").rgb_HW3);
//   const std::string text = processor.expand_text("<image>What is this?", {cat.plan});
//   const auto tensors = processor.tensors({cat});   // pixel_values, image_grid_thw, ... under the processor's names
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/vision/frame_sampling.h"
#include "ropescope/vision/media_plan.h"
#include "ropescope/vision/resize.h"

namespace ropescope {

/// The strings that a family's processor looks for and writes.
struct MediaTokens {
  std::string image;         ///< what stands for a picture in a prompt
  std::string video;         ///< for a clip; empty: the family has none
  std::string placeholder;   ///< what is written once a token of a picture
  std::string start, end;    ///< around a picture (internvl, gemma3) or a group of frames (qwen3, glm4v)
  std::string fake, global;  ///< idefics
  /// What a family's chat template writes around the mark of a picture and of a clip, where it writes anything.
  std::string image_start = {}, image_end = {}, video_start = {}, video_end = {};
};

/// All settings; a family reads those of its kind.
struct MediaSettings {
  std::string family;  ///< the model_type: "qwen2_5_vl", "internvl", ...
  std::string source;  ///< the preset, or the file that the settings come from
  MediaTokens words;

  ResampleFilter filter = ResampleFilter::kBicubic;
  double rescale_factor = 1.0 / 255.0;
  std::array<double, 3> mean{}, std{};  ///< red, green, blue, after rescaling

  int64_t patch = 14;          ///< of the tower, pixels
  int64_t merge = 2;           ///< patches that make one token, along each side
  int64_t temporal_patch = 2;  ///< frames of one patch

  // Native resolution.
  int64_t min_pixels = 0, max_pixels = 0;              ///< areas; with `volume_images` times the frames
  int64_t video_min_pixels = 0, video_max_pixels = 0;  ///< of a frame (Qwen2, Qwen2.5) or of the whole clip
  bool cap_pixels_per_frame = false;
  FrameSampling sampling;

  // Tiles of tile x tile pixels, each tile_tokens x tile_tokens tokens.
  int64_t tile = 0, tile_tokens = 0;
  bool split = true;                              ///< whether pictures are tiled at all
  int64_t min_tiles = 1, max_tiles = 12;          ///< internvl
  int64_t longest_edge = 0;                       ///< idefics3, smolvlm: pixels
  std::vector<std::array<int64_t, 2>> pinpoints;  ///< llava_onevision: (height, width), pixels
  int64_t most_map_tiles = 9;                     ///< llava_onevision: a larger map of features is shrunk
  int64_t min_crop = 256, max_crops = 4;          ///< gemma3: pan and scan
  double min_crop_ratio = 1.2;
  int64_t shortest_edge = 0;   ///< llava: pixels; the crop is `tile`
  bool pad_to_square = false;  ///< llava
};

/// One picture or clip, ready for a tower.
struct MediaItem {
  MediaPlan plan;
  at::Tensor
      pixels_u8;  ///< before rescaling: uint8 [patches, 3 * temporal_patch * patch^2], or [tiles, 3, S, S]
  at::Tensor pixel_values;  ///< the same, normalised, float32
};

/// How several pictures of a prompt are given. Only llava_onevision asks: two or more in a nested list, which is what
/// applying a chat template passes, are not tiled but padded to squares.
enum class PictureList { kFlat, kNested };

/// A clip's frames as its plan sees them.
struct ClipShape {
  int64_t width = 0, height = 0;  ///< pixels
  SampledFrames frames;
};

struct Tiling;

class MediaProcessor {
 public:
  /// Throws InputError naming the first setting that cannot be.
  explicit MediaProcessor(MediaSettings settings);

  const MediaSettings& settings() const { return settings_; }
  const std::string& family() const { return settings_.family; }
  bool takes_video() const { return !settings_.words.video.empty(); }

  /// Throws InputError if the reference refuses the size (aspect above 200) or it is not in 1..2^24. `one_of_several`:
  /// one of two or more pictures in a nested list.
  MediaPlan plan_image(int64_t width, int64_t height, bool one_of_several = false) const;
  /// Throws InputError likewise; UnsupportedModel for families whose clips are not supported.
  MediaPlan plan_video(const ClipShape& clip) const;

  /// Plans from what a processor's tensors say, without the picture, whose size then counts as that after resizing. Texts
  /// between the runs are those of a prompt, without timestamps. A line of image_grid_thw or video_grid_thw (Qwen, GLM):
  MediaPlan plan_grid(MediaKind kind, const std::array<int64_t, 3>& grid_thw,
                      double second_per_grid = 0.0) const;
  /// Rows and columns of tiles beside a thumbnail (InternVL, Idefics3, SmolVLM) or crops (Gemma 3); 0, 0: one tile.
  MediaPlan plan_tiles(int64_t rows, int64_t columns) const;

  /// `image_HW3`: uint8 [H, W, 3].
  MediaItem image(const at::Tensor& image_HW3, bool one_of_several = false) const;
  std::vector<MediaItem> images(const std::vector<at::Tensor>& images_HW3, PictureList list) const;
  /// `frames_HW3`: those of `frames.indices`, all of one size.
  MediaItem video(const std::vector<at::Tensor>& frames_HW3, const SampledFrames& frames) const;

  /// MediaItem::pixel_values of its pixels_u8: float32, the same shape.
  at::Tensor normalised(const at::Tensor& pixels_u8) const;

  /// The text with each marker replaced as the family's processor does; `plans` are in the order of the markers of their
  /// kind. Throws InputError if the numbers of markers and plans differ.
  std::string expand_text(const std::string& text, const std::vector<MediaPlan>& plans) const;

  /// The tensors that the processor hands to the model, under its own names: pixel_values, pixel_values_videos,
  /// image_grid_thw, video_grid_thw, second_per_grid_ts, image_sizes, batch_num_images, pixel_attention_mask.
  std::map<std::string, at::Tensor> tensors(const std::vector<MediaItem>& items) const;

  /// The object that `ropescope preprocess --json` prints.
  Json report(const MediaPlan& plan) const;

 private:
  MediaItem finish(MediaPlan plan, at::Tensor pixels_u8) const;

  MediaSettings settings_;
  const Tiling* tiling_;
};

/// "qwen2-vl", "qwen2.5-vl", "qwen3-vl", "glm4v", "llava-onevision", "internvl", "idefics3", "smolvlm", "gemma3" (with pan
/// and scan), "llava": the settings of the public models. Throws UsageError naming the nearest.
MediaSettings media_preset(const std::string& name);
std::vector<std::string> media_preset_names();

/// From a model folder: processor_config.json, or preprocessor_config.json (and video_preprocessor_config.json) in the older
/// form; config.json says the family and what is missing, tokenizer_config.json the words. Absent keys mean what the
/// classes of transformers 5.24 assume. Throws InputError for what is malformed, UnsupportedModel for other families.
MediaSettings read_media_settings(const std::filesystem::path& folder);
MediaProcessor read_media_processor(const std::filesystem::path& folder);

/// Whether a config.json is of a family that has a MediaProcessor.
bool has_media_processor(const Json& config);

}  // namespace ropescope
