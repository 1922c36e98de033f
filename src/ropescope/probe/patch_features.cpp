#include "ropescope/probe/patch_features.h"

#include <algorithm>
#include <array>

#include <boost/random/normal_distribution.hpp>

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/vision/resize.h"

namespace ropescope {

namespace {

constexpr int64_t kPatchValues = 3 * kPatchSide * kPatchSide;
/// CLIP's image mean and standard deviation, red green blue.
constexpr std::array<float, 3> kMean = {0.48145466F, 0.4578275F, 0.40821073F};
constexpr std::array<float, 3> kStd = {0.26862954F, 0.26130258F, 0.27577711F};

/// What random numbers are for: keys of their streams.
enum class Stream : uint64_t { kProjection, kNewline, kNoise };

at::Tensor normal(const std::vector<int64_t>& shape, Rng rng) {
  boost::random::normal_distribution<double> distribution;
  at::Tensor values = at::empty(shape, at::kFloat);
  auto* out = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(distribution(rng));
  return values;
}

at::Tensor scaled_rows(const at::Tensor& rows, double norm) {
  const at::Tensor norms = at::linalg_vector_norm(rows, 2, at::IntArrayRef({1}), /*keepdim=*/true);
  return rows / norms.clamp_min(1e-6) * norm;
}

/// [h w, kPatchValues]: patches of a grid over the whole picture.
at::Tensor patches(const at::Tensor& rgb_HW3, int64_t h, int64_t w) {
  const at::Tensor small = resize_image(rgb_HW3, w * kPatchSide, h * kPatchSide).to(at::kFloat) / 255.0;
  const at::Tensor pixels =
      (small - at::tensor({kMean[0], kMean[1], kMean[2]})) / at::tensor({kStd[0], kStd[1], kStd[2]});
  return pixels.view({h, kPatchSide, w, kPatchSide, 3})
      .permute({0, 2, 1, 3, 4})
      .reshape({h * w, kPatchValues});
}

class Features {
 public:
  Features(int64_t hidden_size, double norm, uint64_t seed)
      : norm_(norm),
        seed_(seed),
        projection_(normal({kPatchValues, hidden_size}, stream(Stream::kProjection))),
        newline_(scaled_rows(normal({1, hidden_size}, stream(Stream::kNewline)), norm)) {}

  /// [h w, C]. `grid` tells grids of noise apart.
  at::Tensor of_grid(const AttendedPicture* picture, int64_t h, int64_t w, uint64_t grid) const {
    const bool real = picture != nullptr && picture->rgb_HW3.defined();
    const at::Tensor values =
        real ? patches(picture->rgb_HW3, h, w) : normal({h * w, kPatchValues}, stream(Stream::kNoise, grid));
    return scaled_rows(at::matmul(values, projection_), norm_);
  }
  const at::Tensor& newline() const { return newline_; }

 private:
  Rng stream(Stream what, uint64_t more = 0) const {
    return make_rng(seed_, {static_cast<uint64_t>(what), more});
  }

  double norm_;
  uint64_t seed_;
  at::Tensor projection_, newline_;
};

}  // namespace

at::Tensor patch_embeddings(const AttentionInput& input, const at::Tensor& embed_tokens, uint64_t seed) {
  const at::Tensor table = embed_tokens.detach().to(at::kCPU, at::kFloat);
  const double norm = at::linalg_vector_norm(table, 2, at::IntArrayRef({1})).mean().item<double>();
  const Features features(table.size(1), norm, seed);
  const at::Tensor embeds = at::empty({input.tokens(), table.size(1)}, at::kFloat);
  int64_t at = 0;
  uint64_t grid = 0;
  size_t block = 0;
  const auto put = [&](const at::Tensor& rows) {
    embeds.narrow(0, at, rows.size(0)).copy_(rows);
    at += rows.size(0);
  };
  for (const Segment& segment : input.layout.segments) {
    if (segment.tokens() == 0) continue;
    if (segment.kind == Segment::Kind::kText) {
      put(at::embedding(table, input.input_ids[0].narrow(0, at, segment.text).to(at::kCPU)));
      continue;
    }
    const size_t last = input.pictures.empty() ? 0 : input.pictures.size() - 1;
    const AttendedPicture* picture =
        input.pictures.empty() ? nullptr : &input.pictures[std::min(block, last)];
    ++block;
    if (!segment.pieces.empty()) {
      const at::Tensor whole = features.of_grid(picture, segment.grid.h, segment.grid.w, grid++);
      const at::Tensor high = features.of_grid(picture, segment.high_h, segment.high_w, grid++)
                                  .view({segment.high_h, segment.high_w, -1});
      for (const Piece& piece : segment.pieces) {
        if (piece.role == Piece::Role::kThumbnail) {
          put(whole);
        } else if (piece.role == Piece::Role::kTile) {
          put(high.narrow(0, piece.row, piece.h).narrow(1, piece.column, piece.w).flatten(0, 1));
        } else {
          const at::Tensor ids = input.input_ids[0].narrow(0, at, piece.tokens).to(at::kCPU);
          const bool named = ids.ge(0).all().item<bool>() && ids.lt(table.size(0)).all().item<bool>();
          put(named ? at::embedding(table, ids) : features.newline().expand({piece.tokens, -1}));
        }
      }
      continue;
    }
    for (int64_t frame = 0; frame < segment.grid.t; ++frame) {
      put(features.of_grid(picture, segment.grid.h, segment.grid.w, grid));
      ++grid;
    }
    if (segment.single_tile) {
      for (int64_t i = 0; i < segment.newline_tokens(); ++i) put(features.newline());
      continue;
    }
    const int64_t rows = segment.kind == Segment::Kind::kAnyres ? segment.high_h : 0;
    at::Tensor high;
    if (rows > 0 && segment.high_w > 0) high = features.of_grid(picture, rows, segment.high_w, grid++);
    for (int64_t row = 0; row < rows; ++row) {
      if (high.defined()) put(high.narrow(0, row * segment.high_w, segment.high_w));
      if (segment.newline) put(features.newline());
    }
  }
  return embeds.unsqueeze(0);
}

}  // namespace ropescope
