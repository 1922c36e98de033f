// Mappings of thumbnail cells that are wrong on purpose.
#include <algorithm>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/misalignment.h"
#include "ropescope/rope/scheme.h"

namespace ropescope {
namespace {

std::vector<int64_t> cells_of(const std::string& wrong, int64_t rows, int64_t columns) {
  std::vector<int64_t> cells;
  for (int64_t i = 0; i < rows * columns; ++i) cells.push_back(i);
  misplace(parse_wrong_cells(wrong, 5), rows, columns, cells);
  return cells;
}

using Cells = std::vector<int64_t>;

TEST(WrongCells, GoWhereTheirNameSays) {
  EXPECT_EQ(cells_of("none", 2, 3), (Cells{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(cells_of("shift-1", 2, 3), (Cells{1, 2, 0, 4, 5, 3}));
  EXPECT_EQ(cells_of("shift-5", 2, 3), cells_of("shift-2", 2, 3));
  EXPECT_EQ(cells_of("mirror", 2, 3), (Cells{2, 1, 0, 5, 4, 3}));
  // 0 1     clockwise: the upper left cell goes to the upper right, ...
  // 2 3
  EXPECT_EQ(cells_of("quarter-turn", 2, 2), (Cells{1, 3, 0, 2}));
}

TEST(WrongCells, ShufflesKeepEveryCellAndRowsTheirRow) {
  Cells all = cells_of("shuffle", 4, 6), rows = cells_of("shuffle-rows", 4, 6);
  EXPECT_NE(all, cells_of("none", 4, 6));
  EXPECT_EQ(all, cells_of("shuffle", 4, 6));
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i] / 6, static_cast<int64_t>(i) / 6);
  for (Cells* cells : {&all, &rows}) {
    std::sort(cells->begin(), cells->end());
    EXPECT_EQ(*cells, cells_of("none", 4, 6));
  }
}

TEST(WrongCells, ARandomShareIsExactAndNeverTheOwnCell) {
  for (const int64_t share : {0, 5, 10, 25, 50, 100}) {
    const Cells cells = cells_of("random-" + std::to_string(share), 10, 20);
    int64_t wrong = 0;
    for (size_t i = 0; i < cells.size(); ++i) wrong += cells[i] != static_cast<int64_t>(i);
    EXPECT_EQ(wrong, 2 * share);
  }
}

// The ids follow the mapping, text goes on as under the right one, and the mistakes are counted.
TEST(WrongCells, AreWhatIdAlignInherits) {
  const Layout layout = parse_layout("text:3,anyres:4x4+8x8,text:2");
  const Positions right = Scheme("id-align").positions(layout);
  const Positions wrong = Scheme("id-align:wrong=mirror").positions(layout);
  EXPECT_EQ(wrong.next, right.next);
  const double* of_right = right.coordinates.const_data_ptr<double>() + 3 + 16;
  const double* of_wrong = wrong.coordinates.const_data_ptr<double>() + 3 + 16;
  for (int64_t row = 0; row < 8; ++row) {
    for (int64_t column = 0; column < 8; ++column) {
      EXPECT_EQ(of_wrong[row * 9 + column], of_right[row * 9 + 7 - column]);
    }
  }
  const auto counted = resize_misalignment(Scheme("id-align:wrong=mirror"), layout);
  EXPECT_EQ(counted->column_differs, 64);
  EXPECT_EQ(counted->row_differs, 0);
  EXPECT_EQ(resize_misalignment(Scheme("id-align:wrong=random-25"), layout)->same_as_nearest, 48);
}

TEST(WrongCells, WhatCannotBeReadIsNamed) {
  for (const std::string text : {"shift", "shift-x", "random-101", "turn", ""}) {
    EXPECT_THROW(parse_wrong_cells(text, 0), UsageError) << text;
  }
  EXPECT_THROW(cells_of("shift-4", 4, 4), UsageError);  // nothing would be wrong
  EXPECT_THROW(cells_of("shift-0", 2, 3), UsageError);
  EXPECT_THROW(Scheme("id-align:wrong_seed=3"), UsageError);
}

}  // namespace
}  // namespace ropescope
