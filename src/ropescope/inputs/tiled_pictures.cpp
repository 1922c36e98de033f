#include "ropescope/inputs/tiled_pictures.h"

#include <algorithm>
#include <cstdio>
#include <limits>

#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/cat.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

namespace ropescope {

namespace {

using Grid2 = std::array<int64_t, 2>;

struct Run {
  int64_t first = 0, tokens = 0;
};

std::vector<Run> placeholder_runs(const int64_t* ids, int64_t count, const MediaMarks& marks) {
  std::vector<Run> runs;
  for (int64_t i = 0; i < count; ++i) {
    if (!marks.holds(ids[i])) continue;
    if (runs.empty() || runs.back().first + runs.back().tokens != i) runs.push_back({i, 0});
    ++runs.back().tokens;
  }
  return runs;
}

/// Whether so many tiles can lie in that grid beside a whole picture.
std::vector<Grid2> grids_of(int64_t tiles) {
  std::vector<Grid2> grids;
  for (int64_t rows = 1; rows <= tiles; ++rows) {
    if (tiles % rows == 0) grids.push_back({rows, tiles / rows});
  }
  return grids;
}

/// "<row_2_col_3>" -> {2, 3}.
std::optional<Grid2> tile_tag(const std::string& token) {
  int row = 0, column = 0;
  char end = 0;
  if (std::sscanf(token.c_str(), "<row_%d_col_%d%c", &row, &column, &end) != 3 || end != '>')
    return std::nullopt;
  return row > 0 && column > 0 ? std::optional(Grid2{row, column}) : std::nullopt;
}

/// Runs of a family that writes each tile's place before it. The whole picture closes its tiles.
std::vector<TokenPicture> tagged_pictures(const std::vector<Run>& runs, const int64_t* ids,
                                          const Tokenizer& tokenizer) {
  std::vector<TokenPicture> pictures;
  Grid2 most{0, 0};
  int64_t tiles = 0;
  for (const Run& run : runs) {
    const auto tag = run.first > 0 ? tile_tag(tokenizer.token(ids[run.first - 1])) : std::nullopt;
    ++tiles;
    if (tag) {
      most = {std::max(most[0], (*tag)[0]), std::max(most[1], (*tag)[1])};
      continue;
    }
    if (most[0] * most[1] != tiles - 1) {
      throw InputError(
          "input_ids: expected the {} tiles of a picture of {}x{} before the whole of it, found {}",
          most[0] * most[1], most[0], most[1], tiles - 1);
    }
    pictures.push_back({tiles, false, {most}});
    most = {0, 0};
    tiles = 0;
  }
  if (tiles > 0)
    throw InputError("input_ids: expected the whole of a picture behind its tiles, found the end");
  return pictures;
}

/// Runs of a family that puts words between a picture and its crops (Gemma's pan and scan).
std::vector<TokenPicture> cropped_pictures(const std::vector<Run>& runs, const int64_t* ids,
                                           const Tokenizer& tokenizer) {
  std::vector<TokenPicture> pictures;
  for (size_t r = 0; r < runs.size(); ++r) {
    std::string words;
    if (r > 0) {
      const int64_t from = runs[r - 1].first + runs[r - 1].tokens;
      words = tokenizer.decode(std::vector<int64_t>(ids + from, ids + runs[r].first), /*skip_special=*/true);
    }
    const bool blank = std::all_of(words.begin(), words.end(), [](char c) { return c == ' ' || c == '\n'; });
    const bool begins_crops = words.find("here are some crops") != std::string::npos;
    const bool crop = r > 0 && (begins_crops || (blank && pictures.back().tiles > 1));
    if (crop) {
      ++pictures.back().tiles;
    } else {
      pictures.push_back({1, true, {}});
    }
  }
  for (TokenPicture& picture : pictures) {
    const int64_t crops = picture.tiles - 1;
    picture.grids = crops == 0 ? std::vector<Grid2>{{0, 0}} : std::vector<Grid2>{{1, crops}, {crops, 1}};
    if (crops == 1) picture.grids.pop_back();
  }
  return pictures;
}

/// How far tiles side by side are from the whole picture, both made as small as `cells` a side.
double distance(const at::Tensor& tiles, const at::Tensor& whole, const Grid2& grid, int64_t cells) {
  const auto [rows, columns] = grid;
  const int64_t height = tiles.size(2), width = tiles.size(3);
  const at::Tensor mosaic = tiles.view({rows, columns, 3, height, width})
                                .permute({2, 0, 3, 1, 4})
                                .reshape({1, 3, rows * height, columns * width});
  const at::Tensor small = at::adaptive_avg_pool2d(mosaic, {cells, cells});
  return small.sub(at::adaptive_avg_pool2d(whole.unsqueeze(0), {cells, cells}))
      .square()
      .mean()
      .item<double>();
}

}  // namespace

std::vector<TokenPicture> tiled_pictures(const at::Tensor& input_ids, const MediaMarks& marks,
                                         const MediaProcessor& processor, const Tokenizer& tokenizer) {
  const MediaSettings& settings = processor.settings();
  const at::Tensor ids = input_ids.to(at::kLong).contiguous();
  const auto* id = ids.const_data_ptr<int64_t>();
  const int64_t each = settings.tile_tokens * settings.tile_tokens;
  // (rows of a batch are one after the other)
  const std::vector<Run> runs = placeholder_runs(id, ids.numel(), marks);
  for (const Run& run : runs) {
    if (run.tokens % each != 0) {
      throw InputError(
          "input_ids: expected runs of placeholder tokens in multiples of {}, a tile's, found one of {}",
          each, run.tokens);
    }
  }
  const bool one_tile_runs =
      std::all_of(runs.begin(), runs.end(), [each](const Run& run) { return run.tokens == each; });
  if (!settings.words.global.empty() && one_tile_runs) return tagged_pictures(runs, id, tokenizer);
  if (settings.family == "gemma3" && one_tile_runs) return cropped_pictures(runs, id, tokenizer);
  std::vector<TokenPicture> pictures;
  for (const Run& run : runs) {
    TokenPicture picture;
    picture.tiles = run.tokens / each;
    picture.grids = picture.tiles == 1 ? std::vector<Grid2>{{0, 0}} : grids_of(picture.tiles - 1);
    pictures.push_back(std::move(picture));
  }
  return pictures;
}

std::optional<Grid2> placed_tiles(const TokenPicture& picture, const at::Tensor& pixels) {
  if (picture.grids.size() == 1) return picture.grids.front();
  constexpr double kClearly = 2;  // the next best is so many times as far
  const int64_t last = picture.tiles - 1;
  const at::Tensor whole = pixels[picture.whole_first ? 0 : last];
  const at::Tensor tiles = pixels.narrow(0, picture.whole_first ? 1 : 0, last).contiguous();
  const int64_t cells = std::min<int64_t>(16, std::min(pixels.size(2), pixels.size(3)));
  double best = std::numeric_limits<double>::infinity(), next = best;
  Grid2 chosen{};
  for (const Grid2& grid : picture.grids) {
    const double far = distance(tiles, whole, grid, cells);
    if (far < best) {
      next = best;
      best = far;
      chosen = grid;
    } else {
      next = std::min(next, far);
    }
  }
  if (!(next > kClearly * best)) return std::nullopt;
  log_info("a picture of {} tiles: {} rows of {}, as they resemble the whole picture", last, chosen[0],
           chosen[1]);
  return chosen;
}

MediaPlan side_by_side(int64_t tiles, const MediaSettings& settings) {
  MediaPlan plan;
  plan.tiles = tiles;
  MediaRun run;
  run.h = run.w = settings.tile_tokens;
  run.tokens = run.h * run.w;
  plan.runs.assign(static_cast<size_t>(tiles), run);
  plan.size_wh = {settings.tile, settings.tile};
  const double cell = static_cast<double>(settings.tile) / static_cast<double>(settings.tile_tokens);
  plan.cells = {0, 0, cell, cell};
  return plan;
}

}  // namespace ropescope
