// What the pictures of one experiment have in common: how many cells, glyphs and patches, how they come to the decoder, and what
// is asked about them. The plain world is that of the paper's question; the others are harder (docs/miniature.md).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

namespace ropescope::miniature {

inline constexpr int64_t kPatch = 8;  ///< pixels

/// Grids that were trained on, and others: what is measured on each comes in this order.
inline constexpr std::array<const char*, 2> kGrids = {"seen", "unseen"};

/// How a picture comes to the decoder (views.h).
enum class Order { kLlavaNext, kInternvl, kNative };

/// What a colour is answered with.
///   place     the glyph of its cell
///   relation  where the marker lies, seen from its cell: left, right, above or below, whichever is farther. The marker is the last
///             glyph, which only one cell has: the one cell is named by the thumbnail, the other by the tiles
enum class Task { kPlace, kRelation };

struct World {
  Order order = Order::kLlavaNext;
  Task task = Task::kPlace;
  int64_t side = 4;    ///< cells, and thumbnail patches, a side: 4 or 8
  int64_t glyphs = 4;  ///< 2 to 12
  int64_t finer = 1;   ///< high-resolution patches a side, in multiples of the plain world's: 1 or 2
  int64_t thumbnail_patch = kPatch;  ///< pixels, of the order native: 4, 8 or 16; the picture's are kPatch

  World() = default;
  World(Order its_order) : order(its_order) {}  // NOLINT: an order alone says the rest

  int64_t cells() const { return side * side; }
  int64_t colours() const { return cells(); }  ///< no colour comes twice
  int64_t tile() const { return kPatch * side; }
  /// Thumbnail patches a cell's side: 2 where they are smaller than a cell. Larger ones show a larger thumbnail.
  int64_t thumbnail_split() const { return thumbnail_patch < kPatch ? kPatch / thumbnail_patch : 1; }
  bool operator==(const World&) const = default;
};

/// The enumerator of that place in `names`. Throws UsageError for another name than these, naming `flag`.
template <typename Value, size_t N>
Value parse_name(const std::array<const char*, N>& names, const std::string& name, const char* flag) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    throw UsageError("{}: expected {}, found \"{}\"", flag, fmt::join(names, ", "), name);
  return static_cast<Value>(found - names.begin());
}

/// "llava-next", "internvl", "native".
const char* order_name(Order order);
/// Throws UsageError for another name.
Order parse_order(const std::string& name);
/// "place", "relation".
const char* task_name(Task task);
Task parse_task(const std::string& name);

/// Throws UsageError for what no picture can have.
void check_world(const World& world);
/// What differs from the plain world; {} for it.
Json to_json(const World& world);
/// The other way round. Throws InputError naming `what`.
World world_from(const Json& json, const std::string& what);
/// For a table: "plain", "side 8, 12 glyphs".
std::string world_text(const World& world);

}  // namespace ropescope::miniature
