#include "ropescope/models/kv_cache.h"

#include <algorithm>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

// `start`: of the view in its buffer; set to 0 where the buffer is made anew.
void append_to(at::Tensor& view, at::Tensor& buffer, int64_t& start, const at::Tensor& fresh) {
  const int64_t past = view.defined() ? view.size(2) : 0;
  const int64_t total = past + fresh.size(2);
  if (at::GradMode::is_enabled()) {
    view = past == 0 ? fresh : at::cat({view, fresh}, 2);
    return;
  }
  const bool ours = buffer.defined() && view.defined() && view.is_alias_of(buffer);
  if (!ours || buffer.size(2) < start + total) {
    const int64_t capacity = past == 0 ? total : std::max(total, 2 * past);
    buffer = at::empty({fresh.size(0), fresh.size(1), capacity, fresh.size(3)}, fresh.options());
    if (past > 0) buffer.narrow(2, 0, past).copy_(view);
    start = 0;
  }
  buffer.narrow(2, start + past, fresh.size(2)).copy_(fresh);
  view = buffer.narrow(2, start, total);
}

template <typename T>
T& at_layer(std::vector<T>& list, int64_t layer) {
  if (list.size() <= static_cast<size_t>(layer)) list.resize(static_cast<size_t>(layer) + 1);
  return list[static_cast<size_t>(layer)];
}

}  // namespace

void KvCache::append(int64_t layer, const at::Tensor& k, const at::Tensor& v) {
  at_layer(values, layer);
  int64_t start = at_layer(starts_, layer);
  append_to(at_layer(keys, layer), at_layer(key_buffers_, layer), start, k);
  append_to(at_layer(values, layer), at_layer(value_buffers_, layer), at_layer(starts_, layer), v);
}

void KvCache::keep_last(int64_t layer, int64_t tokens) {
  at::Tensor& k = at_layer(keys, layer);
  at::Tensor& v = at_layer(values, layer);
  if (!k.defined() || k.size(2) <= tokens) return;
  const int64_t dropped = k.size(2) - tokens;
  at_layer(starts_, layer) += dropped;
  k = k.narrow(2, dropped, tokens);
  v = v.narrow(2, dropped, tokens);
}

DeltaState KvCache::state(int64_t layer) const {
  return static_cast<size_t>(layer) < states.size() ? states[static_cast<size_t>(layer)] : DeltaState();
}

void KvCache::set_state(int64_t layer, DeltaState state) { at_layer(states, layer) = std::move(state); }

void KvCache::keep_rows(const at::Tensor& index) {
  const auto of = [&](const at::Tensor& x) {
    return x.defined() ? x.index_select(0, index.to(x.device())) : x;
  };
  const auto keep = [&](std::vector<at::Tensor>& views, std::vector<at::Tensor>& buffers) {
    for (size_t layer = 0; layer < views.size(); ++layer) {
      at::Tensor& view = views[layer];
      if (!view.defined()) continue;
      const int64_t tokens = view.size(2);
      const bool buffered =
          layer < buffers.size() && buffers[layer].defined() && view.is_alias_of(buffers[layer]);
      if (!buffered) {
        view = of(view);
        continue;
      }
      buffers[layer] = of(buffers[layer]);
      view = buffers[layer].narrow(2, starts_[layer], tokens);
    }
  };
  keep(keys, key_buffers_);
  keep(values, value_buffers_);
  for (DeltaState& state : states) state = {of(state.conv), of(state.recurrent)};
  last_groups = of(last_groups);
}

bool KvCache::can_shorten() const {
  const auto whole = [this](const at::Tensor& k) { return !k.defined() || k.size(2) == seen_; };
  const auto none = [](const DeltaState& state) { return !state.recurrent.defined(); };
  return std::all_of(keys.begin(), keys.end(), whole) && std::all_of(states.begin(), states.end(), none);
}

KvCache KvCache::first(int64_t tokens) const {
  if (tokens != seen_ && (tokens > seen_ || !can_shorten())) {
    throw InternalError("cache: the first {} of {} tokens cannot be had of layers that keep the last ones",
                        tokens, seen_);
  }
  KvCache view;
  const auto cut = [&](const at::Tensor& x) {
    return x.defined() && tokens != seen_ ? x.narrow(2, 0, tokens) : x;
  };
  for (const at::Tensor& k : keys) view.keys.push_back(cut(k));
  for (const at::Tensor& v : values) view.values.push_back(cut(v));
  view.states = states;
  if (tokens == seen_) view.last_groups = last_groups;
  view.seen_ = tokens;
  return view;
}

KvCache KvCache::expanded(int64_t rows) const {
  KvCache view;
  const auto spread = [rows](const at::Tensor& x) {
    if (!x.defined()) return x;
    std::vector<int64_t> sizes(static_cast<size_t>(x.dim()), -1);
    sizes[0] = rows;
    return x.expand(sizes);
  };
  for (const at::Tensor& k : keys) view.keys.push_back(spread(k));
  for (const at::Tensor& v : values) view.values.push_back(spread(v));
  for (const DeltaState& state : states) view.states.push_back({spread(state.conv), spread(state.recurrent)});
  view.last_groups = spread(last_groups);
  view.seen_ = seen_;
  return view;
}

}  // namespace ropescope
