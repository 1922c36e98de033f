// What runs say together about where their high-resolution tokens look (gaze.h). Rows count whose runs all have looked.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "table.h"

namespace ropescope::miniature {

/// Whether there is such a row.
bool has_gaze(const std::vector<Row>& rows);

/// Of a layer's attention, over the seeds (95%, Student t): thumbnail, own, misplaced_own, misplaced_ids; the latter NaN where no token
/// is misplaced. `grids`: of kGrids.
std::vector<MeanInterval> gaze_shares(const Row& row, size_t grids, size_t layer);

/// A line for each row and layer, on unseen grids: these shares. Throws InputError for runs of
/// one row whose models have not equally many layers.
std::string gaze_table(const std::vector<Row>& rows);
/// A line for each row, kind of grids, layer and seed.
std::string gaze_csv(const std::vector<Row>& rows);
/// Where the tokens of one cell look, a panel for each row at `theta`, not scaled, with the first row's targets; none such, no figure.
/// Means over heads, layers, tokens and pictures of the first seed, as wrong mappings by chance are others in each. Box: that cell;
/// ring: the cell whose ids most of its tokens have.
void draw_gaze(const std::filesystem::path& file, const std::vector<Row>& rows, double theta);

}  // namespace ropescope::miniature
