#include "ropescope/models/media_prompt.h"

#include <algorithm>
#include <array>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

bool is_tile(const MediaRun& run) { return run.role == MediaRun::Role::kTile; }

const char* item_name(const MediaPlan& plan) { return plan.kind == MediaKind::kVideo ? "clip" : "image"; }

/// Thumbnail and high-resolution grid (or one grid and a newline) without anything between them, in raster order.
bool is_raster_block(const MediaPlan& plan) {
  const bool pair = plan.runs.size() == 2 && plan.runs[0].role == MediaRun::Role::kThumbnail &&
                    is_tile(plan.runs[1]) && plan.runs[1].before.empty() &&
                    plan.runs[1].h * plan.runs[1].w == plan.high_hw[0] * plan.high_hw[1];
  const bool single = plan.runs.size() == 1 && plan.runs[0].newlines > 0;
  return plan.kind == MediaKind::kImage && (pair || single);
}

Segment raster_block(const MediaPlan& plan) {
  Segment segment;
  segment.kind = Segment::Kind::kAnyres;
  segment.grid = {1, plan.runs[0].h, plan.runs[0].w};
  segment.single_tile = plan.runs.size() == 1;
  segment.newline = plan.newline_tokens() > 0;
  if (!segment.single_tile) {
    segment.high_h = plan.runs[1].h;
    segment.high_w = plan.runs[1].w;
  }
  return segment;
}

Segment run_segment(const MediaPlan& plan, const MediaRun& run, const MediaMarks& marks) {
  Segment segment;
  const bool video = plan.kind == MediaKind::kVideo;
  segment.kind = video ? Segment::Kind::kVideo : Segment::Kind::kImage;
  segment.grid = {run.t, run.h, run.w};
  // A float32 product, as the models' own code takes it.
  if (video && run.t > 1 && marks.ids_per_second > 0) {
    segment.grid.step = static_cast<double>(static_cast<float>(marks.ids_per_second) *
                                            static_cast<float>(plan.second_per_grid));
  }
  return segment;
}

/// A tiled picture whose runs may stand apart: one block, whatever stands between them being part of it.
bool is_pieced_block(const MediaPlan& plan) {
  return plan.kind == MediaKind::kImage && !is_raster_block(plan) &&
         std::any_of(plan.runs.begin(), plan.runs.end(), is_tile);
}

void add_piece(Segment& block, Piece::Role role, int64_t tokens, const MediaRun* run = nullptr) {
  if (tokens == 0) return;
  Piece piece;
  piece.role = role;
  piece.tokens = tokens;
  if (run != nullptr) {
    piece.row = run->row;
    piece.column = run->column;
    piece.h = run->h;
    piece.w = run->w;
  }
  block.pieces.push_back(piece);
}

class PlacedRow {
 public:
  std::vector<int64_t> ids, mask, item_of;
  Layout layout;
  std::vector<MediaPrompt::Block> blocks;

  void add_text(int64_t id, int64_t seen, int64_t kind = MediaPrompt::kText) {
    add(1, id, seen, kind);
    if (layout.segments.empty() || layout.segments.back().kind != Segment::Kind::kText) {
      layout.segments.emplace_back();
    }
    ++layout.segments.back().text;
  }

  void add_block(const Segment& segment, int64_t item, int64_t part) {
    layout.segments.push_back(segment);
    blocks.push_back({item, part});
  }

  /// Takes tokens of the last text run into a block that begins with them.
  int64_t take_text(int64_t most) {
    if (layout.segments.empty() || layout.segments.back().kind != Segment::Kind::kText) return 0;
    Segment& text = layout.segments.back();
    const int64_t taken = std::min(most, text.text);
    text.text -= taken;
    if (text.text == 0) layout.segments.pop_back();
    return taken;
  }

  void add(int64_t count, int64_t id, int64_t seen, int64_t kind) {
    const auto tokens = static_cast<size_t>(count);
    ids.insert(ids.end(), tokens, id);
    mask.insert(mask.end(), tokens, seen);
    item_of.insert(item_of.end(), tokens, kind);
  }
};

/// The ids of one row, and what may be read of them.
struct GivenRow {
  const int64_t* ids;
  const int64_t* mask;  // or null
  int64_t tokens;
  int64_t seen(int64_t i) const { return mask == nullptr ? 1 : mask[i]; }
};

/// Gives out the items in order.
class Placement {
 public:
  Placement(const std::vector<MediaPlan>& plans, const MediaMarks& marks, int64_t vocab_size, int64_t places)
      : plans_(plans),
        marks_(marks),
        vocab_size_(vocab_size),
        singles_(places == static_cast<int64_t>(plans.size())) {}

  PlacedRow row(const GivenRow& given) {
    PlacedRow row;
    for (int64_t i = 0; i < given.tokens;) {
      if (marks_.holds(given.ids[i])) {
        i = item(given, i, row);
      } else {
        text(given, i++, row);
      }
    }
    return row;
  }

  void check_all_taken() const {
    for (const MediaKind kind : {MediaKind::kImage, MediaKind::kVideo}) {
      const size_t next = next_[static_cast<size_t>(kind)];
      for (size_t i = next; i < plans_.size(); ++i) {
        if (plans_[i].kind != kind) continue;
        throw InputError("input_ids: expected tokens of {} images and clips, found those of {}",
                         plans_.size(), taken_);
      }
    }
  }

 private:
  void text(const GivenRow& given, int64_t i, PlacedRow& row) const {
    if (given.ids[i] < 0 || given.ids[i] >= vocab_size_) {
      throw InputError("input_ids: expected ids from 0 to {}, or an image token, found {}", vocab_size_ - 1,
                       given.ids[i]);
    }
    row.add_text(given.ids[i], given.seen(i));
  }

  size_t next_item(int64_t id) {
    const bool both = marks_.image == marks_.video || id == MediaMarks::kAnyItem;
    const MediaKind kind = id == marks_.video ? MediaKind::kVideo : MediaKind::kImage;
    size_t& next = next_[static_cast<size_t>(kind)];
    if (both) next = std::max(next_[0], next_[1]);
    while (next < plans_.size() && !both && plans_[next].kind != kind) ++next;
    if (next >= plans_.size()) {
      throw InputError("input_ids: expected placeholder tokens of {} images and clips, found more",
                       plans_.size());
    }
    const size_t item = next++;
    if (both) next_.fill(next);
    ++taken_;
    return item;
  }

  int64_t mark_of(const MediaPlan& plan) const {
    return plan.kind == MediaKind::kVideo ? marks_.video : marks_.image;
  }

  int64_t placeholders_from(const GivenRow& given, int64_t i) const {
    int64_t end = i;
    while (end < given.tokens && marks_.holds(given.ids[end])) ++end;
    return end - i;
  }

  /// The item that begins with token `i`; returns the token behind what was given of it.
  int64_t item(const GivenRow& given, int64_t i, PlacedRow& row) {
    const auto number = next_item(given.ids[i]);
    const MediaPlan& plan = plans_[number];
    const auto item = static_cast<int64_t>(number);
    const int64_t length = placeholders_from(given, i), left = static_cast<int64_t>(plans_.size() - number);
    // Only what needs no text between its runs can be one token.
    const bool whole = std::all_of(plan.runs.begin() + 1, plan.runs.end(),
                                   [](const MediaRun& run) { return run.before.empty(); });
    const bool expands = whole && (singles_ || (length < plan.tokens() && length <= left));
    if (expands && plan.tokens() != 1) {
      expanded(given, i, item, row);
      return i + 1;
    }
    if (is_pieced_block(plan)) return pieces(given, i, item, row);
    if (is_raster_block(plan)) {
      take(given, i, plan.tokens(), plan, item, row);
      row.add_block(raster_block(plan), item, 0);
      return i + plan.tokens();
    }
    for (size_t r = 0; r < plan.runs.size(); ++r) {
      while (r > 0 && i < given.tokens && !marks_.holds(given.ids[i])) text(given, i++, row);
      take(given, i, plan.runs[r].tokens, plan, item, row);
      row.add_block(run_segment(plan, plan.runs[r], marks_), item, static_cast<int64_t>(r));
      i += plan.runs[r].tokens;
    }
    return i;
  }

  void expanded(const GivenRow& given, int64_t i, int64_t item, PlacedRow& row) const {
    const MediaPlan& plan = plans_[static_cast<size_t>(item)];
    row.add(plan.tokens(), mark_of(plan), given.seen(i), item);
    if (is_raster_block(plan) || plan.runs.size() == 1) {
      row.add_block(media_segment(plan, marks_), item, 0);
      return;
    }
    if (is_pieced_block(plan)) {
      row.add_block(block_of(plan), item, 0);
      return;
    }
    for (size_t r = 0; r < plan.runs.size(); ++r) {
      row.add_block(run_segment(plan, plan.runs[r], marks_), item, static_cast<int64_t>(r));
    }
  }

  /// `count` placeholders from token `i` on, all of them there.
  void take(const GivenRow& given, int64_t i, int64_t count, const MediaPlan& plan, int64_t item,
            PlacedRow& row) const {
    const int64_t found = placeholders_from(given, i);
    if (found < count) {
      throw InputError(
          "input_ids: {} {} ({}x{} pixels) has {} tokens: expected that many placeholder tokens{}, found {} in a row "
          "of {}",
          item_name(plan), item + 1, plan.size_wh[0], plan.size_wh[1], plan.tokens(),
          plan.runs.size() == 1 ? " in a row, or one" : fmt::format(" in {} runs", plan.runs.size()), found,
          count);
    }
    for (int64_t k = i; k < i + count; ++k) row.add(1, mark_of(plan), given.seen(k), item);
  }

  Segment block_of(const MediaPlan& plan) const {
    Segment block = empty_block(plan);
    for (const MediaRun& run : plan.runs) {
      add_piece(block, is_tile(run) ? Piece::Role::kTile : Piece::Role::kThumbnail, run.tokens, &run);
    }
    return block;
  }

  static Segment empty_block(const MediaPlan& plan) {
    Segment block;
    block.kind = Segment::Kind::kAnyres;
    block.grid = {1, plan.thumbnail_hw[0], plan.thumbnail_hw[1]};
    block.high_h = plan.high_hw[0];
    block.high_w = plan.high_hw[1];
    block.newline = false;
    return block;
  }

  int64_t pieces(const GivenRow& given, int64_t i, int64_t item, PlacedRow& row) const {
    const MediaPlan& plan = plans_[static_cast<size_t>(item)];
    Segment block = empty_block(plan);
    add_piece(block, Piece::Role::kBefore, row.take_text(plan.runs.front().lead));
    for (size_t r = 0; r < plan.runs.size(); ++r) {
      const MediaRun& run = plan.runs[r];
      take(given, i, run.tokens, plan, item, row);
      add_piece(block, is_tile(run) ? Piece::Role::kTile : Piece::Role::kThumbnail, run.tokens, &run);
      i += run.tokens;
      int64_t words = 0;
      const bool last = r + 1 == plan.runs.size();
      while (i + words < given.tokens && (!last || words < run.tail) && !marks_.holds(given.ids[i + words]))
        ++words;
      const int64_t tail = std::min(words, run.tail),
                    lead = last ? 0 : std::min(words - tail, plan.runs[r + 1].lead);
      const bool between_tiles = !last && is_tile(run) && is_tile(plan.runs[r + 1]);
      add_piece(block, Piece::Role::kAfter, tail);
      add_piece(block, between_tiles ? Piece::Role::kBefore : Piece::Role::kText, words - tail - lead);
      add_piece(block, Piece::Role::kBefore, lead);
      for (int64_t k = 0; k < words; ++k) {
        if (given.ids[i] < 0 || given.ids[i] >= vocab_size_) {
          throw InputError("input_ids: expected ids from 0 to {}, found {}", vocab_size_ - 1, given.ids[i]);
        }
        row.add(1, given.ids[i], given.seen(i), MediaPrompt::kText);
        ++i;
      }
    }
    row.add_block(block, item, 0);
    return i;
  }

  const std::vector<MediaPlan>& plans_;
  const MediaMarks& marks_;
  int64_t vocab_size_;
  bool singles_;  // every placeholder token stands for a whole item
  std::array<size_t, 2> next_{};
  size_t taken_ = 0;
};

/// Without the text tokens that the mask hides.
PlacedRow without_hidden_text(const PlacedRow& row) {
  PlacedRow real;
  real.blocks = row.blocks;
  size_t i = 0;
  for (const Segment& segment : row.layout.segments) {
    const auto tokens = static_cast<size_t>(segment.tokens());
    const bool text = segment.kind == Segment::Kind::kText;
    if (!text) real.layout.segments.push_back(segment);
    for (size_t k = 0; k < tokens; ++k, ++i) {
      if (!text) {
        real.add(1, row.ids[i], row.mask[i], row.item_of[i]);
      } else if (row.mask[i] != 0) {
        real.add_text(row.ids[i], 1);
      }
    }
  }
  return real;
}

}  // namespace

Segment media_segment(const MediaPlan& plan, const MediaMarks& marks) {
  if (is_raster_block(plan)) return raster_block(plan);
  return run_segment(plan, plan.runs.at(0), marks);
}

MediaPrompt place_media(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                        const std::vector<MediaPlan>& plans, const MediaMarks& marks, int64_t vocab_size) {
  const at::Tensor ids = input_ids.to(at::kCPU, at::kLong).contiguous();
  const at::Tensor mask =
      attention_mask.defined() ? attention_mask.to(at::kCPU, at::kLong).contiguous() : at::Tensor();
  const int64_t batch = ids.size(0), given = ids.size(1);
  const auto* id_data = ids.const_data_ptr<int64_t>();
  const auto* mask_data = mask.defined() ? mask.const_data_ptr<int64_t>() : nullptr;
  const int64_t places =
      std::count_if(id_data, id_data + ids.numel(), [&](int64_t id) { return marks.holds(id); });
  Placement placement(plans, marks, vocab_size, places);
  std::vector<PlacedRow> rows;
  size_t shortest = SIZE_MAX, longest = 0;
  for (int64_t b = 0; b < batch; ++b) {
    rows.push_back(
        placement.row({id_data + b * given, mask_data == nullptr ? nullptr : mask_data + b * given, given}));
    shortest = std::min(shortest, rows.back().ids.size());
    longest = std::max(longest, rows.back().ids.size());
  }
  placement.check_all_taken();
  const bool uneven = shortest != longest;
  if (uneven) {
    longest = 0;
    for (PlacedRow& row : rows) {
      if (mask.defined()) row = without_hidden_text(row);
      longest = std::max(longest, row.ids.size());
    }
    for (PlacedRow& row : rows) {
      while (row.ids.size() < longest) row.add_text(0, 0, MediaPrompt::kPadding);
    }
  }
  MediaPrompt prompt;
  const auto tokens = static_cast<int64_t>(longest);
  prompt.input_ids = at::empty({batch, tokens}, at::kLong);
  const at::Tensor new_mask = at::empty({batch, tokens}, at::kLong);
  for (size_t b = 0; b < rows.size(); ++b) {
    PlacedRow& row = rows[b];
    std::copy(row.ids.begin(), row.ids.end(), prompt.input_ids.mutable_data_ptr<int64_t>() + b * longest);
    std::copy(row.mask.begin(), row.mask.end(), new_mask.mutable_data_ptr<int64_t>() + b * longest);
    prompt.item_of.insert(prompt.item_of.end(), row.item_of.begin(), row.item_of.end());
    prompt.layouts.push_back(std::move(row.layout));
    prompt.blocks.push_back(std::move(row.blocks));
  }
  if (mask.defined() || uneven) prompt.attention_mask = new_mask;
  return prompt;
}

}  // namespace ropescope
