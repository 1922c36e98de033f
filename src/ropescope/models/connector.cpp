#include "ropescope/models/connector.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/ranges.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/kernels/rms_norm.h"

namespace ropescope {

namespace {

at::Tensor connector_linear(const at::Tensor& x, const Affine& map) {
  return kernels::linear(x, map.weight, map.bias);
}

at::Tensor connector_norm(const ConnectorConfig& config, const at::Tensor& x, const Affine& norm) {
  if (config.rms_norm) return kernels::rms_norm(x, norm.weight, config.norm_eps);
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, config.norm_eps);
}

// The side of a square of patches.
int64_t side_of(int64_t patches) {
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(patches))));
  if (side * side != patches) {
    throw InternalError("connector: expected a square of patches, found {}", patches);
  }
  return side;
}

at::Tensor shuffled(const ConnectorConfig& config, const at::Tensor& x) {
  const int64_t side = side_of(x.size(1));
  return pixel_shuffle(x, side, side, config.merge_size, config.transposed);
}

at::Tensor two_layers(const Connector& connector, const MergerWeights& weights, const at::Tensor& x) {
  return connector_linear(activate(connector_linear(x, weights.first), connector.config.activation),
                          weights.second);
}

// [n, g^2, C] -> [n, (g/k)^2, C].
at::Tensor pooled(const at::Tensor& x, int64_t k) {
  const int64_t side = side_of(x.size(1)), blocks = side / k;
  if (blocks * k != side)
    throw InputError("connector: {} patches a side do not come in blocks of {}", side, k);
  return x.reshape({x.size(0), blocks, k, blocks, k, x.size(2)}).mean(at::IntArrayRef{2, 4}).flatten(1, 2);
}

// The product and the root in float32 at least, as the models were trained.
at::Tensor norm_by_one_and_weight(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (x.scalar_type() == at::kDouble) return kernels::rms_norm(x, weight.add(1), eps);
  return kernels::rms_norm(x.to(at::kFloat), weight.to(at::kFloat).add(1), eps).to(x.scalar_type());
}

at::Tensor in_blocks(const at::Tensor& x, int64_t k) {
  if (x.dim() != 2 || x.size(0) % (k * k) != 0) {
    throw InternalError("connector: expected patches in blocks of {}x{}", k, k);
  }
  return x.reshape({x.size(0) / (k * k), k * k * x.size(1)});
}

// Python's a // b: the floor of the exact quotient.
int64_t floor_quotient(double a, double b) { return std::llround((a - std::fmod(a, b)) / b); }

at::Tensor strided_merger(const Connector& connector, const at::Tensor& features) {
  const ConnectorConfig& config = connector.config;
  const int64_t k = config.merge_size, channels = features.size(1);
  const at::Tensor blocks = in_blocks(features, k).view({-1, k, k, channels}).permute({0, 3, 1, 2});
  const at::Tensor merged =
      at::conv2d(blocks, connector.downsample.weight, connector.downsample.bias, {k, k}).flatten(1);
  const at::Tensor first = connector_linear(merged, connector.weights.first);
  const at::Tensor y = at::gelu(connector_norm(config, first, connector.weights.norm));
  return connector_linear(kernels::gated_linear(y, connector.gate, {}, connector.up, {}),
                          connector.weights.second);
}

}  // namespace

bool requires_grad(const Connector& connector) {
  const auto learns = [](const at::Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
  const auto map_learns = [&](const Affine& map) { return learns(map.weight) || learns(map.bias); };
  const auto merger_learns = [&](const MergerWeights& merger) {
    return map_learns(merger.norm) || map_learns(merger.first) || map_learns(merger.second);
  };
  return merger_learns(connector.weights) || map_learns(connector.downsample) || learns(connector.gate) ||
         learns(connector.up) ||
         std::any_of(connector.deepstack.begin(), connector.deepstack.end(), merger_learns);
}

at::Tensor pixel_shuffle(const at::Tensor& x, int64_t height, int64_t width, int64_t k, bool transposed) {
  if (height % k != 0 || width % k != 0 || x.dim() != 3 || x.size(1) != height * width) {
    throw InputError("pixel shuffle: {}x{} patches do not come in blocks of {}x{}", height, width, k, k);
  }
  const at::Tensor cut = x.reshape({x.size(0), height / k, k, width / k, k, x.size(2)});
  return (transposed ? cut.permute({0, 3, 1, 2, 4, 5}) : cut.permute({0, 1, 3, 2, 4, 5}))
      .reshape({x.size(0), height / k * (width / k), k * k * x.size(2)});
}

at::Tensor connect(const Connector& connector, const at::Tensor& features) {
  const ConnectorConfig& config = connector.config;
  const MergerWeights& weights = connector.weights;
  switch (config.kind) {
    case ConnectorKind::kMlp:
      return two_layers(connector, weights, features);
    case ConnectorKind::kShuffleMlp:
      return two_layers(connector, weights, connector_norm(config, shuffled(config, features), weights.norm));
    case ConnectorKind::kShuffleLinear:
      return connector_linear(shuffled(config, features), weights.first);
    case ConnectorKind::kPooled:
      return at::matmul(
          norm_by_one_and_weight(pooled(features, config.merge_size), weights.norm.weight, config.norm_eps),
          weights.first.weight);
    case ConnectorKind::kMerger:
      return two_layers(connector, weights,
                        in_blocks(connector_norm(config, features, weights.norm), config.merge_size));
    case ConnectorKind::kStridedMerger:
      return strided_merger(connector, features);
  }
  throw InternalError("connect: no such connector");
}

at::Tensor connect_deep(const Connector& connector, size_t j, const at::Tensor& features) {
  const MergerWeights& weights = connector.deepstack.at(j);
  const at::Tensor blocks = in_blocks(features, connector.config.merge_size);
  return two_layers(connector, weights, connector_norm(connector.config, blocks, weights.norm));
}

std::array<int64_t, 2> anyres_map_size(const AnyresGeometry& geometry, int64_t most_tiles) {
  const auto [rows, columns] = geometry.feat_H1W1;
  if (most_tiles == 0) return {rows, columns};
  const auto side = static_cast<double>(geometry.thumbnail_HW[0]);
  const double a = static_cast<double>(rows), b = static_cast<double>(columns);
  const double ratio = std::sqrt(a * b / (static_cast<double>(most_tiles) * side * side));
  if (!(ratio > 1.1)) return {rows, columns};
  return {floor_quotient(a, ratio), floor_quotient(b, ratio)};
}

at::Tensor onevision_features(const at::Tensor& tiles, const AnyresGeometry& geometry, int64_t rows,
                              int64_t columns, const at::Tensor& newline) {
  const int64_t across = geometry.tiles_cols_rows[0], down = geometry.tiles_cols_rows[1];
  const int64_t g = geometry.thumbnail_HW[0], size = tiles.size(2);
  if (tiles.dim() != 3 || tiles.size(0) != 1 + across * down || tiles.size(1) != g * g) {
    throw InputError("anyres: expected features [{}, {}, C] of a picture of {}x{} pixels, found [{}]",
                     1 + across * down, g * g, geometry.size_wh[0], geometry.size_wh[1],
                     fmt::join(tiles.sizes(), ", "));
  }
  const auto [height, width] = geometry.feat_H1W1;
  if (rows > height || columns > width) {
    throw InputError("anyres: expected a map of at most {}x{} features, found {}x{}", height, width, rows,
                     columns);
  }
  const at::Tensor thumbnail = tiles[0];
  if (rows == 0) return thumbnail;
  at::Tensor ends;
  if (geometry.newline) ends = newline.expand({rows, 1, size});
  // An extreme shape may keep no column.
  if (columns == 0) return ends.defined() ? at::cat({thumbnail, ends.flatten(0, 1)}, 0) : thumbnail;
  const std::array<int64_t, 2> offset = geometry.feat_offset_rc.value_or(std::array<int64_t, 2>{0, 0});
  at::Tensor map = tiles.narrow(0, 1, across * down)
                       .reshape({down, across, g, g, size})
                       .permute({0, 2, 1, 3, 4})
                       .reshape({down * g, across * g, size})
                       .narrow(0, offset[0], height)
                       .narrow(1, offset[1], width);
  if (rows != height || columns != width) {
    const at::Tensor channels_first = map.permute({2, 0, 1}).unsqueeze(0);
    map = at::upsample_bilinear2d(channels_first, {rows, columns}, /*align_corners=*/false)
              .squeeze(0)
              .permute({1, 2, 0});
  }
  const at::Tensor ended = ends.defined() ? at::cat({map, ends}, 1) : map;
  return at::cat({thumbnail, ended.reshape({-1, size})}, 0);
}

std::vector<TensorSlot> connector_slots(Connector& connector) {
  const ConnectorConfig& config = connector.config;
  const int64_t area = config.merge_size * config.merge_size;
  std::vector<TensorSlot> slots;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, at::Tensor& target) {
    slots.push_back({name, std::move(shape), &target});
  };
  const auto add_map = [&](const std::string& name, std::vector<int64_t> shape, Affine& map, bool bias) {
    const int64_t out = shape.front();
    add(name + ".weight", std::move(shape), map.weight);
    if (bias) add(name + ".bias", {out}, map.bias);
  };
  MergerWeights& weights = connector.weights;
  switch (config.kind) {
    case ConnectorKind::kMlp:
      add_map(config.first_name, {config.inner, config.in}, weights.first, config.bias);
      add_map(config.second_name, {config.out, config.inner}, weights.second, config.bias);
      break;
    case ConnectorKind::kShuffleMlp:
      add_map(config.norm_name, {area * config.in}, weights.norm, true);
      add_map(config.first_name, {config.inner, area * config.in}, weights.first, config.bias);
      add_map(config.second_name, {config.out, config.inner}, weights.second, config.bias);
      break;
    case ConnectorKind::kShuffleLinear:
      add_map(config.first_name, {config.out, area * config.in}, weights.first, config.bias);
      break;
    case ConnectorKind::kPooled:
      add_map(config.norm_name, {config.in}, weights.norm, false);
      add(config.first_name, {config.in, config.out}, weights.first.weight);
      break;
    case ConnectorKind::kMerger:
      add_map(config.norm_name, {config.in}, weights.norm, !config.rms_norm);
      add_map(config.first_name, {config.inner, area * config.in}, weights.first, config.bias);
      add_map(config.second_name, {config.out, config.inner}, weights.second, config.bias);
      break;
    case ConnectorKind::kStridedMerger:
      add_map("downsample", {config.out, config.in, config.merge_size, config.merge_size},
              connector.downsample, true);
      add_map("merger.proj", {config.out, config.out}, weights.first, config.bias);
      add_map("merger.post_projection_norm", {config.out}, weights.norm, true);
      add("merger.gate_proj.weight", {config.inner, config.out}, connector.gate);
      add("merger.up_proj.weight", {config.inner, config.out}, connector.up);
      add_map("merger.down_proj", {config.out, config.inner}, weights.second, config.bias);
      break;
  }
  connector.deepstack.resize(static_cast<size_t>(config.deepstack));
  for (size_t j = 0; j < connector.deepstack.size(); ++j) {
    MergerWeights& merger = connector.deepstack[j];
    // "merger.norm" -> "deepstack_merger_list.0.norm"
    const auto name = [&](const std::string& part) {
      return fmt::format("{}{}{}", config.deepstack_prefix, j, part.substr(part.find('.')));
    };
    add_map(name(config.norm_name), {area * config.in}, merger.norm, !config.rms_norm);
    add_map(name(config.first_name), {config.inner, area * config.in}, merger.first, config.bias);
    add_map(name(config.second_name), {config.out, config.inner}, merger.second, config.bias);
  }
  return slots;
}

Connector load_connector(const Checkpoint& checkpoint, const ConnectorConfig& config, at::ScalarType dtype,
                         at::Device device) {
  Connector connector;
  connector.config = config;
  const std::vector<TensorSlot> slots = connector_slots(connector);
  check_slots(checkpoint, slots, "connector");
  warn_of_other_tensors(checkpoint, slots, "connector", [](const std::string&) { return false; });
  fill_slots(checkpoint, slots, dtype, device);
  return connector;
}

}  // namespace ropescope
