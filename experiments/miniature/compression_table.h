// What compressed runs say (compression.h): how much each kind leaves, and the four measures against it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "table.h"

namespace ropescope::miniature {

/// Whether any row is of compressed pictures.
bool has_compression(const std::vector<Row>& rows);

/// Shares of the high-resolution tokens that are left, and of the cells that a token of their own is left of, seen and unseen grids:
/// means over the seeds with 95% intervals (Student t).
std::string compression_table(const std::vector<Row>& rows);
/// The same shares in the end of every compressed run.
std::string compression_csv(const std::vector<Row>& rows);

/// The measures over the share of tokens that are left, on seen grids: a curve a method, its rows without compression at 1; of rows
/// at `theta`, not scaled, with the first row's targets and steps; none such, no figure. Dashed: without ID-Align. Bands: 95% over
/// the seeds.
void draw_compression(const std::filesystem::path& file, const std::vector<Row>& rows, double theta);

}  // namespace ropescope::miniature
