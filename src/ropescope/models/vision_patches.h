// Pictures of any size as rows of patches: their order, where each patch lies, and which of them see each other.
//   picture t x h x w   t frame pairs (1 for a still picture), h x w patches
//   order               frame pair, then blocks of m x m patches row by row, inside a block its patches row by row
// With windows the tower works in another order: frame pair, window, block, patch. Windows have k x k blocks, from the
// upper left; those at the right and bottom edge are smaller. (Qwen2.5-VL, arXiv 2502.13923)
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/vision_config.h"
#include "ropescope/rope/rotation.h"

namespace ropescope {

/// t, h, w: frame pairs, and patches of a frame down and across.
using PatchGrid = std::array<int64_t, 3>;

/// Of all pictures. Throws InputError for a grid that is empty, no multiple of the merge size, or beyond any memory.
int64_t count_patches(const std::vector<PatchGrid>& grids, int64_t merge_size);

/// Stretches of patches, one after the other, that see only each other. Those of equal length are attended to together.
class PatchSegments {
 public:
  PatchSegments(std::vector<int64_t> lengths, at::Device device);

  /// q, k, v [1, H, P, D] -> [1, P, H*D]. Memory grows with P, by the fused kernel.
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const;

  const std::vector<int64_t>& lengths() const { return lengths_; }

 private:
  struct Group {
    int64_t length = 0, count = 0;
    at::Tensor patches;  // int64 [count * length]; undefined: all, in order
  };
  std::vector<int64_t> lengths_;
  std::vector<Group> groups_;
  at::Tensor
      restore_;  // from the groups' results side by side to the order of patches; undefined: as they are
};

/// What a pass over patches needs besides weights: made once for all layers.
struct PatchPlan {
  int64_t patches = 0;
  at::Tensor
      order;  ///< int64 [P]: which patch of the input comes at each place of the tower's order; undefined: the same
  at::Tensor restore;     ///< its inverse
  PatchSegments frames;   ///< each frame pair of each picture
  PatchSegments windows;  ///< equal to `frames` without windows
  RotaryTable rotary;     ///< in the tower's order; does not turn without a rotation
};

/// Throws InputError as count_patches does.
PatchPlan plan_patches(const VisionConfig& config, const std::vector<PatchGrid>& grids, at::Device device);

/// A learned table [side^2, C] stretched over every grid: [P, C] in the input's order, of the table's type. Differentiable.
///   kBilinear  row r of h reads r (side - 1) / (h - 1); h = 1 reads row 0
///   kBicubic   row r of h reads (r + 1/2) side / h - 1/2, rows beyond the edge read the edge
at::Tensor stretched_positions(const VisionConfig& config, const at::Tensor& table,
                               const std::vector<PatchGrid>& grids);

}  // namespace ropescope
