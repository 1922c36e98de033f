#include "ropescope/train/vlm_batch.h"

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

/// One past the end of what stands for a picture from ids[at] on: one token, or all its runs and what lies between them.
size_t item_end(const std::vector<int64_t>& ids, size_t at, const MediaPlan& plan, bool singles,
                const MediaMarks& marks) {
  if (singles || ids[at] == MediaMarks::kAnyItem) return at + 1;
  size_t end = at;
  for (size_t r = 0; r < plan.runs.size(); ++r) {
    while (r > 0 && end < ids.size() && !marks.holds(ids[end])) ++end;
    for (int64_t i = 0; i < plan.runs[r].tokens; ++i, ++end) {
      if (end == ids.size() || !marks.holds(ids[end])) return at + 1;
    }
  }
  return end;
}

int64_t places(const std::vector<int64_t>& ids, const MediaMarks& marks) {
  return std::count_if(ids.begin(), ids.end(), [&](int64_t id) { return marks.holds(id); });
}

/// Calls visit(end, tokens, is_item) for each text token and each picture of a row, in order, until it returns false;
/// `end` is one past it among the ids.
template <typename Visit>
void visit_pieces(const VlmRow& row, const MediaMarks& marks, const Visit& visit) {
  const std::vector<int64_t>& ids = row.text.ids;
  const bool singles = places(ids, marks) == static_cast<int64_t>(row.items.size());
  size_t next = 0;
  for (size_t at = 0; at < ids.size();) {
    if (!marks.holds(ids[at])) {
      if (!visit(at + 1, int64_t{1}, false)) return;
      ++at;
      continue;
    }
    if (next == row.items.size()) {
      throw InputError("{}: expected image tokens of {} images, found more", row.name, row.items.size());
    }
    const MediaPlan& plan = row.items[next++].plan;
    const size_t end = item_end(ids, at, plan, singles, marks);
    const bool one = end == at + 1;
    if (!visit(end, one ? plan.tokens() : static_cast<int64_t>(end - at), true)) return;
    at = end;
  }
}

std::vector<MediaPlan> plans_of(const std::vector<VlmRow>& rows, const std::vector<size_t>& chosen) {
  std::vector<MediaPlan> plans;
  for (const size_t index : chosen) {
    for (const MediaItem& item : rows[index].items) plans.push_back(item.plan);
  }
  return plans;
}

/// What a row's positions follow from.
std::string layout_of(const std::vector<VlmRow>& rows, size_t index, const Vlm& vlm) {
  const LabeledIds& text = rows[index].text;
  const TextBatch one = pad_rows({text.ids}, {text.labels}, {}, /*pad_id=*/0);
  const MediaPrompt prompt = place_media(one.input_ids, {}, plans_of(rows, {index}), media_marks(vlm.config),
                                         vlm.decoder.config.vocab_size);
  return layout_text(prompt.layouts.front());
}

/// Labels of the expanded prompt [B, T]: those of the text, in order; none at tokens of pictures and padding.
at::Tensor expanded_labels(const std::vector<VlmRow>& rows, const std::vector<size_t>& chosen,
                           const MediaPrompt& prompt, const MediaMarks& marks) {
  const int64_t tokens = prompt.input_ids.size(1);
  const at::Tensor labels = at::full(prompt.input_ids.sizes(), kIgnoredLabel, at::kLong);
  auto* all = labels.mutable_data_ptr<int64_t>();
  for (size_t b = 0; b < chosen.size(); ++b) {
    const LabeledIds& text = rows[chosen[b]].text;
    size_t next = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      const size_t at = b * static_cast<size_t>(tokens) + static_cast<size_t>(t);
      if (prompt.item_of[at] != MediaPrompt::kText) continue;
      while (next < text.ids.size() && marks.holds(text.ids[next])) ++next;
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

PassEncoding batch_encoding(const MediaPrompt& prompt, const DecoderConfig& config,
                            const std::optional<Scheme>& scheme) {
  const int64_t tokens = prompt.input_ids.size(1);
  if (!scheme) {
    const at::Tensor ids = own_position_ids(config, prompt);
    return ids.defined() ? encoding_for(config, ids) : plain_encoding(config, tokens);
  }
  std::map<std::string, PassEncoding> made;
  std::vector<const PassEncoding*> rows;
  for (const Layout& layout : prompt.layouts) {
    const auto [found, is_new] = made.try_emplace(layout_text(layout));
    if (is_new) {
      found->second = SequenceEncoding(*scheme, layout, encoded_model(config)).pass(0, tokens);
    }
    rows.push_back(&found->second);
  }
  return made.size() == 1 ? *rows.front() : stacked(rows);
}

}  // namespace

bool mixes_layouts(const DecoderConfig& config, const std::optional<Scheme>& scheme) {
  return !depends_on_length(config) && !(scheme && scheme->changes_attention());
}

int64_t expanded_length(const VlmRow& row, const MediaMarks& marks) {
  int64_t length = 0;
  visit_pieces(row, marks, [&](size_t, int64_t tokens, bool) {
    length += tokens;
    return true;
  });
  return length;
}

void cut_row(VlmRow& row, int64_t longest, const MediaMarks& marks) {
  if (longest <= 0) return;
  int64_t length = 0;
  size_t kept = 0, items = 0;
  visit_pieces(row, marks, [&](size_t end, int64_t tokens, bool is_item) {
    length += tokens;
    if (length > longest) return false;
    kept = end;
    items += is_item ? 1 : 0;
    return true;
  });
  row.text.ids.resize(kept);
  row.text.labels.resize(kept);
  row.items.resize(items);
}

std::vector<std::vector<size_t>> group_rows(const std::vector<VlmRow>& rows, const Vlm& vlm,
                                            const std::optional<Scheme>& scheme, bool packing) {
  const bool mixes = mixes_layouts(vlm.decoder.config, scheme);
  const MediaMarks marks = media_marks(vlm.config);
  std::vector<int64_t> lengths;
  std::vector<std::string> layouts;
  for (size_t i = 0; i < rows.size(); ++i) {
    lengths.push_back(expanded_length(rows[i], marks));
    layouts.push_back(mixes ? "" : layout_of(rows, i, vlm));
  }
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return lengths[a] != lengths[b] ? lengths[a] > lengths[b] : layouts[a] < layouts[b];
  });
  if (mixes && packing && !order.empty()) return {order};
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

VlmBatch batch_rows(const std::vector<VlmRow>& rows, const std::vector<size_t>& chosen, const Vlm& vlm,
                    const std::optional<Scheme>& scheme) {
  VlmBatch batch;
  std::vector<std::vector<int64_t>> ids, labels;
  for (const size_t index : chosen) {
    const VlmRow& row = rows[index];
    ids.push_back(row.text.ids);
    labels.push_back(row.text.labels);
    batch.items.insert(batch.items.end(), row.items.begin(), row.items.end());
  }
  const TextBatch padded = pad_rows(ids, labels, {}, /*pad_id=*/0);
  const MediaMarks marks = media_marks(vlm.config);
  batch.prompt = place_media(padded.input_ids, padded.attention_mask, plans_of(rows, chosen), marks,
                             vlm.decoder.config.vocab_size);
  batch.labels = expanded_labels(rows, chosen, batch.prompt, marks);
  batch.encoding = batch_encoding(batch.prompt, vlm.decoder.config, scheme);
  return batch;
}

VlmBatch packed_rows(const VlmBatch& padded, const std::vector<int64_t>& lengths) {
  VlmBatch batch;
  batch.items = padded.items;
  batch.segment_lengths = lengths;
  batch.encoding = packed_encoding(padded.encoding, lengths);
  // No row has a target that the row before it would have to tell.
  const at::Tensor targets = padded.labels.clone();
  targets.select(1, 0).fill_(kIgnoredLabel);
  const int64_t tokens = padded.labels.size(1);
  std::vector<at::Tensor> ids, labels;
  for (size_t row = 0; row < lengths.size(); ++row) {
    const auto b = static_cast<int64_t>(row);
    ids.push_back(padded.prompt.input_ids.narrow(0, b, 1).narrow(1, 0, lengths[row]));
    labels.push_back(targets.narrow(0, b, 1).narrow(1, 0, lengths[row]));
    const auto from = padded.prompt.item_of.begin() + b * tokens;
    batch.prompt.item_of.insert(batch.prompt.item_of.end(), from, from + lengths[row]);
  }
  batch.prompt.input_ids = at::cat(ids, 1);
  batch.labels = at::cat(labels, 1);
  return batch;
}

}  // namespace ropescope
