#include "ropescope/audit/id_rule.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/zeros.h>

namespace ropescope {

namespace {

using Triple = std::array<double, 3>;

/// Gives out the ids of one stretch, token by token.
class StretchIds {
 public:
  StretchIds(const AuditedPrompt& prompt, const IdRule& rule, const std::vector<double>& steps)
      : prompt_(prompt), rule_(rule), steps_(steps) {}

  void add(const Stretch& stretch) {
    size_t block = 0;
    for (const Segment& segment : stretch.layout.segments) {
      const bool text = segment.kind == Segment::Kind::kText;
      const size_t item = text ? 0 : static_cast<size_t>(stretch.items[block++]);
      if (text || rule_.one_row) {
        for (int64_t k = 0; k < segment.tokens(); ++k) put({next_, next_, next_}), ++next_;
      } else {
        add_block(segment.grid, item);
      }
    }
  }

  const std::vector<Triple>& ids() const { return ids_; }
  double next() const { return next_; }
  double largest() const { return largest_; }

 private:
  void add_block(const Grid& grid, size_t item) {
    const auto step = static_cast<float>(steps_[item]);
    const bool zero = rule_.origin == IdRule::Origin::kAllZero;
    const double spatial = rule_.origin == IdRule::Origin::kRunning ? next_ : 0.0;
    double last = 0;
    for (int64_t tau = 0; tau < grid.t; ++tau) {
      // A float32 product that is cut, as the public code takes it.
      const double time = std::trunc(static_cast<double>(step * static_cast<float>(tau)));
      last = time;
      const double t = rule_.time_scales_origin ? next_ * interval(item) : (zero ? 0.0 : next_) + time;
      for (int64_t y = 0; y < grid.h; ++y) {
        for (int64_t x = 0; x < grid.w; ++x) {
          put({t, spatial + static_cast<double>(y), spatial + static_cast<double>(x)});
        }
      }
    }
    const auto extent = static_cast<double>(std::max(grid.h, grid.w));
    switch (rule_.after) {
      case IdRule::After::kLargest:
        next_ += std::max(last + 1, extent);
        break;
      case IdRule::After::kExtent:
        next_ += extent;
        break;
      case IdRule::After::kTokens:
        next_ += static_cast<double>(grid.tokens());
        break;
    }
  }

  /// transformers 5.3: tokens a second times the whole seconds of a clip; a picture counts as one second.
  double interval(size_t item) const {
    if (prompt_.ids_per_second <= 0) return 1;
    const AuditedItem& what = prompt_.items[item];
    return prompt_.ids_per_second * (what.kind == MediaKind::kVideo ? std::trunc(what.seconds) : 1.0);
  }

  void put(const Triple& id) {
    ids_.push_back(id);
    largest_ = std::max({largest_, id[0], id[1], id[2]});
  }

  const AuditedPrompt& prompt_;
  const IdRule& rule_;
  const std::vector<double>& steps_;
  std::vector<Triple> ids_;
  double next_ = 0, largest_ = -1;
};

class Columns {
 public:
  Columns(const AuditedPrompt& prompt, const IdRule& rule, const IdWindow& window)
      : prompt_(prompt),
        rule_(rule),
        window_(window),
        ids_(at::zeros({prompt.axes, prompt.batch, window.count}, at::kDouble)) {}

  void put(int64_t row, int64_t token, const Triple& id) {
    const int64_t column = token - window_.first;
    if (column < 0 || column >= window_.count) return;
    auto out = ids_.accessor<double, 3>();
    for (int64_t axis = 0; axis < prompt_.axes; ++axis) {
      out[axis][row][column] = id[static_cast<size_t>(rule_.order[static_cast<size_t>(axis)])];
    }
  }

  void put_generated(int64_t row, double first) {
    for (int64_t t = std::max(prompt_.tokens, window_.first); t < window_.end(); ++t) {
      const double id = first + static_cast<double>(t - prompt_.tokens);
      put(row, t, {id, id, id});
    }
  }

  at::Tensor ids() {
    for (size_t row = 0; row < rule_.shift.size(); ++row) {
      ids_.select(1, static_cast<int64_t>(row)).add_(rule_.shift[row]);
    }
    return ids_;
  }

 private:
  const AuditedPrompt& prompt_;
  const IdRule& rule_;
  const IdWindow& window_;
  at::Tensor ids_;
};

double first_generated(const AuditedPrompt& prompt, const IdRule& rule, const StretchIds& last, int64_t row,
                       int64_t seen) {
  switch (rule.decode) {
    case IdRule::Decode::kNext:
      return last.next();
    case IdRule::Decode::kLargest:
      return last.largest() + 1;
    case IdRule::Decode::kSeenTokens:
      return static_cast<double>(seen);
    case IdRule::Decode::kAllTokens:
      return static_cast<double>(prompt.tokens);
    case IdRule::Decode::kZero:
      return 0;
    case IdRule::Decode::kGiven:
      return rule.decode_from[static_cast<size_t>(row)];
  }
  return 0;
}

}  // namespace

std::vector<double> rule_steps(const AuditedPrompt& prompt) {
  std::vector<double> steps;
  for (const AuditedItem& item : prompt.items) {
    const bool seconds = prompt.ids_per_second > 0 && item.seconds > 0;
    steps.push_back(seconds ? static_cast<double>(static_cast<float>(prompt.ids_per_second) *
                                                  static_cast<float>(item.seconds))
                            : prompt.frame_step);
  }
  return steps;
}

at::Tensor ids_under(const AuditedPrompt& prompt, const IdRule& rule, const IdWindow& window) {
  const auto all = stretches(prompt, rule.counting);
  if (!all) return {};
  const std::vector<double> steps = rule.steps ? *rule.steps : rule_steps(prompt);
  Columns columns(prompt, rule, window);
  int64_t part = 0, seen = 0;
  for (size_t s = 0; s < all->size(); ++s) {
    const Stretch& stretch = (*all)[s];
    const bool first = s == 0 || (*all)[s - 1].row != stretch.row;
    part = first ? 0 : part + 1;
    seen = (first ? 0 : seen) + static_cast<int64_t>(stretch.places.size());
    StretchIds made(prompt, rule, steps);
    made.add(stretch);
    std::vector<Triple> ids = made.ids();
    for (size_t k = 0; k < ids.size(); ++k) {
      if (rule.chunk > 0) ids[k] = ids[k % static_cast<size_t>(rule.chunk)];
      if (rule.later_parts && part > 0) ids[k] = {*rule.later_parts, *rule.later_parts, *rule.later_parts};
      columns.put(stretch.row, stretch.places[k], ids[k]);
    }
    const bool ends = s + 1 == all->size() || (*all)[s + 1].row != stretch.row;
    if (ends) columns.put_generated(stretch.row, first_generated(prompt, rule, made, stretch.row, seen));
  }
  return columns.ids();
}

}  // namespace ropescope
