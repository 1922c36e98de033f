// Tensors that lie together in one of a file (qkv_proj, gate_up_proj).
#include <map>
#include <string_view>

#include <ATen/ops/cat.h>

#include "ropescope/architectures/architecture.h"

namespace ropescope {

std::string unfused_name(const TensorRule& rule) {
  if (rule.first_row < 0) return rule.name;
  std::string name = rule.name;
  const auto put = [&](std::string_view fused, const char* part) {
    const size_t place = name.find(fused);
    if (place != std::string::npos) name.replace(place, fused.size(), part);
  };
  put("qkv_proj", rule.kind == TensorKind::kQuery ? "q_proj"
                  : rule.kind == TensorKind::kKey ? "k_proj"
                                                  : "v_proj");
  put("gate_up_proj", rule.kind == TensorKind::kGate ? "gate_proj" : "up_proj");
  return name;
}

void fuse_tensors(const DecoderConfig& decoder, std::map<std::string, at::Tensor>& tensors) {
  std::map<std::string, std::vector<TensorRule>> fused;  // (rules come in the order of their rows)
  for (const TensorRule& rule : tensor_rules(decoder)) {
    if (rule.first_row >= 0) fused[rule.name].push_back(rule);
  }
  for (const auto& [name, rules] : fused) {
    std::vector<at::Tensor> parts;
    for (const TensorRule& rule : rules) {
      const auto found = tensors.find(unfused_name(rule));
      if (found != tensors.end()) parts.push_back(found->second);
    }
    if (parts.size() != rules.size()) continue;
    tensors[name] = at::cat(parts, 0);
    for (const TensorRule& rule : rules) tensors.erase(unfused_name(rule));
  }
}

}  // namespace ropescope
