// What a family of tilings has to say: one file with one Tiling, one line in registry.cpp. Internal to vision/.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/vision/media_processor.h"

namespace ropescope {

/// The files of a model folder. `what` names the folder in errors.
struct ProcessorFiles {
  Json config, image;
  Json video;  ///< null where there is none
  Json
      processor;  ///< keys beside the image processor's: image_seq_length, patch_size, ...; empty where there is none
  Json tokenizer;  ///< likewise
  std::string what;
};

/// How the pictures of a prompt lie in pixel_values.
enum class Packing {
  kPatches,   ///< [patches of all pictures, numbers of a patch], and the grids; clips apart
  kSquares,   ///< [squares of all pictures, 3, S, S]
  kSequence,  ///< [1, squares of all pictures, 3, S, S], and a mask of ones
  kPadded,    ///< [pictures, most squares of one, 3, S, S], zeros after a picture's own, and the sizes
};

struct Tiling {
  std::vector<std::string> families;  ///< model_type
  std::vector<std::string> presets;
  MediaSettings (*preset)(const std::string& name);
  /// The defaults of the family's classes. `family` is one of `families`.
  MediaSettings (*defaults)(const std::string& family);
  /// What the files say, over `settings`; size, filter, mean and std have been read.
  void (*read)(const ProcessorFiles& files, MediaSettings& settings);
  /// Throws InputError for settings that cannot be.
  void (*check)(const MediaSettings& settings);
  MediaPlan (*plan_image)(int64_t width, int64_t height, bool one_of_several, const MediaSettings& settings);
  /// Null: no clips.
  MediaPlan (*plan_video)(const ClipShape& clip, const MediaSettings& settings);
  /// From a grid of patches alone; null: there is none.
  MediaPlan (*plan_grid)(MediaKind kind, const std::array<int64_t, 3>& grid_thw,
                         const MediaSettings& settings);
  /// From rows and columns of tiles alone; null: they do not say everything.
  MediaPlan (*plan_tiles)(int64_t rows, int64_t columns, const MediaSettings& settings);
  /// uint8 [tiles, 3, S, S], or patches. One frame: a picture.
  at::Tensor (*cut)(const std::vector<at::Tensor>& frames_HW3, const MediaPlan& plan,
                    const MediaSettings& settings);
  /// What `preprocess --json` prints beside size_wh and tokens.
  void (*report)(const MediaPlan& plan, const MediaSettings& settings, Json& out);
  Packing packing;
};

const std::vector<Tiling>& tilings();

namespace tiling_parts {

inline constexpr std::array<double, 3> kClipMeans = {0.48145466, 0.4578275, 0.40821073};
inline constexpr std::array<double, 3> kClipStds = {0.26862954, 0.26130258, 0.27577711};
inline constexpr std::array<double, 3> kImagenetMeans = {0.485, 0.456, 0.406};
inline constexpr std::array<double, 3> kImagenetStds = {0.229, 0.224, 0.225};
inline constexpr std::array<double, 3> kHalf = {0.5, 0.5, 0.5};

/// Python's int(a / b) of positive numbers: cut off, the division in double.
inline int64_t truncated(double value) { return static_cast<int64_t>(value); }
/// a / b, rounded up.
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Throws InputError unless lowest <= value <= highest.
void check_setting(const MediaSettings& settings, const char* name, int64_t value, int64_t lowest,
                   int64_t highest);

/// uint8 [1, 3, H, W] of [H, W, 3].
at::Tensor planes(const at::Tensor& image_HW3);
/// The picture squeezed to side x side: [1, 3, side, side].
at::Tensor squeezed(const at::Tensor& image_HW3, int64_t side, ResampleFilter filter);
/// Cut row by row into whole tiles: [rows * columns, 3, tile, tile].
at::Tensor cut_square_tiles(const at::Tensor& image_HW3, int64_t tile);
/// In the middle of a square of the mean colour, int(255 * mean).
at::Tensor padded_to_square(const at::Tensor& image_HW3, const std::array<double, 3>& mean);

/// Cells of a grid over the whole of a picture.
CellMap whole_cells(const std::array<int64_t, 2>& size_wh, int64_t rows, int64_t columns);

/// A run of rows x columns tokens.
MediaRun grid_run(MediaRun::Role role, int64_t rows, int64_t columns);

/// {"height": n, "width": n} or n, of which both must be equal, or {"longest_edge": n} / {"shortest_edge": n} where
/// `edge` names it; 0 if there is none.
int64_t square_size(const Json& files, const char* key, const std::string& what);
int64_t edge_of(const Json& files, const char* key, const char* edge, const std::string& what);
/// A token's text: a string, or the `content` of an object; `fallback` where the tokenizer's files say nothing.
std::string token_text(const ProcessorFiles& files, const char* key, const std::string& fallback);
/// A number, or the first of a list of equal ones (InternVL's [14, 14]).
int64_t side_or(const Json& object, const char* key, int64_t fallback, const std::string& what);

}  // namespace tiling_parts

}  // namespace ropescope
