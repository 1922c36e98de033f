#include "ropescope/train/llava_batch.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include "ropescope/core/errors.h"
#include "ropescope/train/vocabulary_loss.h"

namespace ropescope {

namespace {

// Of a batch's tokens, real ones.
constexpr double kLeastFilled = 0.8;

/// A placeholder, or a full run of image tokens, at ids[at]: one past its end.
size_t image_end(const std::vector<int64_t>& ids, size_t at, int64_t tokens, bool singles,
                 const LlavaConfig& config) {
  if (singles) return at + 1;
  size_t end = at;
  while (end < ids.size() && config.is_image(ids[end]) && static_cast<int64_t>(end - at) < tokens) ++end;
  return static_cast<int64_t>(end - at) == tokens ? end : at + 1;
}

int64_t places(const std::vector<int64_t>& ids, const LlavaConfig& config) {
  return std::count_if(ids.begin(), ids.end(), [&](int64_t id) { return config.is_image(id); });
}

/// Calls visit(first, last, image) for each text token (image < 0) and each image of a row, in order, until
/// it returns false.
template <typename Visit>
void visit_pieces(const LlavaRow& row, const LlavaConfig& config, const Visit& visit) {
  const std::vector<int64_t>& ids = row.text.ids;
  const bool singles = places(ids, config) == static_cast<int64_t>(row.images.size());
  int64_t next = 0;
  for (size_t at = 0; at < ids.size();) {
    if (!config.is_image(ids[at])) {
      if (!visit(at, at + 1, int64_t{-1})) return;
      ++at;
      continue;
    }
    if (next == static_cast<int64_t>(row.images.size())) {
      throw InputError("{}: expected image tokens of {} images, found more", row.name, row.images.size());
    }
    const AnyresGeometry& geometry = row.images[static_cast<size_t>(next)].geometry;
    const size_t end = image_end(ids, at, geometry.tokens, singles, config);
    if (!visit(at, end, next)) return;
    ++next;
    at = end;
  }
}

/// What a row's positions follow from.
std::string layout_of(const LlavaRow& row, const LlavaConfig& config) {
  Layout layout;
  visit_pieces(row, config, [&](size_t, size_t, int64_t image) {
    if (image >= 0) {
      layout.segments.push_back(image_segment(row.images[static_cast<size_t>(image)].geometry));
    } else if (layout.segments.empty() || layout.segments.back().kind != Segment::Kind::kText) {
      layout.segments.emplace_back().text = 1;
    } else {
      ++layout.segments.back().text;
    }
    return true;
  });
  return layout_text(layout);
}

/// Labels of the expanded prompt [B, T]: those of the text, in order; none at image tokens and padding.
at::Tensor expanded_labels(const std::vector<LlavaRow>& rows, const std::vector<size_t>& chosen,
                           const ImagePrompt& prompt, const LlavaConfig& config) {
  const int64_t tokens = prompt.input_ids.size(1);
  const at::Tensor labels = at::full(prompt.input_ids.sizes(), kIgnoredLabel, at::kLong);
  auto* all = labels.mutable_data_ptr<int64_t>();
  for (size_t b = 0; b < chosen.size(); ++b) {
    const LabeledIds& text = rows[chosen[b]].text;
    size_t next = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      const size_t at = b * static_cast<size_t>(tokens) + static_cast<size_t>(t);
      if (prompt.image_of[at] != ImagePrompt::kText) continue;
      while (next < text.ids.size() && config.is_image(text.ids[next])) ++next;
      if (next < text.ids.size()) all[at] = text.labels[next++];
    }
  }
  return labels;
}

RotaryTable stacked(const std::vector<const RotaryTable*>& rows) {
  if (!rows.front()->turns()) return *rows.front();
  std::vector<at::Tensor> cos, sin;
  for (const RotaryTable* row : rows) {
    cos.push_back(row->cos);
    sin.push_back(row->sin);
  }
  return {at::cat(cos, 0), at::cat(sin, 0), rows.front()->layout};
}

/// One encoding for a batch whose rows have encodings of their own that only rotate.
PassEncoding stacked(const std::vector<const PassEncoding*>& rows) {
  PassEncoding all;
  for (size_t l = 0; l < rows.front()->rotary.size(); ++l) {
    std::vector<const RotaryTable*> tables;
    for (const PassEncoding* row : rows) tables.push_back(&row->rotary[l]);
    all.rotary.push_back(stacked(tables));
  }
  std::vector<at::Tensor> positions;
  for (const PassEncoding* row : rows) positions.push_back(row->positions);
  all.positions = at::cat(positions, 0);
  return all;
}

PassEncoding batch_encoding(const ImagePrompt& prompt, const LlavaConfig& config,
                            const std::optional<Scheme>& scheme) {
  const int64_t tokens = prompt.input_ids.size(1);
  if (!scheme) {
    return plain_encoding(config.decoder, tokens);
  }
  std::map<std::string, PassEncoding> made;
  std::vector<const PassEncoding*> rows;
  for (const Layout& layout : prompt.layouts) {
    const auto [found, is_new] = made.try_emplace(layout_text(layout));
    if (is_new) {
      found->second = SequenceEncoding(*scheme, layout, encoded_model(config.decoder)).pass(0, tokens);
    }
    rows.push_back(&found->second);
  }
  return made.size() == 1 ? *rows.front() : stacked(rows);
}

}  // namespace

bool mixes_layouts(const LlavaConfig& config, const std::optional<Scheme>& scheme) {
  return !depends_on_length(config.decoder) && !(scheme && scheme->changes_attention());
}

int64_t expanded_length(const LlavaRow& row, const LlavaConfig& config) {
  int64_t tokens = 0;
  visit_pieces(row, config, [&](size_t, size_t, int64_t image) {
    tokens += image < 0 ? 1 : row.images[static_cast<size_t>(image)].geometry.tokens;
    return true;
  });
  return tokens;
}

void cut_row(LlavaRow& row, int64_t longest, const LlavaConfig& config) {
  if (longest <= 0) return;
  int64_t tokens = 0;
  size_t kept = 0, images = 0;
  visit_pieces(row, config, [&](size_t, size_t end, int64_t image) {
    tokens += image < 0 ? 1 : row.images[static_cast<size_t>(image)].geometry.tokens;
    if (tokens > longest) return false;
    kept = end;
    images += image < 0 ? 0 : 1;
    return true;
  });
  row.text.ids.resize(kept);
  row.text.labels.resize(kept);
  row.images.resize(images);
}

std::vector<std::vector<size_t>> group_rows(const std::vector<LlavaRow>& rows, const LlavaConfig& config,
                                            const std::optional<Scheme>& scheme) {
  const bool mixes = mixes_layouts(config, scheme);
  std::vector<int64_t> lengths;
  std::vector<std::string> layouts;
  for (const LlavaRow& row : rows) {
    lengths.push_back(expanded_length(row, config));
    layouts.push_back(mixes ? "" : layout_of(row, config));
  }
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return lengths[a] != lengths[b] ? lengths[a] > lengths[b] : layouts[a] < layouts[b];
  });
  std::vector<std::vector<size_t>> groups;
  int64_t longest = 0, real = 0;
  for (const size_t row : order) {
    const bool first = groups.empty();
    const auto size = first ? int64_t{0} : static_cast<int64_t>(groups.back().size());
    const bool filled =
        mixes ? static_cast<double>(real + lengths[row]) >=
                    kLeastFilled * static_cast<double>(longest * (size + 1))
              : longest == lengths[row] && !first && layouts[groups.back().front()] == layouts[row];
    if (first || !filled) {
      groups.emplace_back();
      longest = lengths[row];
      real = 0;
    }
    groups.back().push_back(row);
    real += lengths[row];
  }
  return groups;
}

LlavaBatch batch_rows(const std::vector<LlavaRow>& rows, const std::vector<size_t>& chosen,
                      const LlavaConfig& config, const std::optional<Scheme>& scheme) {
  LlavaBatch batch;
  std::vector<std::vector<int64_t>> ids, labels;
  std::vector<AnyresGeometry> geometries;
  for (const size_t index : chosen) {
    const LlavaRow& row = rows[index];
    ids.push_back(row.text.ids);
    labels.push_back(row.text.labels);
    for (const LlavaImage& image : row.images) {
      batch.images.push_back(image);
      geometries.push_back(image.geometry);
    }
  }
  const TextBatch padded = pad_rows(ids, labels, {}, /*pad_id=*/0);
  batch.prompt = expand_images(padded.input_ids, padded.attention_mask, geometries, config);
  batch.labels = expanded_labels(rows, chosen, batch.prompt, config);
  batch.encoding = batch_encoding(batch.prompt, config, scheme);
  return batch;
}

}  // namespace ropescope
