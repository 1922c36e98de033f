#include "ropescope/rope/layout_checks.h"

#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

constexpr int64_t kLargestSide = 1 << 20;
constexpr double kLargestStep = 1 << 20;

bool sides_fit(const Segment& segment) {
  for (const int64_t side :
       {segment.grid.t, segment.grid.h, segment.grid.w, segment.high_h, segment.high_w}) {
    if (side < 0 || side > kLargestSide) return false;
  }
  const auto fits = [](int64_t a, int64_t b) { return a == 0 || b <= kMostLayoutTokens / a; };
  return segment.text >= 0 && segment.text <= kMostLayoutTokens && fits(segment.grid.h, segment.grid.w) &&
         fits(segment.grid.h * segment.grid.w, segment.grid.t) && fits(segment.high_h, segment.high_w + 1);
}

std::string members_fault(const Segment& segment) {
  const int64_t tokens = segment.grid.tokens();
  const auto inside = [&](int64_t token) { return token >= 0 && token < tokens; };
  for (const std::vector<int64_t>& members : segment.members) {
    if (members.empty() || !std::all_of(members.begin(), members.end(), inside)) {
      return fmt::format("members, of every token at least one, from 0 to {}", tokens - 1);
    }
  }
  return segment.members.empty() ? "members of at least one token" : std::string();
}

}  // namespace

std::string segment_fault(const Segment& segment) {
  if (segment.kind == Segment::Kind::kText && segment.text < 1) return "a text run of at least one token";
  for (const int64_t side : {segment.grid.t, segment.grid.h, segment.grid.w}) {
    if (segment.kind != Segment::Kind::kText && side < 1) return "at least one row, column and frame";
  }
  if (segment.high_h < 0 || segment.high_w < 0) return "no negative number of rows and columns";
  if (!sides_fit(segment)) return fmt::format("no more than {} tokens", kMostLayoutTokens);
  if (!std::isfinite(segment.grid.step) || segment.grid.step < 0 || segment.grid.step > kLargestStep) {
    return fmt::format("a step of 0 to {} ids between frames", kLargestStep);
  }
  if (segment.kind == Segment::Kind::kMerged) return members_fault(segment);
  return segment.pieces.empty() ? std::string() : pieces_fault(segment);
}

std::string lay_tiles(Segment& segment, TiledPicture tiling) {
  if (const std::string fault = segment_fault(segment); !fault.empty()) return fault;
  tiling.thumbnail = segment.grid;
  if (segment.high_h < 1 || segment.high_w < 1 || segment.high_h % segment.grid.h != 0 ||
      segment.high_w % segment.grid.w != 0) {
    return fmt::format("a high-resolution grid of whole tiles of {}x{} tokens", segment.grid.h,
                       segment.grid.w);
  }
  tiling.rows = segment.high_h / segment.grid.h;
  tiling.columns = segment.high_w / segment.grid.w;
  try {
    segment = tiled_segment(tiling);
  } catch (const InputError& error) {
    return fmt::format("a picture that can be ({})", error.what());
  }
  return {};
}

}  // namespace ropescope
