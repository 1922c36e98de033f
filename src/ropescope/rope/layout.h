// What a sequence is made of, before any position is given: runs of text and visual blocks.
// Grid sizes are counted after spatial merging: one grid cell is one token of the decoder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope {

/// What a token shows. The values are those of /positions/modality in result files.
enum class Modality : uint8_t { kText = 0, kImage = 1, kHighRes = 2, kNewline = 3, kVideo = 4 };

inline bool is_visual(Modality modality) { return modality != Modality::kText; }

/// t frames of h rows of w tokens; token order is (frame, row, column), column fastest.
struct Grid {
  int64_t t = 1, h = 0, w = 0;
  int64_t tokens() const { return t * h * w; }
};

/// One piece of a layout. An anyres block (LLaVA-NeXT) is a thumbnail grid, then the high-resolution grid row
/// by row, each row closed by a newline token where `newline` is set. A picture whose size needs no tiles has
/// `single_tile` set: the thumbnail and one newline token.
struct Segment {
  enum class Kind { kText, kImage, kVideo, kAnyres };
  Kind kind = Kind::kText;
  int64_t text = 0;                ///< tokens of a text run
  Grid grid;                       ///< image, video, or the thumbnail of an anyres block
  int64_t high_h = 0, high_w = 0;  ///< high-resolution rows and columns (unpadded); 0 is legal
  bool newline = true;
  bool single_tile = false;

  int64_t newline_tokens() const {
    if (kind != Kind::kAnyres || !newline) return 0;
    return single_tile ? 1 : high_h;
  }
  int64_t tokens() const {
    return kind == Kind::kText ? text : grid.tokens() + high_h * high_w + newline_tokens();
  }
};

struct Layout {
  std::string name;
  std::vector<Segment> segments;
  int64_t tokens() const;
};

/// Most tokens that a layout may have (2^26): a guard against sizes that come from a damaged file.
inline constexpr int64_t kMostLayoutTokens = int64_t{1} << 26;

/// "text:5,image:4x6,video:3x4x6,anyres:24x24+48x48,text:7". `anyres:24x24+48x48:no-newline` has no newline
/// tokens, `anyres:24x24` no high-resolution tiles. Throws UsageError naming the part that it cannot read.
Layout parse_layout(const std::string& text);

/// A list of segments {"text":n}, {"image":{"t":1,"h":4,"w":6}}, {"video":{...}}, {"anyres":{"h0":24,"w0":24,
/// "h1":48,"w1":48,"newline":true}}; or {"layouts":[{"name":...,"segments":[...]},...]}; or one such object.
/// `what` names the file in errors. Throws InputError.
std::vector<Layout> layouts_from_json(const Json& json, const std::string& what);

/// The text form of a layout, which parse_layout reads back.
std::string layout_text(const Layout& layout);

}  // namespace ropescope
