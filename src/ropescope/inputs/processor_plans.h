// From the tensors that a processor hands to a model, under its own names, to what stands where in a prompt: no pixels are
// decoded, and of most families none are looked at.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/vlm_config.h"
#include "ropescope/inputs/picture_reader.h"
#include "ropescope/inputs/tiled_pictures.h"
#include "ropescope/text/tokenizer.h"

namespace ropescope {

/// A line of image_grid_thw or video_grid_thw. Something stands between the groups of frames that have blocks of their own,
/// whatever it is.
MediaPlan plan_of_grid(const MediaProcessor& processor, MediaKind kind,
                       const std::array<int64_t, 3>& grid_thw, double second_per_grid);

/// A picture whose tiles [tiles, 3, S, S] came alone, and whether nothing says where they lie on it.
std::pair<MediaPlan, bool> plan_of_tiles(const TokenPicture& picture, const at::Tensor& pixels,
                                         const MediaProcessor& processor);

/// Which of so many pictures came in a list of two or more; `batch_num_images` int64 [lists], or undefined: none.
std::vector<bool> given_beside_others(int64_t pictures, const at::Tensor& batch_num_images);

/// Throws InputError about `name` where a number is no time from one group of a clip's frames to the next.
void check_seconds(const std::vector<double>& seconds, const std::string& name);

/// Whether any id stands for a picture or a clip.
bool has_placeholders(const at::Tensor& input_ids, const MediaMarks& marks);

/// The plans of a prompt's pictures and clips.
struct ProcessorPlans {
  std::vector<MediaPlan> plans;  ///< pictures, then clips
  bool unplaced = false;         ///< of some picture nothing says where its tiles lie
};

/// `tensors`: image_grid_thw and video_grid_thw int64 [n, 3], second_per_grid_ts [clips] (Qwen, GLM); image_sizes int64
/// [n, 2] height and width, batch_num_images (LLaVA-NeXT, OneVision); pixel_values [tiles, 3, S, S] float (tiles alone:
/// InternVL, Idefics3, Gemma 3), where input_ids leave several grids. `tokenizer`: of families that give tiles alone. Warns
/// of clips without seconds where ids count them. Throws InputError for tensors that do not fit together or are missing.
ProcessorPlans plans_of_tensors(const PictureReader& reader, const VlmConfig& config,
                                const Tokenizer* tokenizer, const std::map<std::string, at::Tensor>& tensors,
                                const at::Tensor& input_ids);

}  // namespace ropescope
