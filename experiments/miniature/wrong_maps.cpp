#include "wrong_maps.h"

#include <cmath>
#include <cstdlib>
#include <numeric>

#include <boost/random/uniform_int_distribution.hpp>
#include <boost/random/uniform_real_distribution.hpp>

#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"

namespace ropescope::miniature {

namespace {

void shuffle_cells(std::vector<int64_t>& cells, size_t first, size_t count, Rng& rng) {
  for (size_t i = count; i > 1; --i) {
    boost::random::uniform_int_distribution<size_t> place(0, i - 1);
    std::swap(cells[first + i - 1], cells[first + place(rng)]);
  }
}

}  // namespace

WrongMap::WrongMap(const std::string& text) : text_(text == "right" ? "" : text) {
  if (text_.empty()) return;
  const size_t colon = text_.find(':');
  kind_ = text_.substr(0, colon);
  const bool counts = kind_ == "shift", shares = kind_ == "random";
  const bool known =
      counts || shares || kind_ == "mirror" || kind_ == "quarter" || kind_ == "rows" || kind_ == "shuffle";
  char* end = nullptr;
  if (colon != std::string::npos) amount_ = std::strtod(text_.c_str() + colon + 1, &end);
  const bool read = colon == std::string::npos
                        ? !(counts || shares)
                        : (counts || shares) && *end == '\0' && end != text_.c_str() + colon + 1;
  const bool fits = (!counts || (amount_ == std::floor(amount_) && amount_ >= 1 && amount_ <= 64)) &&
                    (!shares || (amount_ > 0 && amount_ <= 1));
  if (!known || !read || !fits) {
    throw UsageError(
        "--map: expected right, shift:CELLS, mirror, quarter, rows, shuffle or random:SHARE, found \"{}\"",
        text);
  }
}

std::vector<int64_t> WrongMap::inherited(const std::vector<int64_t>& cells, const Shape& shape,
                                         uint64_t seed) const {
  if (is_right()) return cells;
  const int64_t side = shape.side;
  Rng rng =
      make_rng(seed, {0x6d617073, static_cast<uint64_t>(shape.columns), static_cast<uint64_t>(shape.rows)});
  std::vector<int64_t> to(static_cast<size_t>(shape.cells()));
  for (int64_t cell = 0; cell < shape.cells(); ++cell) {
    const int64_t row = cell / side, column = cell % side;
    int64_t target = cell;
    if (kind_ == "shift") target = row * side + (column + static_cast<int64_t>(amount_)) % side;
    if (kind_ == "mirror") target = row * side + side - 1 - column;
    if (kind_ == "quarter") target = column * side + side - 1 - row;
    to[static_cast<size_t>(cell)] = target;
  }
  if (kind_ == "rows") {
    for (int64_t row = 0; row < side; ++row)
      shuffle_cells(to, static_cast<size_t>(row * side), static_cast<size_t>(side), rng);
  }
  if (kind_ == "shuffle") shuffle_cells(to, 0, to.size(), rng);
  std::vector<int64_t> result;
  boost::random::uniform_real_distribution<double> share(0, 1);
  boost::random::uniform_int_distribution<int64_t> other(1, shape.cells() - 1);
  for (const int64_t cell : cells) {
    const bool wrong = kind_ == "random" && share(rng) < amount_;
    result.push_back(wrong ? (cell + other(rng)) % shape.cells() : to[static_cast<size_t>(cell)]);
  }
  return result;
}

at::Tensor WrongMap::apply(const at::Tensor& coordinates, const View& view, int64_t first, const Shape& shape,
                           uint64_t seed) const {
  if (is_right()) return coordinates;
  const at::Tensor result = coordinates.clone();
  const auto* ids = coordinates.const_data_ptr<double>();
  auto* out = result.mutable_data_ptr<double>();
  const int64_t axes = coordinates.size(0), tokens = coordinates.size(1);
  const auto same = [&](int64_t a, int64_t b) {
    for (int64_t axis = 0; axis < axes; ++axis) {
      if (ids[axis * tokens + first + a] != ids[axis * tokens + first + b]) return false;
    }
    return true;
  };
  std::vector<int64_t> cells;
  for (const int64_t token : view.high) {
    int64_t own = -1;
    for (size_t cell = 0; cell < view.thumbnail.size() && own < 0; ++cell) {
      if (same(view.thumbnail[cell], token)) own = static_cast<int64_t>(cell);
    }
    if (own < 0) {
      throw UsageError(
          "--map {}: expected a scheme whose high-resolution tokens have ids of the thumbnail (id-align), found another",
          text_);
    }
    cells.push_back(own);
  }
  const std::vector<int64_t> inherited_cells = inherited(cells, shape, seed);
  for (size_t i = 0; i < view.high.size(); ++i) {
    const int64_t source = view.thumbnail[static_cast<size_t>(inherited_cells[i])];
    for (int64_t axis = 0; axis < axes; ++axis) {
      out[axis * tokens + first + view.high[i]] = ids[axis * tokens + first + source];
    }
  }
  return result;
}

}  // namespace ropescope::miniature
