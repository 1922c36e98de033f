#include "ropescope/analysis/kind_facts.h"

#include <cstdint>

#include <ATen/ops/tensor.h>

namespace ropescope {

void write_kind_facts(ResultWriter& writer, const std::string& group, const std::vector<DecayKind>& kinds,
                      const at::Tensor& theta) {
  std::vector<std::string> names, layers;
  std::vector<int64_t> window, chunk, rotates, count, clusters;
  for (const DecayKind& kind : kinds) {
    names.push_back(kind.name);
    layers.push_back(kind.layers);
    window.push_back(kind.window);
    chunk.push_back(kind.chunk);
    rotates.push_back(kind.rotates ? 1 : 0);
    count.push_back(kind.count);
    clusters.push_back(kind.clusters);
  }
  writer.write(group + "name", names);
  writer.write(group + "layers", layers);
  writer.write(group + "theta", theta);
  writer.write(group + "window", at::tensor(window, at::kLong));
  writer.write(group + "chunk", at::tensor(chunk, at::kLong));
  writer.write(group + "rotates", at::tensor(rotates, at::kLong).to(at::kBool));
  writer.write(group + "count", at::tensor(count, at::kLong));
  writer.write(group + "clusters", at::tensor(clusters, at::kLong));
}

}  // namespace ropescope
