#include "ropescope/rope/criteria.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "ropescope/core/errors.h"
#include "ropescope/rope/affine_fit.h"
#include "ropescope/rope/collisions.h"
#include "ropescope/rope/tiled_block.h"
#include "ropescope/rope/visual_runs.h"

namespace ropescope {

namespace {

constexpr int64_t kBins = 8;
constexpr double kAffineTolerance = 1e-4;  // above the float32 sums of the public code

/// Per channel and row, whether the row turns the channel: [kv heads or 1, channels, rows] bool.
at::Tensor turning(const Frequencies& frequencies, int64_t rows) {
  return frequencies.row_weights(rows).ne(0);
}

UsedAxes used_axes(const at::Tensor& turns) {
  UsedAxes used;
  for (int64_t axis = 0; axis < turns.size(2); ++axis) {
    if (turns.select(2, axis).any().item<bool>()) used.all.push_back(static_cast<size_t>(axis));
  }
  used.t = !used.all.empty() && used.all.front() == 0;
  return used;
}

void count_overlaps(const std::vector<VisualRun>& runs, const RowPointers& rows, const uint8_t* modality,
                    const UsedAxes& used, Criteria& criteria) {
  for (const VisualRun& run : runs) {
    for (int64_t token = run.first; token < run.end(); ++token) {
      if (modality[token] == 0) continue;
      const auto reaches = [&](size_t axis) { return rows[axis][token] >= run.next; };
      criteria.at_or_after_following_text += std::any_of(used.all.begin(), used.all.end(), reaches);
      criteria.at_or_before_preceding_text += used.t && run.before && rows[0][token] <= *run.before;
    }
  }
}

// Keeps the raster whose rank falls shortest of what it needs.
void keep_worst(const AffineFit& fit, const Grid& grid, Criteria& criteria) {
  const int64_t needed = (grid.t > 1) + (grid.h > 1) + (grid.w > 1);
  criteria.affine_residual = std::max(criteria.affine_residual, fit.residual);
  const int64_t lacking = needed - fit.rank, worst = criteria.affine_rank_needed - criteria.affine_rank;
  if (lacking > worst || (lacking == worst && needed > criteria.affine_rank_needed)) {
    criteria.affine_rank = fit.rank;
    criteria.affine_rank_needed = needed;
  }
}

/// The grid that a block's tokens can span; of a merged picture only as far as its first members reach.
Grid shown_grid(const Segment& segment) {
  if (segment.kind != Segment::Kind::kMerged) return segment.grid;
  std::set<int64_t> frames, rows, columns;
  for (const std::vector<int64_t>& members : segment.members) {
    const int64_t frame = segment.grid.h * segment.grid.w, cell = members.front() % frame;
    frames.insert(members.front() / frame);
    rows.insert(cell / segment.grid.w);
    columns.insert(cell % segment.grid.w);
  }
  return {static_cast<int64_t>(frames.size()), static_cast<int64_t>(rows.size()),
          static_cast<int64_t>(columns.size())};
}

void fit_rasters(const Scheme& scheme, const std::vector<VisualRun>& runs, const RowPointers& rows,
                 const UsedAxes& used, Criteria& criteria) {
  FitPoints points;
  points.rows = static_cast<int64_t>(rows.size());
  // A row that turns nothing counts as 0.
  std::vector<double> place(rows.size(), 0.0);
  const auto add = [&](const std::array<double, 3>& cell, int64_t token) {
    for (const size_t axis : used.all) place[axis] = rows[axis][token];
    points.cells.push_back(cell);
    points.positions.insert(points.positions.end(), place.begin(), place.end());
  };
  for (const VisualRun& run : runs) {
    for (const VisualBlock& block : run.blocks) {
      const Segment& segment = *block.segment;
      const Grid& grid = segment.grid;
      const auto tokens =
          segment.kind == Segment::Kind::kAnyres ? std::optional<BlockTokens>(segment) : std::nullopt;
      const int64_t first = block.first + (tokens ? tokens->thumbnail(0) : 0);
      points.clear();
      const auto add_cell = [&](int64_t cell, int64_t token) {
        const int64_t frame = grid.h * grid.w;
        add({static_cast<double>(cell / frame), static_cast<double>(cell % frame / grid.w),
             static_cast<double>(cell % grid.w)},
            token);
      };
      if (segment.kind == Segment::Kind::kMerged) {
        for (int64_t i = 0; i < segment.tokens(); ++i) {
          add_cell(segment.members[static_cast<size_t>(i)].front(), first + i);
        }
      } else {
        for (int64_t i = 0; i < grid.tokens(); ++i) add_cell(i, first + i);
      }
      keep_worst(fit_affine(points), shown_grid(segment), criteria);
      if (segment.high_h * segment.high_w == 0) continue;
      const auto own = scheme.alignment() ? own_cells(segment, *scheme.alignment()) : std::vector<int64_t>();
      const auto fit_high = [&](const Piece& part) {
        points.clear();
        for (int64_t i = 0; i < part.h * part.w; ++i) {
          const int64_t row = part.row + i / part.w, column = part.column + i % part.w;
          const int64_t cell = own.empty() ? 0 : own[static_cast<size_t>(row * segment.high_w + column)];
          add({0.0, static_cast<double>(own.empty() ? row : cell / grid.w),
               static_cast<double>(own.empty() ? column : cell % grid.w)},
              block.first + tokens->high(row, column));
        }
        Grid high = {1, part.h, part.w};
        if (!own.empty()) high = {1, std::min(high.h, grid.h), std::min(high.w, grid.w)};
        keep_worst(fit_affine(points), high, criteria);
      };
      if (segment.pieces.empty() || !own.empty()) {
        fit_high({Piece::Role::kTile, segment.high_h * segment.high_w, 0, 0, segment.high_h, segment.high_w});
        continue;
      }
      for (const Piece& piece : segment.pieces) {
        if (piece.role == Piece::Role::kTile) fit_high(piece);
      }
    }
  }
}

void measure_coverage(const Frequencies& frequencies, const at::Tensor& turns, Criteria& criteria) {
  const int64_t channels = turns.size(1), bins = std::min(kBins, channels);
  const at::Tensor counted =
      turns.logical_and(frequencies.inv_freq.ne(0).view({1, channels, 1})).permute({0, 2, 1}).contiguous();
  const bool* turned = counted.const_data_ptr<bool>();
  for (int64_t head = 0; head < counted.size(0); ++head) {
    for (int64_t row = 0; row < counted.size(1); ++row, turned += channels) {
      std::array<bool, kBins> holds{};
      for (int64_t i = 0; i < channels; ++i) {
        if (turned[i]) holds[static_cast<size_t>(i * bins / channels)] = true;
      }
      const auto held = std::count(holds.begin(), holds.end(), true);
      double& coverage = criteria.bin_coverage[static_cast<size_t>(row)];
      coverage = std::max(coverage, static_cast<double>(held) / static_cast<double>(bins));
    }
  }
}

/// Whether every channel turns text by the checkpoint's own frequency.
bool own_frequencies(const Frequencies& frequencies, const Frequencies& own, int64_t rows) {
  if (!frequencies.inv_freq.equal(own.inv_freq)) return false;
  return frequencies.row_weights(rows).sum(2).sub(1).abs().lt(1e-12).all().item<bool>();
}

bool text_counts_up(const Scheme& scheme, const UsedAxes& used, int64_t tokens) {
  Layout text;
  text.segments.push_back({});
  text.segments.back().text = tokens;
  const Positions positions = scheme.positions(text);
  const RowPointers rows = row_pointers(positions.coordinates);
  for (const size_t axis : used.all) {
    for (int64_t i = 0; i < tokens; ++i) {
      if (rows[axis][i] != static_cast<double>(i)) return false;
    }
  }
  return true;
}

bool axes_agree(const at::Tensor& coordinates, const uint8_t* modality, int64_t first, const UsedAxes& used) {
  const RowPointers rows = row_pointers(coordinates);
  for (int64_t token = first; token < coordinates.size(1); ++token) {
    if (modality != nullptr && modality[token] != 0) continue;
    for (const size_t axis : used.all) {
      if (rows[axis][token] != rows[used.all.front()][token]) return false;
    }
  }
  return true;
}

}  // namespace

bool Criteria::coherent() const {
  return visual_text_collisions == 0 && visual_visual_collisions == 0 && at_or_after_following_text == 0 &&
         at_or_before_preceding_text == 0 && affine_residual < kAffineTolerance &&
         affine_rank == affine_rank_needed;
}

bool Criteria::full_frequency() const {
  return std::all_of(bin_coverage.begin(), bin_coverage.end(), [](double share) { return share == 1.0; });
}

int64_t kv_heads_of(const Scheme& scheme, std::optional<int64_t> given) {
  return given ? *given : scheme.sectioned_heads().value_or(1);
}

int64_t head_dim_of(const Scheme& scheme, std::optional<int64_t> given) {
  if (given) return *given;
  const std::optional<int64_t> channels = scheme.sectioned_channels();
  return channels ? 2 * *channels : 128;
}

Criteria judge(const Scheme& scheme, const Layout& layout, const Positions& positions,
               const CriteriaOptions& options) {
  const double length = positions.largest() + 1;
  const Frequencies frequencies =
      scheme.frequencies(options.rope, options.head_dim, kv_heads_of(scheme, options.kv_heads),
                         options.max_position_embeddings, length);
  // Rows with settings of their own: what a checkpoint turns its text by then is the scheme's own table, unless its base is
  // another.
  const bool by_row =
      differs_by_row(options.rope) && scheme.rope_theta(options.rope.theta) == options.rope.theta;
  const Frequencies own = by_row
                              ? frequencies
                              : make_frequencies(config_of_row(options.rope, scheme.row_names().front()),
                                                 options.head_dim, options.max_position_embeddings, length);
  const at::Tensor turns = turning(frequencies, scheme.axes());
  const UsedAxes used = used_axes(turns);
  const std::vector<VisualRun> runs = visual_runs(layout, positions);
  const RowPointers rows = row_pointers(positions.coordinates);
  const std::vector<int64_t> cells = intended_cells(scheme, runs, positions);
  const std::vector<uint8_t> kinds = judged_modality(positions, cells);
  const uint8_t* modality = kinds.data();
  const at::Tensor generated =
      scheme.generated_positions(positions, 0, options.generated_tokens).contiguous();

  Criteria criteria;
  criteria.axes = scheme.axes();
  if (criteria.axes > 1) {
    criteria.row_names = scheme.row_names();
    criteria.bin_coverage.assign(criteria.row_names.size(), 0.0);
  }
  if (!used.all.empty()) {
    const Collisions collisions = count_collisions(positions, generated, used, kinds, cells);
    criteria.visual_text_collisions = collisions.visual_text;
    criteria.visual_visual_collisions = collisions.visual_visual;
  }
  criteria.ptd = per_token_distance(layout, positions);
  count_overlaps(runs, rows, modality, used, criteria);
  fit_rasters(scheme, runs, rows, used, criteria);
  double ids = 0;
  int64_t visual = 0;
  for (const VisualRun& run : runs) {
    ids += run.ids();
    visual += run.visual;
  }
  if (visual > 0) criteria.growth_per_visual_token = ids / static_cast<double>(visual);
  measure_coverage(frequencies, turns, criteria);
  criteria.text_ids = text_counts_up(scheme, used, std::max<int64_t>(options.generated_tokens, 2));
  criteria.text_frequencies = own_frequencies(frequencies, own, scheme.axes());
  const int64_t after = runs.empty() ? positions.tokens() : runs.front().first + runs.front().tokens;
  criteria.text_axes_equal = used.all.empty() || (axes_agree(positions.coordinates, modality, after, used) &&
                                                  axes_agree(generated, nullptr, 0, used));
  return criteria;
}

}  // namespace ropescope
