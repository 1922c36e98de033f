#include "ropescope/probe/attention_input.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/rope/id_align.h"
#include "ropescope/rope/tiled_block.h"

namespace ropescope {

namespace {

class PlaceFiller {
 public:
  explicit PlaceFiller(int64_t tokens) {
    const auto count = static_cast<size_t>(tokens);
    places_.modality.assign(count, Modality::kText);
    for (auto* values : {&places_.raster, &places_.row, &places_.column, &places_.block, &places_.partner}) {
      values->assign(count, -1);
    }
  }

  void add(const Segment& segment) {
    const int64_t tokens = segment.tokens();
    if (segment.kind == Segment::Kind::kText || tokens == 0) {
      token_ += tokens;
      return;
    }
    if (!segment.pieces.empty()) {
      add_pieces(segment);
      return;
    }
    if (segment.kind == Segment::Kind::kMerged) {
      add_merged(segment);
      return;
    }
    const int64_t first = token_;
    const bool video = segment.kind == Segment::Kind::kVideo;
    for (int64_t frame = 0; frame < segment.grid.t; ++frame) {
      for (int64_t row = 0; row < segment.grid.h; ++row) {
        for (int64_t column = 0; column < segment.grid.w; ++column) {
          cell(video ? Modality::kVideo : Modality::kImage, row, column);
        }
      }
      ++raster_;
    }
    if (segment.single_tile) {
      for (int64_t i = 0; i < segment.newline_tokens(); ++i) cell(Modality::kNewline, -1, -1, -1);
    } else if (segment.kind == Segment::Kind::kAnyres) {
      high_resolution(segment, first);
    }
    ++block_;
  }

  TokenPlaces take() { return std::move(places_); }

 private:
  // A token that stands for several is shown where its first member is.
  void add_merged(const Segment& segment) {
    const int64_t frame = segment.grid.h * segment.grid.w;
    const int64_t first = raster_;
    for (const std::vector<int64_t>& members : segment.members) {
      const int64_t place = members.front() % frame;
      raster_ = first + members.front() / frame;
      cell(segment.grid.t > 1 ? Modality::kVideo : Modality::kImage, place / segment.grid.w,
           place % segment.grid.w);
    }
    raster_ = first + segment.grid.t;
    ++block_;
  }

  void cell(Modality modality, int64_t row, int64_t column, int64_t partner = -1) {
    const auto at = static_cast<size_t>(token_++);
    places_.modality[at] = modality;
    places_.raster[at] = modality == Modality::kNewline ? -1 : raster_;
    places_.row[at] = row;
    places_.column[at] = column;
    places_.block[at] = block_;
    places_.partner[at] = partner;
  }

  void high_resolution(const Segment& segment, int64_t thumbnail_first) {
    const bool cells = segment.high_h * segment.high_w > 0 && segment.grid.tokens() > 0;
    std::optional<AlignedRaster> aligned;
    if (cells) aligned.emplace(segment.grid, segment.high_h, segment.high_w, ResizeRule::kNearest);
    for (int64_t row = 0; row < segment.high_h; ++row) {
      for (int64_t column = 0; column < segment.high_w; ++column) {
        cell(Modality::kHighRes, row, column, aligned ? thumbnail_first + aligned->cell(row, column) : -1);
      }
      if (segment.newline) cell(Modality::kNewline, -1, -1, -1);
    }
    if (segment.high_h * segment.high_w > 0) ++raster_;
  }

  // Rasters as a picture without pieces has them: the thumbnail, then the grid that the tiles make together.
  void add_pieces(const Segment& segment) {
    const BlockTokens tokens(segment);
    const AlignedRaster aligned(segment.grid, segment.high_h, segment.high_w, ResizeRule::kNearest);
    const int64_t thumbnail = token_ + tokens.thumbnail(0), first_raster = raster_;
    for (const Piece& piece : segment.pieces) {
      raster_ = first_raster + (piece.role == Piece::Role::kTile ? 1 : 0);
      for (int64_t i = 0; i < piece.tokens; ++i) {
        if (piece.role == Piece::Role::kThumbnail) {
          cell(Modality::kImage, i / piece.w, i % piece.w);
        } else if (piece.role == Piece::Role::kTile) {
          const int64_t row = piece.row + i / piece.w, column = piece.column + i % piece.w;
          cell(Modality::kHighRes, row, column, thumbnail + aligned.cell(row, column));
        } else {
          if (piece.is_separator()) places_.block[static_cast<size_t>(token_)] = block_;
          ++token_;
        }
      }
    }
    raster_ = first_raster + 2;
    ++block_;
  }

  TokenPlaces places_;
  int64_t token_ = 0, raster_ = 0, block_ = 0;
};

bool visual_segment(const Segment& segment) {
  return segment.kind != Segment::Kind::kText && segment.tokens() > 0;
}

at::Tensor with_inserted(const at::Tensor& values, int64_t place, const at::Tensor& inserted) {
  return at::cat({values.narrow(1, 0, place), inserted.to(values.device(), values.scalar_type()),
                  values.narrow(1, place, values.size(1) - place)},
                 1);
}

/// One direction of a grid on a picture: cell i covers [offset + i step, offset + (i + 1) step), pixels.
struct CellAxis {
  double offset = 0, step = 0;
  bool touches(int64_t cell, double low, double high) const {
    const double begin = offset + step * static_cast<double>(cell);
    return begin < high && begin + step > low;
  }
};

bool word_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' ||
         (static_cast<unsigned char>(c) & 0x80) != 0;
}

size_t find_word(const std::string& text, const std::string& word, size_t from = 0) {
  for (size_t at = text.find(word, from); at != std::string::npos; at = text.find(word, at + 1)) {
    const bool begins = at == 0 || !word_character(text[at - 1]) || !word_character(word.front());
    const size_t end = at + word.size();
    const bool ends = end == text.size() || !word_character(text[end]) || !word_character(word.back());
    if (begins && ends) return at;
  }
  return std::string::npos;
}

}  // namespace

TokenPlaces token_places(const Layout& layout) {
  PlaceFiller filler(layout.tokens());
  for (const Segment& segment : layout.segments) filler.add(segment);
  return filler.take();
}

void take_last_text_as_question(AttentionInput& input) {
  input.question_first = input.layout.tokens();
  input.question_tokens = 0;
  for (auto segment = input.layout.segments.rbegin(); segment != input.layout.segments.rend(); ++segment) {
    if (visual_segment(*segment)) break;
    input.question_first -= segment->tokens();
    input.question_tokens += segment->tokens();
  }
}

int64_t token_behind_images(const Layout& layout) {
  int64_t done = 0, place = -1;
  for (const Segment& segment : layout.segments) {
    done += segment.tokens();
    if (visual_segment(segment)) place = done;
  }
  if (place < 0 || place == done) {
    throw UsageError("--text-lengths: expected a visual block with text behind it, found \"{}\"",
                     layout_text(layout));
  }
  return place;
}

AttentionInput with_distractor(const Decoder& decoder, const AttentionInput& input,
                               const std::vector<int64_t>& ids) {
  const int64_t place = token_behind_images(input.layout);
  AttentionInput longer = input;
  const auto count = static_cast<int64_t>(ids.size());
  if (count == 0) return longer;
  const at::Tensor inserted = at::tensor(ids, at::kLong).unsqueeze(0);
  longer.input_ids = with_inserted(input.input_ids, place, inserted);
  if (input.inputs_embeds.defined()) {
    const at::Device device = decoder.weights.embed_tokens.device();
    longer.inputs_embeds =
        with_inserted(input.inputs_embeds, place, embed_tokens(decoder, inserted.to(device)));
  }
  if (input.attention_mask.defined()) {
    longer.attention_mask = with_inserted(input.attention_mask, place, at::ones({1, count}, at::kLong));
  }
  if (input.groups.defined()) {
    longer.groups = with_inserted(input.groups, place, at::full({1, count}, -1, at::kInt));
  }
  for (AddedFeatures& added : longer.added) {
    added.token_index = added.token_index.add(added.token_index.ge(place).to(at::kLong).mul(count));
  }
  Segment text;
  text.text = count;
  auto& segments = longer.layout.segments;
  auto behind = segments.end();
  while (!visual_segment(*(behind - 1))) --behind;
  segments.insert(behind, text);
  if (longer.question_first >= place) longer.question_first += count;
  return longer;
}

PixelRegion parse_region(const std::string& text) {
  std::array<double, 4> values{};
  const char* at = text.data();
  const char* end = at + text.size();
  bool fits = true;
  for (size_t i = 0; i < values.size() && fits; ++i) {
    const auto [next, code] = std::from_chars(at, end, values[i]);
    fits = code == std::errc() && std::isfinite(values[i]) &&
           (i == 3 ? next == end : next < end && *next == ',');
    at = next + 1;
  }
  if (!fits || values[0] < 0 || values[1] < 0 || !(values[2] > 0) || !(values[3] > 0)) {
    throw UsageError("--region: expected x,y,width,height in pixels of the image, found \"{}\"", text);
  }
  return {values[0], values[1], values[2], values[3]};
}

std::vector<int64_t> region_tokens(const AttentionInput& input, const TokenPlaces& places,
                                   const PixelRegion& region) {
  if (input.pictures.empty()) {
    throw UsageError("--region: expected an image whose pixels it means; give --image");
  }
  const AttendedPicture& picture = input.pictures.front();
  const auto width = static_cast<double>(picture.width), height = static_cast<double>(picture.height);
  if (region.x >= width || region.y >= height) {
    throw UsageError("--region: expected a place inside {} ({}x{} pixels), found {},{}", picture.name,
                     picture.width, picture.height, region.x, region.y);
  }
  const auto in_block = [&](size_t token) { return places.block[token] == 0; };
  bool high = false;
  int64_t rows = 0, columns = 0;
  for (size_t i = 0; i < places.block.size(); ++i) {
    high = high || (in_block(i) && places.modality[i] == Modality::kHighRes);
  }
  const auto chosen = [&](size_t token) {
    return in_block(token) && places.row[token] >= 0 &&
           (places.modality[token] == Modality::kHighRes) == high;
  };
  for (size_t i = 0; i < places.block.size(); ++i) {
    if (!chosen(i)) continue;
    rows = std::max(rows, places.row[i] + 1);
    columns = std::max(columns, places.column[i] + 1);
  }
  if (rows == 0) throw UsageError("--region: the layout has no visual tokens");
  const std::optional<CellMap>& map = high ? picture.high : picture.whole;
  const CellAxis across = map ? CellAxis{map->left, map->width}
                              : CellAxis{0, width / static_cast<double>(columns)},
                 down =
                     map ? CellAxis{map->top, map->height} : CellAxis{0, height / static_cast<double>(rows)};
  std::vector<int64_t> tokens;
  for (size_t i = 0; i < places.block.size(); ++i) {
    if (chosen(i) && across.touches(places.column[i], region.x, region.x + region.width) &&
        down.touches(places.row[i], region.y, region.y + region.height)) {
      tokens.push_back(static_cast<int64_t>(i));
    }
  }
  if (tokens.empty()) throw UsageError("--region: no token of {} shows any of it", picture.name);
  return tokens;
}

std::vector<int64_t> word_tokens(const AttentionInput& input, const std::string& word,
                                 const std::function<std::string(const std::vector<int64_t>&)>& decode) {
  if (word.empty()) throw UsageError("--word: expected a word of the question, found nothing");
  const at::Tensor question = input.input_ids[0]
                                  .narrow(0, input.question_first, input.question_tokens)
                                  .to(at::kCPU, at::kLong)
                                  .contiguous();
  const auto* ids = question.const_data_ptr<int64_t>();
  // Ends of the tokens in the text. Decoding prefixes, not tokens: what a token adds depends on those before.
  std::vector<size_t> end;
  std::string text;
  for (int64_t i = 0; i < question.numel(); ++i) {
    text = decode(std::vector<int64_t>(ids, ids + i + 1));
    end.push_back(text.size());
  }
  const size_t at = find_word(text, word);
  if (at == std::string::npos) {
    throw UsageError("--word: expected a word of the question, found \"{}\"; the question reads \"{}\"", word,
                     text);
  }
  if (find_word(text, word, at + word.size()) != std::string::npos)
    log_warning("--word {}: the question has it more than once; the first is taken", word);
  std::vector<int64_t> tokens;
  size_t begin = 0;
  for (size_t i = 0; i < end.size(); ++i) {
    if (begin < at + word.size() && end[i] > at)
      tokens.push_back(input.question_first + static_cast<int64_t>(i));
    begin = std::max(begin, end[i]);
  }
  return tokens;
}

}  // namespace ropescope
