#include "quick_layer.h"

#include <algorithm>
#include <cmath>

#include "small_products.h"

namespace ropescope::miniature {

namespace {

constexpr int64_t kRowsAtOnce = 8;  // of attention maps, whose tokens see keys up to about the same one

int64_t whole(int64_t count) { return (count + 15) / 16 * 16; }

Numbers numbers(int64_t count) { return Numbers(static_cast<size_t>(count), 0.0f); }

Left plain(const float* values, int64_t row) { return {values, row, 1}; }
Left turned(const float* values, int64_t row) { return {values, 1, row}; }

void side_by_side(std::initializer_list<const at::Tensor*> matrices, Numbers& all) {
  all.clear();
  for (const at::Tensor* matrix : matrices) {
    const auto* values = matrix->const_data_ptr<float>();
    all.insert(all.end(), values, values + matrix->numel());
  }
}

void transpose_into(const float* matrix, int64_t rows, int64_t columns, Numbers& to) {
  to.resize(static_cast<size_t>(rows * columns));
  transpose(matrix, columns, rows, columns, to.data(), rows);
}

void gather(const float* from, const std::vector<int64_t>& rows, int64_t width, float* to) {
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(from + rows[i] * width, width, to + static_cast<int64_t>(i) * width);
  }
}

void scatter_add(const float* from, const std::vector<int64_t>& rows, int64_t width, float* to) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const float* source = from + static_cast<int64_t>(i) * width;
    float* target = to + rows[i] * width;
    for (int64_t j = 0; j < width; ++j) target[j] += source[j];
  }
}

}  // namespace

void QuickWeights::read(const DecoderLayerWeights& weights, const QuickSizes& sizes) {
  input_norm = weights.input_norm.const_data_ptr<float>();
  mlp_norm = weights.mlp_norm.const_data_ptr<float>();
  o = weights.o.const_data_ptr<float>();
  down = weights.down.const_data_ptr<float>();
  side_by_side({&weights.q, &weights.k, &weights.v}, qkv);
  side_by_side({&weights.gate, &weights.up}, gate_up);
  transpose_into(qkv.data(), 3 * sizes.width, sizes.width, qkv_t);
  transpose_into(o, sizes.width, sizes.width, o_t);
  transpose_into(gate_up.data(), 2 * sizes.inner, sizes.width, gate_up_t);
  transpose_into(down, sizes.width, sizes.inner, down_t);
}

QuickAngles::QuickAngles(const RotaryTable& table) {
  if (!table.turns()) return;
  cos = table.cos.const_data_ptr<float>();
  sin = table.sin.const_data_ptr<float>();
  half = table.cos.size(3);
  heads = table.cos.size(1);
}

QuickLayer::QuickLayer(const QuickSizes& sizes, int64_t tokens, std::vector<int64_t> rows)
    : sizes_(sizes),
      tokens_(tokens),
      padded_(whole(tokens)),
      count_(static_cast<int64_t>(rows.size())),
      rows_(std::move(rows)) {
  const int64_t width = sizes_.width, inner = sizes_.inner, n = count_;
  normed_ = numbers(tokens_ * width);
  scale_ = numbers(tokens_);
  qkv_ = numbers(tokens_ * 3 * width);
  if (!all()) {
    chosen_ = numbers(n * width);
    queries_ = numbers(n * width);
  }
  maps_ = numbers(sizes_.heads * n * padded_);
  across_ = numbers(sizes_.head_dim * padded_);
  mixed_ = numbers(n * width);
  middle_ = numbers(n * width);
  normed2_ = numbers(n * width);
  scale2_ = numbers(n);
  both_ = numbers(n * 2 * inner);
  gated_ = numbers(n * inner);
  out_ = numbers(n * width);
}

void QuickLayer::turn(const QuickAngles& angles, Numbers& qkv, Numbers& queries, bool back) const {
  if (angles.half == 0) return;
  const int64_t width = sizes_.width;
  for (int64_t head = 0; head < sizes_.heads; ++head) {
    const int64_t table = angles.heads == 1 ? 0 : head, at = head * sizes_.head_dim;
    const float* cos = angles.cos + table * tokens_ * angles.half;
    const float* sin = angles.sin + table * tokens_ * angles.half;
    turn_rows(qkv.data() + width + at, 3 * width, cos, sin, tokens_, angles.half, back);
    if (all()) {
      turn_rows(qkv.data() + at, 3 * width, cos, sin, tokens_, angles.half, back);
      continue;
    }
    for (int64_t i = 0; i < count_; ++i) {
      const int64_t token = rows_[static_cast<size_t>(i)] * angles.half;
      turn_rows(queries.data() + i * width + at, width, cos + token, sin + token, 1, angles.half, back);
    }
  }
}

void QuickLayer::attend() {
  const int64_t width = sizes_.width, dim = sizes_.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (int64_t head = 0; head < sizes_.heads; ++head) {
    const float* keys = qkv_.data() + width + head * dim;
    const float* values = keys + width;
    const float* queries = (all() ? qkv_.data() : queries_.data()) + head * dim;
    const int64_t query_row = all() ? 3 * width : width;
    float* map = maps_.data() + head * count_ * padded_;
    transpose(keys, 3 * width, tokens_, dim, across_.data(), padded_);
    for (int64_t first = 0; first < count_; first += kRowsAtOnce) {
      const int64_t rows = std::min(kRowsAtOnce, count_ - first);
      const int64_t seen = rows_[static_cast<size_t>(first + rows - 1)] + 1;
      float* block = map + first * padded_;
      multiply(plain(queries + first * query_row, query_row), across_.data(), padded_, block, padded_, rows,
               whole(seen), dim, false);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t own = rows_[static_cast<size_t>(first + i)] + 1;
        softmax_row(block + i * padded_, own, scale);
        std::fill(block + i * padded_ + whole(own), block + i * padded_ + std::max(whole(seen), whole(own)),
                  0.0f);
      }
      multiply(plain(block, padded_), values, 3 * width, mixed_.data() + first * width + head * dim, width,
               rows, dim, seen, false);
    }
  }
}

const float* QuickLayer::forward(const QuickWeights& weights, const QuickAngles& angles, const float* x) {
  const int64_t width = sizes_.width, inner = sizes_.inner;
  x_ = x;
  norm_rows(x, weights.input_norm, normed_.data(), scale_.data(), tokens_, width, sizes_.eps);
  // Of rows alone queries are asked; keys and values of all.
  const int64_t skipped = all() ? 0 : width;
  multiply(plain(normed_.data(), width), weights.qkv_t.data() + skipped, 3 * width, qkv_.data() + skipped,
           3 * width, tokens_, 3 * width - skipped, width, false);
  if (!all()) {
    gather(normed_.data(), rows_, width, chosen_.data());
    multiply(plain(chosen_.data(), width), weights.qkv_t.data(), 3 * width, queries_.data(), width, count_,
             width, width, false);
  }
  turn(angles, qkv_, queries_, /*back=*/false);
  attend();
  gather(x, rows_, width, middle_.data());
  multiply(plain(mixed_.data(), width), weights.o_t.data(), width, middle_.data(), width, count_, width,
           width, true);
  norm_rows(middle_.data(), weights.mlp_norm, normed2_.data(), scale2_.data(), count_, width, sizes_.eps);
  multiply(plain(normed2_.data(), width), weights.gate_up_t.data(), 2 * inner, both_.data(), 2 * inner,
           count_, 2 * inner, width, false);
  gate_rows(both_.data(), gated_.data(), count_, inner);
  out_ = middle_;
  multiply(plain(gated_.data(), inner), weights.down_t.data(), width, out_.data(), width, count_, width,
           inner, true);
  return out_.data();
}

// Into dqkv_ (keys and values of all tokens; queries too where all are rows) and dqueries_.
void QuickLayer::attend_backward(const float* dmixed) {
  const int64_t width = sizes_.width, dim = sizes_.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const int64_t query_row = all() ? 3 * width : width;
  for (int64_t head = 0; head < sizes_.heads; ++head) {
    const float* keys = qkv_.data() + width + head * dim;
    const float* values = keys + width;
    const float* queries = (all() ? qkv_.data() : queries_.data()) + head * dim;
    float* dqueries = (all() ? dqkv_.data() : dqueries_.data()) + head * dim;
    float* dkeys = dqkv_.data() + width + head * dim;
    const float* map = maps_.data() + head * count_ * padded_;
    const float* dout = dmixed + head * dim;
    transpose(values, 3 * width, tokens_, dim, across_.data(), padded_);
    for (int64_t first = 0; first < count_; first += kRowsAtOnce) {
      const int64_t rows = std::min(kRowsAtOnce, count_ - first);
      const int64_t seen = rows_[static_cast<size_t>(first + rows - 1)] + 1;
      float* block = slopes_.data() + first * padded_;
      multiply(plain(dout + first * width, width), across_.data(), padded_, block, padded_, rows, whole(seen),
               dim, false);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t own = rows_[static_cast<size_t>(first + i)] + 1;
        softmax_row_backward(map + (first + i) * padded_, block + i * padded_, own, scale);
        std::fill(block + i * padded_ + whole(own), block + i * padded_ + std::max(whole(seen), whole(own)),
                  0.0f);
      }
      multiply(plain(block, padded_), keys, 3 * width, dqueries + first * query_row, query_row, rows, dim,
               seen, false);
    }
    for (int64_t first = 0; first < tokens_; first += kRowsAtOnce) {
      const int64_t some = std::min(kRowsAtOnce, tokens_ - first);
      // Rows before this one see none of these keys.
      const int64_t from = std::lower_bound(rows_.begin(), rows_.end(), first) - rows_.begin();
      multiply(turned(map + from * padded_ + first, padded_), dout + from * width, width,
               dkeys + width + first * 3 * width, 3 * width, some, dim, count_ - from, false);
      multiply(turned(slopes_.data() + from * padded_ + first, padded_), queries + from * query_row,
               query_row, dkeys + first * 3 * width, 3 * width, some, dim, count_ - from, false);
    }
  }
}

void QuickLayer::backward(const QuickWeights& weights, const QuickAngles& angles,
                          const QuickGradients& gradients, float* dy, float* dx) {
  const int64_t width = sizes_.width, inner = sizes_.inner;
  dqkv_.resize(qkv_.size());
  dqueries_.resize(queries_.size());
  slopes_.resize(static_cast<size_t>(count_ * padded_));
  dmixed_.resize(mixed_.size());
  dgated_.resize(gated_.size());
  dboth_.resize(both_.size());
  dnormed_.resize(normed_.size());
  dchosen_.resize(chosen_.size());
  // The feed-forward: dy becomes the gradient of what comes before it.
  multiply(plain(dy, width), weights.down, inner, dgated_.data(), inner, count_, inner, width, false);
  multiply(turned(dy, width), gated_.data(), inner, gradients.down, inner, width, inner, count_, true);
  gate_rows_backward(dgated_.data(), both_.data(), dboth_.data(), count_, inner);
  multiply(plain(dboth_.data(), 2 * inner), weights.gate_up.data(), width, dnormed_.data(), width, count_,
           width, 2 * inner, false);
  multiply(turned(dboth_.data(), 2 * inner), normed2_.data(), width, gradients.gate_up, width, 2 * inner,
           width, count_, true);
  norm_rows_backward(dnormed_.data(), middle_.data(), weights.mlp_norm, scale2_.data(), dy,
                     gradients.mlp_norm, count_, width);
  // Attention.
  multiply(plain(dy, width), weights.o, width, dmixed_.data(), width, count_, width, width, false);
  multiply(turned(dy, width), mixed_.data(), width, gradients.o, width, width, width, count_, true);
  attend_backward(dmixed_.data());
  turn(angles, dqkv_, dqueries_, /*back=*/true);
  const int64_t skipped = all() ? 0 : width;
  multiply(plain(dqkv_.data() + skipped, 3 * width), weights.qkv.data() + skipped * width, width,
           dnormed_.data(), width, tokens_, width, 3 * width - skipped, false);
  multiply(turned(dqkv_.data() + skipped, 3 * width), normed_.data(), width, gradients.qkv + skipped * width,
           width, 3 * width - skipped, width, tokens_, true);
  std::fill(dx, dx + tokens_ * width, 0.0f);
  scatter_add(dy, rows_, width, dx);
  if (!all()) {
    multiply(plain(dqueries_.data(), width), weights.qkv.data(), width, dchosen_.data(), width, count_, width,
             width, false);
    multiply(turned(dqueries_.data(), width), chosen_.data(), width, gradients.qkv, width, width, width,
             count_, true);
    scatter_add(dchosen_.data(), rows_, width, dnormed_.data());
  }
  norm_rows_backward(dnormed_.data(), x_, weights.input_norm, scale_.data(), dx, gradients.input_norm,
                     tokens_, width);
}

}  // namespace ropescope::miniature
