#include "ropescope/analysis/kind_facts.h"
#include "ropescope/analysis/locality.h"

namespace ropescope {

namespace {

void write_share(ResultWriter& writer, const std::string& group, const char* name, const char* ends,
                 const at::Tensor& mean, const at::Tensor& low, const at::Tensor& high) {
  writer.write(group + name, mean);
  writer.write(group + ends + "_ci95_low", low);
  writer.write(group + ends + "_ci95_high", high);
}

void write_locality_kinds(ResultWriter& writer, const LocalityResult& result) {
  if (result.kinds.empty()) return;
  const std::string group = "/locality/kinds/";
  write_kind_facts(writer, group, result.kinds, result.kind_theta);
  const LocalityShare& near = result.near;
  const LocalityShare& order = result.order;
  write_share(writer, group, "near_preferred", "near", near.kind_mean, near.kind_low, near.kind_high);
  write_share(writer, group, "order_flips", "order", order.kind_mean, order.kind_low, order.kind_high);
  writer.write(group + "near_half_length", near.kind_half_length);
  writer.write(group + "order_half_length", order.kind_half_length);
}

}  // namespace

void write_locality(ResultWriter& writer, const LocalityResult& result) {
  const std::string group = "/locality/", layer = group + "by_layer/";
  const LocalityShare& near = result.near;
  const LocalityShare& order = result.order;
  writer.write(group + "length", result.length);
  writer.write(group + "points", result.points);
  writer.write(group + "theta", result.theta);
  if (result.theta_scale.defined()) writer.write(group + "theta_scale", result.theta_scale);
  write_share(writer, group, "near_preferred", "near", near.mean, near.low, near.high);
  write_share(writer, group, "order_flips", "order", order.mean, order.low, order.high);
  writer.write(group + "near_half_length", near.half_length);
  writer.write(group + "order_half_length", order.half_length);
  write_share(writer, layer, "near_preferred", "near", near.layer_mean, near.layer_low, near.layer_high);
  write_share(writer, layer, "order_flips", "order", order.layer_mean, order.layer_low, order.layer_high);
  writer.write(group + "by_head/near_preferred", near.head_mean);
  writer.write(group + "by_head/order_flips", order.head_mean);
  writer.write(group + "near_count", near.count);
  writer.write(group + "order_count", order.count);
  write_locality_kinds(writer, result);
  writer.attribute("/locality", "sign", int64_t{-1});
  writer.attribute("/locality", "theta_source", theta_source(result.options));
  writer.attribute("/locality", "interval", result.interval);
  writer.attribute("/locality", "near_pairs", near.pairs);
  writer.attribute("/locality", "order_pairs", order.pairs);
  writer.attribute("/locality", "clusters", near.clusters);
  writer.attribute("/locality", "order_clusters", order.clusters);
  writer.attribute("/locality", "chance", 0.5);
  writer.attribute(
      "/locality", "distances",
      std::string("uniform in 0 ... length - 1: all of them, or as many as `points` says, one drawn "
                  "in each of so many equal parts"));
  writer.attribute(
      "/locality", "second_key",
      std::string("the next pair's of the same text, layer and key/value head with another key"));
  if (!result.sources.empty()) writer.attribute("/locality", "sources", result.sources);
  if (!result.options.selection.empty()) {
    writer.attribute("/locality", "selection", result.options.selection);
  }
  writer.attribute("/locality", "empty", std::string("NaN: no pair fell there"));
}

}  // namespace ropescope
