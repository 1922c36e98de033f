#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include "ropescope/models/decoder.h"

namespace ropescope {

namespace {

void append_to(at::Tensor& view, at::Tensor& buffer, const at::Tensor& fresh) {
  const int64_t past = view.defined() ? view.size(2) : 0;
  const int64_t total = past + fresh.size(2);
  if (at::GradMode::is_enabled()) {
    view = past == 0 ? fresh : at::cat({view, fresh}, 2);
    return;
  }
  const bool ours = buffer.defined() && view.defined() && view.is_alias_of(buffer);
  if (!ours || buffer.size(2) < total) {
    const int64_t capacity = past == 0 ? total : std::max(total, 2 * past);
    buffer = at::empty({fresh.size(0), fresh.size(1), capacity, fresh.size(3)}, fresh.options());
    if (past > 0) buffer.narrow(2, 0, past).copy_(view);
  }
  buffer.narrow(2, past, fresh.size(2)).copy_(fresh);
  view = buffer.narrow(2, 0, total);
}

}  // namespace

void KvCache::append(int64_t layer, const at::Tensor& k, const at::Tensor& v) {
  const auto index = static_cast<size_t>(layer);
  for (auto* list : {&keys, &values, &key_buffers_, &value_buffers_}) {
    if (list->size() <= index) list->resize(index + 1);
  }
  append_to(keys[index], key_buffers_[index], k);
  append_to(values[index], value_buffers_[index], v);
}

void KvCache::keep_rows(const at::Tensor& index) {
  const auto keep = [&](std::vector<at::Tensor>& views, std::vector<at::Tensor>& buffers) {
    for (size_t layer = 0; layer < views.size(); ++layer) {
      at::Tensor& view = views[layer];
      const int64_t tokens = view.size(2);
      const bool buffered =
          layer < buffers.size() && buffers[layer].defined() && view.is_alias_of(buffers[layer]);
      const at::Tensor whole = buffered ? buffers[layer] : view;
      const at::Tensor kept = whole.index_select(0, index.to(whole.device()));
      if (buffered) buffers[layer] = kept;
      view = kept.narrow(2, 0, tokens);
    }
  };
  keep(keys, key_buffers_);
  keep(values, value_buffers_);
}

}  // namespace ropescope
