// Thumbnail cells that are wrong on purpose: what if high-resolution tokens take the ids of other cells than their own?
// A mapping that is the same for every picture shows whether ID-Align teaches places or only which tokens belong together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ropescope {

struct WrongCells {
  enum class Kind : uint8_t {
    kNone,
    kShift,        ///< `amount` columns to the right, round the edge
    kMirror,       ///< left and right exchanged
    kQuarterTurn,  ///< turned clockwise; of a raster that is not square the nearest cell
    kShuffleRows,  ///< each row's cells in another order
    kShuffle,      ///< all cells in another order
    kRandom  ///< `amount` percent of the high-resolution tokens (rounded to whole tokens) on any other cell
  };
  Kind kind = Kind::kNone;
  int64_t amount = 0;
  uint64_t seed = 0;  ///< of the shuffles and of kRandom; the same for every picture of one size

  bool operator==(const WrongCells&) const = default;
};

/// Forms of the text, for messages.
std::vector<std::string> wrong_cells_forms();

/// "none", "shift-2", "mirror", "quarter-turn", "shuffle-rows", "shuffle", "random-25". Throws UsageError.
WrongCells parse_wrong_cells(const std::string& text, uint64_t seed);

/// cells: of every high-resolution token the cell y W0 + x of an H0 x W0 raster; replaced by the wrong ones. Throws
/// UsageError for a shift that comes round to where it began.
void misplace(const WrongCells& wrong, int64_t rows, int64_t columns, std::vector<int64_t>& cells);

}  // namespace ropescope
