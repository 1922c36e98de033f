// Image tokens of a prompt: from whatever form they come in to full runs, and the layout that follows.
#include <algorithm>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/llava.h"

namespace ropescope {

namespace {

struct Row {
  std::vector<int64_t> ids, mask, image_of;
  Layout layout;

  void add_text(int64_t id, int64_t seen, int64_t kind = ImagePrompt::kText) {
    ids.push_back(id);
    mask.push_back(seen);
    image_of.push_back(kind);
    if (layout.segments.empty() || layout.segments.back().kind != Segment::Kind::kText) {
      layout.segments.emplace_back();
    }
    ++layout.segments.back().text;
  }

  void add_image(const Segment& segment, int64_t id, int64_t seen, int64_t image) {
    const auto tokens = static_cast<size_t>(segment.tokens());
    ids.insert(ids.end(), tokens, id);
    mask.insert(mask.end(), tokens, seen);
    image_of.insert(image_of.end(), tokens, image);
    layout.segments.push_back(segment);
  }
};

/// Gives out the images in order.
class Expansion {
 public:
  Expansion(const std::vector<AnyresGeometry>& images, const LlavaConfig& config, int64_t places)
      : images_(images), config_(config), singles_(places == static_cast<int64_t>(images.size())) {}

  bool is_image(int64_t id) const { return config_.is_image(id); }

  // Images that begin a run of `length` image tokens; returns how many tokens of the run they were.
  int64_t take(int64_t length, int64_t seen, Row& row) {
    if (next_ >= images_.size()) {
      throw InputError("input_ids: expected image tokens of {} images, found more", images_.size());
    }
    const AnyresGeometry& geometry = images_[next_];
    const bool full = !singles_ && length >= geometry.tokens;
    const auto left = static_cast<int64_t>(images_.size() - next_);
    if (!full && !singles_ && length > left) {
      throw InputError(
          "input_ids: image {} ({}x{} pixels) has {} tokens: expected that many image tokens in a row, or "
          "one, found {}",
          next_ + 1, geometry.size_wh[0], geometry.size_wh[1], geometry.tokens, length);
    }
    row.add_image(image_segment(geometry), config_.image_token_id.value_or(kImagePlaceholder), seen,
                  static_cast<int64_t>(next_));
    ++next_;
    return full ? geometry.tokens : 1;
  }

  size_t taken() const { return next_; }

 private:
  const std::vector<AnyresGeometry>& images_;
  const LlavaConfig& config_;
  bool singles_;  // every image token stands for a whole image
  size_t next_ = 0;
};

Row expand_row(const int64_t* ids, const int64_t* mask, int64_t tokens, int64_t vocab_size,
               Expansion& expansion) {
  Row row;
  for (int64_t i = 0; i < tokens;) {
    const int64_t seen = mask == nullptr ? 1 : mask[i];
    if (!expansion.is_image(ids[i])) {
      if (ids[i] < 0 || ids[i] >= vocab_size) {
        throw InputError("input_ids: expected ids from 0 to {}, or an image token, found {}", vocab_size - 1,
                         ids[i]);
      }
      row.add_text(ids[i++], seen);
      continue;
    }
    int64_t end = i + 1;
    while (end < tokens && expansion.is_image(ids[end])) ++end;
    while (i < end) i += expansion.take(end - i, seen, row);
  }
  return row;
}

Row without_hidden_tokens(const Row& row) {
  Row real;
  auto block = row.layout.segments.begin();
  for (size_t i = 0; i < row.ids.size();) {
    if (row.image_of[i] == ImagePrompt::kText) {
      if (row.mask[i] != 0) real.add_text(row.ids[i], 1);
      ++i;
      continue;
    }
    while (block->kind == Segment::Kind::kText) ++block;
    const int64_t tokens = block->tokens();
    real.add_image(*block++, row.ids[i], row.mask[i], row.image_of[i]);
    i += static_cast<size_t>(tokens);
  }
  return real;
}

}  // namespace

ImagePrompt expand_images(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                          const std::vector<AnyresGeometry>& images, const LlavaConfig& config) {
  const at::Tensor ids = input_ids.to(at::kCPU, at::kLong).contiguous();
  const at::Tensor mask =
      attention_mask.defined() ? attention_mask.to(at::kCPU, at::kLong).contiguous() : at::Tensor();
  const int64_t batch = ids.size(0), given = ids.size(1);
  const auto* id_data = ids.const_data_ptr<int64_t>();
  const auto* mask_data = mask.defined() ? mask.const_data_ptr<int64_t>() : nullptr;
  const Expansion counter(images, config, 0);
  const int64_t places =
      std::count_if(id_data, id_data + ids.numel(), [&](int64_t id) { return counter.is_image(id); });
  Expansion expansion(images, config, places);
  std::vector<Row> rows;
  size_t shortest = SIZE_MAX, longest = 0;
  for (int64_t b = 0; b < batch; ++b) {
    rows.push_back(expand_row(id_data + b * given, mask_data == nullptr ? nullptr : mask_data + b * given,
                              given, config.decoder.vocab_size, expansion));
    shortest = std::min(shortest, rows.back().ids.size());
    longest = std::max(longest, rows.back().ids.size());
  }
  if (expansion.taken() != images.size()) {
    throw InputError("input_ids: expected image tokens of {} images, found {}", images.size(),
                     expansion.taken());
  }
  const bool uneven = shortest != longest;
  if (uneven) {
    longest = 0;
    for (Row& row : rows) {
      if (mask.defined()) row = without_hidden_tokens(row);
      longest = std::max(longest, row.ids.size());
    }
    for (Row& row : rows) {
      while (row.ids.size() < longest) row.add_text(0, 0, ImagePrompt::kPadding);
    }
  }
  ImagePrompt prompt;
  const auto tokens = static_cast<int64_t>(longest);
  prompt.input_ids = at::empty({batch, tokens}, at::kLong);
  const at::Tensor new_mask = at::empty({batch, tokens}, at::kLong);
  for (size_t b = 0; b < rows.size(); ++b) {
    const Row& row = rows[b];
    std::copy(row.ids.begin(), row.ids.end(), prompt.input_ids.mutable_data_ptr<int64_t>() + b * longest);
    std::copy(row.mask.begin(), row.mask.end(), new_mask.mutable_data_ptr<int64_t>() + b * longest);
    prompt.image_of.insert(prompt.image_of.end(), row.image_of.begin(), row.image_of.end());
    prompt.layouts.push_back(row.layout);
  }
  if (mask.defined() || uneven) prompt.attention_mask = new_mask;
  return prompt;
}

}  // namespace ropescope
