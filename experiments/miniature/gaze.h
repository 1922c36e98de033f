// Where high-resolution tokens look once a run is over: at the thumbnail token that shows the same as they do, or at the one whose ids
// they have? The two are one under ID-Align; with ids that are wrong on purpose (id-align's wrong=) they tell content from place.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/core/json.h"

#include "world.h"

namespace ropescope {
struct Llava;
}

namespace ropescope::miniature {

struct Album;
struct Compression;
struct RoomSettings;

/// Over the tokens that lie in one cell of the thumbnail: means over tokens, heads and pictures of their attention (softmax over all
/// keys), for each layer. A token is *misplaced* where thumbnail tokens have its ids on every row and none of them shows its cell.
struct Gaze {
  int64_t tokens = 0;                 ///< that looked
  int64_t misplaced = 0;              ///< of them
  std::vector<double> thumbnail;      ///< [layers] on all thumbnail tokens
  std::vector<double> own;            ///< [layers] on those of their own cell
  std::vector<double> misplaced_own;  ///< [layers] the same, of misplaced ones; NaN where there are none
  std::vector<double>
      misplaced_ids;  ///< [layers] of misplaced ones, on the thumbnail tokens whose ids they have
  int64_t cells = 0;
  std::vector<double> map;  ///< [cells, cells]: of the tokens of a cell, on each cell; mean over the layers
  std::vector<double> placed;  ///< [cells, cells]: share of a cell's tokens that have the ids of each cell
};

/// `pictures`: at most so many of the album's, spread over its shapes; 0: all. One pass of the library for some of them at a time, with
/// rows of attention. Throws UsageError where the thumbnail comes last or tokens are compressed.
Gaze measure_gaze(const Llava& llava, const RoomSettings& settings, const Album& album, int64_t pictures);

/// Throws UsageError where measure_gaze would.
void check_gaze(const World& world, const Compression& compression);

Json to_json(const Gaze& gaze);
/// Throws InputError naming `what`.
Gaze gaze_from(const Json& json, const std::string& what);

}  // namespace ropescope::miniature
