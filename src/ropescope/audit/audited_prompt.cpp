#include "ropescope/audit/audited_prompt.h"

#include <algorithm>
#include <numeric>

#include <fmt/ranges.h>

#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/vlm.h"
#include "ropescope/rope/scheme.h"

namespace ropescope {

namespace {

/// Runs of placeholders of a model whose ids have one row: they only say where a token stands.
void name_runs(const MediaMarks& marks, const at::Tensor& input_ids, AuditedPrompt& prompt) {
  const at::Tensor ids = input_ids.contiguous();
  const auto* id = ids.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < prompt.batch; ++b) {
    bool inside = false;
    for (int64_t t = 0; t < prompt.tokens; ++t, ++id) {
      const bool mark = marks.holds(*id);
      if (mark && !inside) {
        prompt.items.push_back({*id == marks.image ? MediaKind::kImage : MediaKind::kVideo, 1, 0});
      }
      if (mark) {
        prompt.item_of[static_cast<size_t>(b * prompt.tokens + t)] =
            static_cast<int64_t>(prompt.items.size()) - 1;
      }
      inside = mark;
    }
  }
}

Layout plain_text(int64_t tokens) {
  Layout layout;
  layout.segments.emplace_back();
  layout.segments.back().text = tokens;
  return layout;
}

void take_placed(const MediaPrompt& placed, const std::vector<MediaPlan>& plans, AuditedPrompt& prompt) {
  prompt.tokens = placed.input_ids.size(1);
  prompt.layouts = placed.layouts;
  prompt.item_of = placed.item_of;
  for (const auto& row : placed.blocks) {
    std::vector<int64_t> items;
    for (const MediaPrompt::Block& block : row) items.push_back(block.item);
    prompt.blocks.push_back(std::move(items));
  }
  for (const MediaPlan& plan : plans) {
    prompt.items.push_back({plan.kind, plan.runs.front().t, plan.second_per_grid});
  }
}

void number_parts(const PromptInputs& inputs, const at::Tensor& mask, AuditedPrompt& prompt) {
  const auto places = static_cast<size_t>(prompt.batch * prompt.tokens);
  prompt.part_of.assign(places, 0);
  if (!inputs.parts.empty()) {
    const int64_t sum = std::accumulate(inputs.parts.begin(), inputs.parts.end(), int64_t{0});
    if (sum != prompt.tokens) {
      throw InputError("packed texts: expected lengths that sum to the {} tokens of a row, found {} (sum {})",
                       prompt.tokens, fmt::join(inputs.parts, ","), sum);
    }
    size_t at = 0;
    for (int64_t b = 0; b < prompt.batch; ++b) {
      for (size_t part = 0; part < inputs.parts.size(); ++part) {
        for (int64_t k = 0; k < inputs.parts[part]; ++k) prompt.part_of[at++] = static_cast<int64_t>(part);
      }
    }
  }
  if (!mask.defined()) return;
  if (mask.size(0) != prompt.batch || mask.size(1) != prompt.tokens) {
    throw InputError("attention_mask: expected [{}, {}] as input_ids have it, found [{}, {}]", prompt.batch,
                     prompt.tokens, mask.size(0), mask.size(1));
  }
  const at::Tensor seen = mask.contiguous();
  const auto* number = seen.const_data_ptr<int64_t>();
  for (size_t i = 0; i < places; ++i) {
    if (number[i] == 0) {
      prompt.part_of[i] = AuditedPrompt::kHidden;
    } else if (inputs.parts.empty()) {
      prompt.part_of[i] = number[i] - 1;
    }
  }
}

void check_mask(const at::Tensor& mask) {
  if (mask.min().item<int64_t>() < 0 || mask.max().item<int64_t>() > mask.size(1)) {
    throw InputError(
        "attention_mask: expected 0 (padding), 1 (real token) or the number of a packed text, found {}",
        mask.min().item<int64_t>() < 0 ? mask.min().item<int64_t>() : mask.max().item<int64_t>());
  }
}

/// Makes stretches of one row's tokens.
class RowCutter {
 public:
  RowCutter(const AuditedPrompt& prompt, int64_t row, const Counting& counting)
      : prompt_(prompt), row_(row), counting_(counting) {}

  bool cut(std::vector<Stretch>& all) {
    const auto row = static_cast<size_t>(row_);
    size_t block = 0;
    int64_t at = 0;
    for (const Segment& segment : prompt_.layouts[row].segments) {
      const int64_t tokens = segment.tokens();
      const bool text = segment.kind == Segment::Kind::kText;
      for (int64_t k = 0; k < tokens; ++k, ++at) {
        const bool restarts = std::binary_search(counting_.restarts.begin(), counting_.restarts.end(), at);
        const bool hidden = prompt_.hidden(row_, at);
        if (text && hidden && !counting_.hidden_too) continue;
        const int64_t part = hidden ? std::max<int64_t>(part_, 0)
                                    : prompt_.part_of[static_cast<size_t>(row_ * prompt_.tokens + at)];
        const bool fresh = part_ < 0 || restarts || (!counting_.joined && part != part_);
        if (fresh && !text && k > 0) return false;
        if (fresh) all.push_back({row_, {}, {}, {}});
        part_ = part;
        Stretch& stretch = all.back();
        stretch.places.push_back(at);
        if (text) {
          add_text(stretch.layout);
        } else if (k == 0) {
          stretch.layout.segments.push_back(segment);
          stretch.items.push_back(prompt_.blocks[row][block]);
        }
      }
      if (!text) ++block;
    }
    return true;
  }

 private:
  static void add_text(Layout& layout) {
    if (layout.segments.empty() || layout.segments.back().kind != Segment::Kind::kText) {
      layout.segments.emplace_back();
    }
    ++layout.segments.back().text;
  }

  const AuditedPrompt& prompt_;
  int64_t row_;
  const Counting& counting_;
  int64_t part_ = -1;
};

}  // namespace

bool AuditedPrompt::packed() const {
  return std::any_of(part_of.begin(), part_of.end(), [](int64_t part) { return part > 0; });
}

bool AuditedPrompt::padded() const {
  return std::find(part_of.begin(), part_of.end(), kHidden) != part_of.end();
}

bool AuditedPrompt::has_clip() const {
  return std::any_of(items.begin(), items.end(), [](const AuditedItem& item) { return item.groups > 1; });
}

AuditedPrompt audited_prompt(const DecoderConfig& config, const VlmConfig* vlm, const PromptInputs& inputs) {
  AuditedPrompt prompt;
  prompt.rule = config.native_scheme();
  prompt.axes = config.rope_axes ? 3 : 1;
  if (config.rope_axes) prompt.frame_step = config.rope_axes->frame_step;
  at::Tensor mask = inputs.attention_mask;
  if (mask.defined()) check_mask(mask);
  const bool placed =
      inputs.input_ids.defined() && vlm != nullptr && (config.rope_axes || !inputs.plans.empty());
  if (placed) {
    const MediaMarks marks = media_marks(*vlm);
    prompt.ids_per_second = marks.ids_per_second;
    prompt.frames_in_group = vlm->vision.temporal_patch_size;
    const MediaPrompt media = place_media(inputs.input_ids, mask, inputs.plans, marks, config.vocab_size);
    prompt.batch = media.input_ids.size(0);
    take_placed(media, inputs.plans, prompt);
    if (prompt.tokens != inputs.input_ids.size(1)) mask = media.attention_mask;
  } else {
    const at::Tensor& ids = inputs.input_ids;
    prompt.batch = ids.defined() ? ids.size(0) : inputs.batch;
    prompt.tokens = ids.defined() ? ids.size(1) : inputs.tokens;
    prompt.layouts.assign(static_cast<size_t>(prompt.batch), plain_text(prompt.tokens));
    prompt.blocks.resize(static_cast<size_t>(prompt.batch));
    prompt.item_of.assign(static_cast<size_t>(prompt.batch * prompt.tokens), MediaPrompt::kText);
    if (ids.defined() && vlm != nullptr) name_runs(media_marks(*vlm), ids, prompt);
  }
  number_parts(inputs, mask, prompt);
  if (!stretches(prompt)) {
    throw InputError("packed texts: expected them to end between pictures, found an end inside one");
  }
  return prompt;
}

std::optional<std::vector<Stretch>> stretches(const AuditedPrompt& prompt, const Counting& counting) {
  std::vector<Stretch> all;
  for (int64_t row = 0; row < prompt.batch; ++row) {
    if (!RowCutter(prompt, row, counting).cut(all)) return std::nullopt;
  }
  return all;
}

at::Tensor ids_of_rule(const AuditedPrompt& prompt, const IdWindow& window) {
  const Scheme scheme(prompt.rule);
  at::Tensor ids = at::zeros({prompt.axes, prompt.batch, window.count}, at::kDouble);
  auto out = ids.accessor<double, 3>();
  const std::vector<Stretch> all = *stretches(prompt);
  for (size_t s = 0; s < all.size(); ++s) {
    const Stretch& stretch = all[s];
    const Positions positions = scheme.positions(stretch.layout);
    const auto own = positions.coordinates.accessor<double, 2>();
    for (int64_t axis = 0; axis < prompt.axes; ++axis) {
      for (size_t k = 0; k < stretch.places.size(); ++k) {
        const int64_t column = stretch.places[k] - window.first;
        if (column < 0 || column >= window.count) continue;
        out[axis][stretch.row][column] = own[axis][static_cast<int64_t>(k)];
      }
      // The last text of a row is the one that is continued.
      if (s + 1 < all.size() && all[s + 1].row == stretch.row) continue;
      for (int64_t t = std::max(prompt.tokens, window.first); t < window.end(); ++t) {
        out[axis][stretch.row][t - window.first] = positions.next + static_cast<double>(t - prompt.tokens);
      }
    }
  }
  return ids;
}

at::Tensor text_positions(const AuditedPrompt& prompt, const IdWindow& window, const Counting& counting) {
  at::Tensor ids = at::zeros({1, prompt.batch, window.count}, at::kDouble);
  auto out = ids.accessor<double, 3>();
  const auto all = stretches(prompt, counting);
  if (!all) return ids;
  for (const Stretch& stretch : *all) {
    for (size_t k = 0; k < stretch.places.size(); ++k) {
      const int64_t column = stretch.places[k] - window.first;
      if (column >= 0 && column < window.count) out[0][stretch.row][column] = static_cast<double>(k);
    }
    const auto tokens = static_cast<double>(stretch.places.size());
    for (int64_t t = std::max(prompt.tokens, window.first); t < window.end(); ++t) {
      out[0][stretch.row][t - window.first] = tokens + static_cast<double>(t - prompt.tokens);
    }
  }
  return ids;
}

}  // namespace ropescope
