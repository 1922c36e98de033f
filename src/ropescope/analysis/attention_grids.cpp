#include "ropescope/analysis/attention_grids.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "ropescope/analysis/figure_data.h"
#include "ropescope/core/errors.h"
#include "ropescope/rope/layout.h"

namespace ropescope {

namespace {

constexpr char kFirstInput[] = "/attention/inputs/0";

std::vector<int64_t> column_of(const ResultReader& result, const std::string& name) {
  const at::Tensor values = read_axes(result, std::string(kFirstInput) + "/" + name, 1).to(at::kLong);
  const auto* data = values.const_data_ptr<int64_t>();
  return {data, data + values.numel()};
}

/// What stands in the file about each token.
struct Tokens {
  std::vector<int64_t> modality, raster, row, column, block;
};

Tokens read_tokens(const ResultReader& result) {
  Tokens tokens{column_of(result, "modality"), column_of(result, "raster"), column_of(result, "row"),
                column_of(result, "column"), column_of(result, "block")};
  for (const auto* values : {&tokens.raster, &tokens.row, &tokens.column, &tokens.block}) {
    if (values->size() == tokens.modality.size()) continue;
    throw InputError("{}: {}: expected {} tokens", result.path().string(), kFirstInput,
                     tokens.modality.size());
  }
  return tokens;
}

AttentionGrid grid_of(const ResultReader& result, const Tokens& tokens, const std::vector<size_t>& members) {
  AttentionGrid grid;
  for (const size_t i : members) {
    grid.rows = std::max(grid.rows, tokens.row[i] + 1);
    grid.columns = std::max(grid.columns, tokens.column[i] + 1);
  }
  if (grid.columns > kMostCells / grid.rows) {
    throw InputError("{}: {}: expected a grid, found {} x {} cells", result.path().string(), kFirstInput,
                     grid.rows, grid.columns);
  }
  grid.token.assign(static_cast<size_t>(grid.rows * grid.columns), -1);
  for (const size_t i : members) {
    grid.token[static_cast<size_t>(tokens.row[i] * grid.columns + tokens.column[i])] =
        static_cast<int64_t>(i);
  }
  return grid;
}

}  // namespace

std::vector<AttentionGrid> attention_grids(const ResultReader& result, int64_t most_frames) {
  const Tokens tokens = read_tokens(result);
  // Members of each grid, by what they show and their raster.
  std::map<std::pair<Modality, int64_t>, std::vector<size_t>> members;
  for (size_t i = 0; i < tokens.modality.size(); ++i) {
    const auto modality = static_cast<Modality>(tokens.modality[i]);
    const bool picture =
        (modality == Modality::kImage || modality == Modality::kHighRes) && tokens.block[i] == 0;
    if (!picture && modality != Modality::kVideo) continue;
    if (tokens.row[i] < 0 || tokens.column[i] < 0 || tokens.row[i] >= kMostCells ||
        tokens.column[i] >= kMostCells) {
      continue;
    }
    members[{modality, tokens.raster[i]}].push_back(i);
  }
  std::vector<AttentionGrid> grids;
  for (const Modality modality : {Modality::kImage, Modality::kHighRes}) {
    const auto first = members.lower_bound({modality, INT64_MIN});
    if (first == members.end() || first->first.first != modality) continue;
    grids.push_back(grid_of(result, tokens, first->second));
    grids.back().label = modality == Modality::kImage ? "thumbnail" : "high resolution";
    grids.back().high = modality == Modality::kHighRes;
  }
  if (!grids.empty()) return grids;
  std::vector<const std::vector<size_t>*> frames;
  for (const auto& [key, own] : members) frames.push_back(&own);
  int64_t last_block = -1;
  std::vector<int64_t> pictures;
  for (const auto* own : frames) {
    const int64_t block = tokens.block[own->front()];
    pictures.push_back(block == last_block ? -1 : block);
    last_block = block;
  }
  for (const int64_t frame : spread_indices(static_cast<int64_t>(frames.size()), most_frames)) {
    grids.push_back(grid_of(result, tokens, *frames[static_cast<size_t>(frame)]));
    grids.back().label = fmt::format("frame {}", frame);
    grids.back().picture = pictures[static_cast<size_t>(frame)];
  }
  return grids;
}

}  // namespace ropescope
