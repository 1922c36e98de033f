#include "ropescope/analysis/attention_sinks.h"

#include <algorithm>
#include <cmath>

#include <boost/random/normal_distribution.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/parallel.h"
#include "ropescope/core/random.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

at::Tensor ints(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

/// Random directions of the given lengths: [kv heads, cells, D] float32 for norms [kv heads, cells].
at::Tensor random_keys(const at::Tensor& norms, int64_t dim, const SinkOptions& options, uint64_t input,
                       int64_t layer, int64_t draw) {
  const int64_t heads = norms.size(0), cells = norms.size(1);
  at::Tensor keys = at::empty({heads, cells, dim}, at::kFloat);
  auto* out = keys.mutable_data_ptr<float>();
  const auto* length = norms.const_data_ptr<double>();
  parallel_for_each(heads, [&](int64_t head) {
    Rng rng = make_rng(options.seed, {input, static_cast<uint64_t>(layer), static_cast<uint64_t>(draw),
                                      static_cast<uint64_t>(head)});
    boost::random::normal_distribution<double> normal;
    std::vector<double> direction(static_cast<size_t>(dim));
    for (int64_t cell = head * cells; cell < (head + 1) * cells; ++cell) {
      double squares = 0;
      for (double& x : direction) {
        x = normal(rng);
        squares += x * x;
      }
      const double scale = length[cell] / std::sqrt(squares);
      for (int64_t i = 0; i < dim; ++i)
        out[cell * dim + i] = static_cast<float>(direction[static_cast<size_t>(i)] * scale);
    }
  });
  return keys;
}

}  // namespace

SinkRows::SinkRows(const TokenPlaces& places, const std::vector<int64_t>& asked, const SinkOptions& options,
                   uint64_t input, const std::vector<int64_t>& layers, const std::vector<int64_t>& heads)
    : options_(options),
      input_(input),
      layers_(layers),
      heads_(heads),
      queries_(queries_behind_pictures(places, asked)) {
  const std::vector<PictureRaster> rasters = picture_rasters(places);
  if (rasters.empty()) throw UsageError("--sinks: expected a picture, found text alone");
  if (queries_.empty()) {
    throw UsageError(
        "--sinks: expected tokens behind the pictures that look, found none. Try: --queries last, text or generated");
  }
  std::array<std::vector<int64_t>, 3> members;
  for (size_t i = 0; i < rasters.size(); ++i) {
    const PictureRaster& raster = rasters[i];
    for (int64_t row = 0; row < raster.rows; ++row) {
      for (int64_t column = 0; column < raster.columns; ++column) {
        const int64_t token = raster.token[static_cast<size_t>(row * raster.columns + column)];
        if (token < 0) continue;
        const auto which = static_cast<size_t>(cell_class(row, column, raster.rows, raster.columns));
        members[which].push_back(static_cast<int64_t>(token_.size()));
        token_.push_back(token);
        raster_.push_back(static_cast<int64_t>(i));
        row_.push_back(row);
        column_.push_back(column);
        class_.push_back(static_cast<int64_t>(which));
      }
    }
  }
  cells_ = ints(token_);
  for (size_t i = 0; i < 3; ++i) members_[i] = ints(members[i]);
  const auto l = static_cast<int64_t>(layers.size()), h = static_cast<int64_t>(heads.size()),
             n = cells_.size(0);
  by_cell_ = at::zeros({l, h, n}, at::kDouble);
  null_share_ = at::full({options.draws, 3, l, h}, NAN, at::kDouble);
  norm_ = at::zeros({n}, at::kDouble);
  massive_ = at::zeros({l, n}, at::kDouble);
}

int64_t SinkRows::slot(int64_t layer) const {
  return std::lower_bound(layers_.begin(), layers_.end(), layer) - layers_.begin();
}

/// Attention of each class and of all cells, summed over queries: [heads] float64 each.
std::array<at::Tensor, 4> SinkRows::masses(const at::Tensor& rows_HQS) const {
  const at::Tensor by_cell = rows_HQS.index_select(2, cells_).sum(1, false, at::kDouble);
  std::array<at::Tensor, 4> masses;
  for (size_t i = 0; i < 3; ++i) masses[i] = by_cell.index_select(1, members_[i]).sum(1);
  masses[3] = by_cell.sum(1);
  return masses;
}

void SinkRows::take(int64_t layer, const at::Tensor& rows_HQS) {
  by_cell_[slot(layer)].copy_(rows_HQS.index_select(2, cells_).mean(1, false, at::kDouble));
}

void SinkRows::take_null(int64_t layer, const at::Tensor& k_BKSD, const AttentionRows::RowsOver& rows_over) {
  const at::Tensor own = k_BKSD.to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor norms =
      own[0].index_select(1, cells_).to(at::kDouble).norm(2, -1).contiguous();  // [kv heads, cells]
  at::Tensor keys = own.clone();
  for (int64_t draw = 0; draw < options_.draws; ++draw) {
    keys[0].index_copy_(1, cells_, random_keys(norms, own.size(3), options_, input_, layer, draw));
    const at::Tensor rows =
        rows_over(queries_, keys.to(k_BKSD.options()))[0].to(at::kCPU).index_select(0, ints(heads_));
    const std::array<at::Tensor, 4> sums = masses(rows);
    for (int64_t i = 0; i < 3; ++i)
      null_share_[draw][i][slot(layer)].copy_(sums[static_cast<size_t>(i)] / sums[3]);
  }
}

void SinkRows::entering(int64_t layer, const at::Tensor& hidden_TC) {
  const bool measured = std::binary_search(layers_.begin(), layers_.end(), layer);
  if (layer > 0 && !measured) return;
  const at::Tensor hidden =
      hidden_TC.index_select(0, cells_.to(hidden_TC.device())).to(at::kCPU, at::kDouble);
  if (layer == 0) norm_ = hidden.norm(2, -1);
  if (measured) massive_[slot(layer)].copy_(hidden.abs().amax(1) / hidden.square().mean(1).sqrt());
}

SinkSample SinkRows::finish(ResultWriter& writer, const std::string& group) const {
  SinkSample sample;
  const at::Tensor on_cells = by_cell_.sum(2);
  sample.picture_share = on_cells;
  const auto cells = static_cast<double>(cells_.size(0));
  for (size_t i = 0; i < 3; ++i) {
    const bool any = members_[i].size(0) > 0;
    sample.share[i] = any ? by_cell_.index_select(2, members_[i]).sum(2) / on_cells
                          : at::full(on_cells.sizes(), NAN, at::kDouble);
    sample.draws[i] = null_share_.select(1, static_cast<int64_t>(i));
    sample.uniform[i] = static_cast<double>(members_[i].size(0)) / cells;
  }
  const at::Tensor by_layer = by_cell_.sum(1);  // [layers, cells]
  const at::Tensor received = by_layer / by_layer.sum(1, true) * cells;
  const at::Tensor relative = norm_ / norm_.median();
  const at::Tensor sink = received.ge(options_.times).to(at::kDouble),
                   from_tower = relative.ge(kTowerNorm).to(at::kDouble).unsqueeze(0);
  const at::Tensor v = sink * from_tower, l = sink * (1 - from_tower);
  const auto share_of = [&](const at::Tensor& chosen) {
    return (by_cell_ * chosen.unsqueeze(1)).sum(2) / on_cells;
  };
  sample.v_share = share_of(v);
  sample.l_share = share_of(l);
  sample.v_sinks = v.sum(1);
  sample.l_sinks = l.sum(1);
  const std::string at = group + "/sink_cells/";
  writer.write(at + "token", cells_);
  writer.write(at + "raster", ints(raster_));
  writer.write(at + "row", ints(row_));
  writer.write(at + "column", ints(column_));
  writer.write(at + "class", ints(class_).to(at::kByte));
  writer.write(at + "norm", relative);
  writer.write(at + "received", received);
  writer.write(at + "massive", massive_);
  return sample;
}

void SinkSummary::add(const SinkSample& sample) {
  for (size_t i = 0; i < 3; ++i) {
    classes_[i].add(sample.share[i], sample.draws[i]);
    if (sample.uniform[i] > 0) uniform_[i].push_back(sample.uniform[i]);
  }
  picture_share_.push_back(sample.picture_share);
  v_share_.push_back(sample.v_share);
  l_share_.push_back(sample.l_share);
  v_sinks_.push_back(sample.v_sinks);
  l_sinks_.push_back(sample.l_sinks);
  v_count_.push_back(sample.v_sinks.mean().item<double>());
  l_count_.push_back(sample.l_sinks.mean().item<double>());
  v_share_mean_.push_back(sample.v_share.nanmean().item<double>());
  l_share_mean_.push_back(sample.l_share.nanmean().item<double>());
}

SinkSummary::OfClass SinkSummary::of(CellClass which) const {
  const auto i = static_cast<size_t>(which);
  OfClass numbers;
  const at::Tensor by_input = classes_[i].by_input().nanmean(at::IntArrayRef({1, 2}));
  const auto* values = by_input.const_data_ptr<double>();
  numbers.share = mean_interval({values, values + by_input.numel()});
  numbers.uniform = mean_interval(uniform_[i]).mean;
  const at::Tensor p = classes_[i].test().p_above;
  numbers.above = share_of_tests(p.lt(0.05), p);
  numbers.rejected = share_of_tests(false_discovery_rejections(p), p);
  return numbers;
}

void SinkSummary::write(ResultWriter& writer, const std::string& group, const SinkOptions& options) const {
  const std::string root = group + "/sinks";
  for (size_t i = 0; i < 3; ++i) {
    const std::string at = root + "/" + kCellClassNames[i];
    classes_[i].write(writer, at, "share");
    const double uniform = mean_interval(uniform_[i]).mean;
    writer.write(at + "/times_uniform", means_over_inputs(classes_[i].by_input()).mean / uniform);
    writer.attribute(at, "uniform", uniform);
  }
  const auto mean = [&](const char* name, const std::vector<at::Tensor>& by_input) {
    writer.write(root + "/" + name, at::stack(by_input, 0).nanmean({0}));
  };
  mean("picture_share", picture_share_);
  mean("v_share", v_share_);
  mean("l_share", l_share_);
  mean("v_sinks", v_sinks_);
  mean("l_sinks", l_sinks_);
  writer.attribute(root, "draws", options.draws);
  writer.attribute(root, "sink_times", options.times);
  writer.attribute(root, "tower_norm", kTowerNorm);
  writer.attribute(root, "inputs", static_cast<int64_t>(v_count_.size()));
  writer.attribute(
      root, "null",
      std::string(
          "keys of the cells of the same length in random directions; p: share of draws at or above, one-sided"));
}

}  // namespace ropescope
