#include "ropescope/rope/wrong_cells.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include <boost/random/uniform_int_distribution.hpp>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/random.h"

namespace ropescope {

namespace {

using Kind = WrongCells::Kind;

struct Form {
  const char* name;
  Kind kind;
  int64_t most = 0;  ///< of the amount behind the name; 0: none
};

constexpr Form kForms[] = {{"none", Kind::kNone},
                           {"shift-", Kind::kShift, 1 << 20},
                           {"mirror", Kind::kMirror},
                           {"quarter-turn", Kind::kQuarterTurn},
                           {"shuffle-rows", Kind::kShuffleRows},
                           {"shuffle", Kind::kShuffle},
                           {"random-", Kind::kRandom, 100}};

int64_t below(Rng& rng, int64_t count) {
  return boost::random::uniform_int_distribution<int64_t>(0, count - 1)(rng);
}

// Fisher and Yates, by our own generator: the same order on every platform.
void shuffle(std::vector<int64_t>& values, size_t first, size_t count, Rng& rng) {
  for (size_t i = count; i > 1; --i) {
    std::swap(values[first + i - 1],
              values[first + static_cast<size_t>(below(rng, static_cast<int64_t>(i)))]);
  }
}

/// Where each cell of the raster goes.
std::vector<int64_t> destinations(const WrongCells& wrong, int64_t rows, int64_t columns) {
  std::vector<int64_t> to(static_cast<size_t>(rows * columns));
  std::iota(to.begin(), to.end(), int64_t{0});
  Rng rng = make_rng(wrong.seed, {static_cast<uint64_t>(wrong.kind), static_cast<uint64_t>(rows),
                                  static_cast<uint64_t>(columns)});
  if (wrong.kind == Kind::kShuffle) shuffle(to, 0, to.size(), rng);
  for (int64_t y = 0; y < rows; ++y) {
    const auto first = static_cast<size_t>(y * columns);
    if (wrong.kind == Kind::kShuffleRows) shuffle(to, first, static_cast<size_t>(columns), rng);
    for (int64_t x = 0; x < columns; ++x) {
      int64_t& cell = to[first + static_cast<size_t>(x)];
      if (wrong.kind == Kind::kShift) cell = y * columns + (x + wrong.amount) % columns;
      if (wrong.kind == Kind::kMirror) cell = y * columns + columns - 1 - x;
      if (wrong.kind == Kind::kQuarterTurn) {
        cell = x * rows / columns * columns + (rows - 1 - y) * columns / rows;
      }
    }
  }
  return to;
}

/// So many tokens, drawn without replacement, each on a cell drawn from the others.
void scatter(const WrongCells& wrong, int64_t cells_of_raster, std::vector<int64_t>& cells) {
  const auto total = static_cast<int64_t>(cells.size());
  if (cells_of_raster < 2) return;
  Rng rng = make_rng(wrong.seed, {static_cast<uint64_t>(wrong.kind), static_cast<uint64_t>(cells_of_raster),
                                  static_cast<uint64_t>(total)});
  std::vector<int64_t> order(cells.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  shuffle(order, 0, order.size(), rng);
  const int64_t count = (total * wrong.amount + 50) / 100;
  for (int64_t i = 0; i < count; ++i) {
    int64_t& cell = cells[static_cast<size_t>(order[static_cast<size_t>(i)])];
    const int64_t other = below(rng, cells_of_raster - 1);
    cell = other < cell ? other : other + 1;
  }
}

}  // namespace

std::vector<std::string> wrong_cells_forms() {
  std::vector<std::string> forms;
  for (const Form& form : kForms) forms.push_back(form.most > 0 ? std::string(form.name) + "n" : form.name);
  return forms;
}

WrongCells parse_wrong_cells(const std::string& text, uint64_t seed) {
  for (const Form& form : kForms) {
    const std::string name = form.name;
    if (form.most == 0 && text == name) return {form.kind, 0, seed};
    if (form.most == 0 || text.rfind(name, 0) != 0) continue;
    const auto amount = parse_whole_number(text.substr(name.size()));
    if (amount && *amount <= form.most) return {form.kind, *amount, seed};
  }
  throw UsageError("wrong: expected one of {} (n columns, or n percent of the tokens), found \"{}\"",
                   fmt::join(wrong_cells_forms(), ", "), text);
}

void misplace(const WrongCells& wrong, int64_t rows, int64_t columns, std::vector<int64_t>& cells) {
  if (wrong.kind == Kind::kNone) return;
  if (wrong.kind == Kind::kShift && wrong.amount % columns == 0) {
    throw UsageError(
        "scheme id-align: wrong=shift-{}: expected a shift that moves the cells of a thumbnail of {} columns",
        wrong.amount, columns);
  }
  if (wrong.kind == Kind::kRandom) return scatter(wrong, rows * columns, cells);
  const std::vector<int64_t> to = destinations(wrong, rows, columns);
  for (int64_t& cell : cells) cell = to[static_cast<size_t>(cell)];
}

}  // namespace ropescope
