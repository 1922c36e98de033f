#include "ropescope/train/lora.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include <boost/random/uniform_real_distribution.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"

namespace ropescope {

namespace {

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

constexpr uint64_t kAdapterStream = 0x4C6F5241;  // "LoRA"

/// W + s B A. Its backward pass comes as soon as the gradient of W' is complete: the engine takes the highest number first,
/// and by order of making it would take these last, with the gradients of all W' waiting.
struct AdaptedWeight : Node {
  AdaptedWeight() : Node(std::numeric_limits<uint64_t>::max()) {}

  SavedVariable a, b;
  double scale = 1;

  variable_list apply(variable_list&& outer) override {
    const at::NoGradGuard no_grad;
    const at::Tensor& gradient = outer[0];
    if (!gradient.defined()) return {at::Tensor(), at::Tensor()};
    const at::Tensor low = a.unpack(), high = b.unpack();
    return {high.t().mm(gradient).mul_(scale), gradient.mm(low.t()).mul_(scale)};
  }

  void release_variables() override {
    a.reset_data();
    b.reset_data();
  }

  std::string name() const override { return "ropescope::AdaptedWeight"; }
};

at::Tensor adapted(const at::Tensor& weight, const at::Tensor& a, const at::Tensor& b, double scale) {
  at::Tensor sum;
  {
    const at::NoGradGuard no_grad;
    sum = at::addmm(weight, b, a, 1, scale);
  }
  if (!torch::autograd::compute_requires_grad(a, b)) return sum;
  const auto node = c10::make_intrusive<AdaptedWeight>();
  node->set_next_edges(torch::autograd::collect_next_edges(a, b));
  node->a = SavedVariable(a, /*is_output=*/false);
  node->b = SavedVariable(b, /*is_output=*/false);
  node->scale = scale;
  torch::autograd::set_history(sum, node);
  return sum;
}

double lora_number(const std::string& key, const std::string& text) {
  double value = 0;
  const auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || stop != text.data() + text.size() || !(value > 0) || !std::isfinite(value)) {
    throw UsageError("--lora: {}: expected a number above 0, found \"{}\"", key, text);
  }
  return value;
}

std::string last_part(const std::string& module) { return module.substr(module.rfind('.') + 1); }

bool is_matrix(const TensorSlot& slot) { return slot.shape.size() == 2 && slot.name.ends_with(".weight"); }

std::string module_of(const TensorSlot& slot) { return slot.name.substr(0, slot.name.rfind('.')); }

/// Throws UsageError.
void check_targets(const std::vector<TensorSlot>& slots, const std::vector<std::string>& targets) {
  std::set<std::string> there;
  for (const TensorSlot& slot : slots) {
    if (!is_matrix(slot) || slot.name.find(".layers.") == std::string::npos) continue;
    const std::string name = last_part(module_of(slot));
    const bool wanted = std::find(targets.begin(), targets.end(), name) != targets.end();
    if (slot.stored_name.empty()) {
      there.insert(name);
    } else if (wanted) {
      throw UsageError(
          "--lora: {} lies in {} together with others, which PEFT adapts as one matrix: it is not adapted here. Try: o_proj, "
          "down_proj",
          slot.name, slot.stored_name);
    }
  }
  for (const std::string& target : targets) {
    if (there.count(target) > 0) continue;
    throw UsageError("--lora: targets: expected some of {}, found \"{}\"", fmt::join(there, ", "), target);
  }
}

}  // namespace

LoraSettings parse_lora(const std::string& text) {
  LoraSettings settings;
  settings.targets.clear();
  std::optional<double> alpha;
  std::string key;
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find(',', from), text.size());
    std::string word = text.substr(from, to - from);
    from = to + 1;
    if (const size_t equals = word.find('='); equals != std::string::npos) {
      key = word.substr(0, equals);
      word = word.substr(equals + 1);
    } else if (key != "targets") {
      throw UsageError("--lora: expected rank=R,alpha=A,targets=NAME,NAME,..., found \"{}\"", word);
    }
    if (key == "targets") {
      if (word.empty()) throw UsageError("--lora: targets: expected names such as q_proj,k_proj, found none");
      settings.targets.push_back(word);
    } else if (key == "rank") {
      const double rank = lora_number(key, word);
      settings.rank = static_cast<int64_t>(rank);
      if (static_cast<double>(settings.rank) != rank) {
        throw UsageError("--lora: rank: expected a whole number, found \"{}\"", word);
      }
    } else if (key == "alpha") {
      alpha = lora_number(key, word);
    } else {
      throw UsageError("--lora: expected rank, alpha or targets, found \"{}\"", key);
    }
  }
  settings.alpha = alpha.value_or(2.0 * static_cast<double>(settings.rank));
  if (settings.targets.empty()) settings.targets = LoraSettings().targets;
  return settings;
}

std::string lora_text(const LoraSettings& settings) {
  return fmt::format("rank={},alpha={},targets={}", settings.rank, settings.alpha,
                     fmt::join(settings.targets, ","));
}

Adapters::Adapters(const Decoder& decoder, LoraSettings settings, const std::string& prefix, uint64_t seed)
    : settings_(std::move(settings)) {
  Decoder shared = decoder;
  const std::vector<TensorSlot> slots = decoder_slots(shared.config, /*with_lm_head=*/true, shared.weights);
  check_targets(slots, settings_.targets);
  const std::string inside = "model.";
  for (size_t i = 0; i < slots.size(); ++i) {
    const TensorSlot& slot = slots[i];
    const std::string module = module_of(slot);
    const auto& targets = settings_.targets;
    if (!is_matrix(slot) || slot.name.find(".layers.") == std::string::npos ||
        std::find(targets.begin(), targets.end(), last_part(module)) == targets.end()) {
      continue;
    }
    const at::Tensor& weight = *slot.target;
    if (weight.requires_grad()) {
      throw UsageError("--train: {} has an adapter (--lora), beside which it stays as it is", slot.name);
    }
    Entry entry;
    entry.slot = i;
    entry.module = prefix + module.substr(inside.size());
    // Drawn on the CPU: the same numbers on every device.
    at::Tensor a = at::empty({settings_.rank, weight.size(1)}, at::kFloat);
    const double bound = 1.0 / std::sqrt(static_cast<double>(weight.size(1)));
    Rng rng = make_rng(seed, {kAdapterStream, i});
    const boost::random::uniform_real_distribution<double> uniform(-bound, bound);
    auto* to = a.mutable_data_ptr<float>();
    for (int64_t n = 0; n < a.numel(); ++n) to[n] = static_cast<float>(uniform(rng));
    entry.a = a.to(weight.options()).set_requires_grad(true);
    entry.b = at::zeros({weight.size(0), settings_.rank}, weight.options()).set_requires_grad(true);
    adapted_numbers_ += weight.numel();
    entries_.push_back(std::move(entry));
  }
}

std::vector<TensorSlot> Adapters::slots() {
  std::vector<TensorSlot> slots;
  for (Entry& entry : entries_) {
    slots.push_back({entry.module + ".lora_A.weight", entry.a.sizes().vec(), &entry.a});
    slots.push_back({entry.module + ".lora_B.weight", entry.b.sizes().vec(), &entry.b});
  }
  return slots;
}

std::vector<Parameter> Adapters::parameters() const {
  std::vector<Parameter> parameters;
  for (const Entry& entry : entries_) {
    parameters.push_back({entry.module + ".lora_A.weight", entry.a});
    parameters.push_back({entry.module + ".lora_B.weight", entry.b});
  }
  return parameters;
}

Decoder Adapters::applied(const Decoder& decoder) const {
  Decoder working = decoder;
  const std::vector<TensorSlot> slots = decoder_slots(working.config, /*with_lm_head=*/true, working.weights);
  for (const Entry& entry : entries_) {
    at::Tensor& weight = *slots[entry.slot].target;
    weight = adapted(weight, entry.a, entry.b, settings_.scale());
  }
  return working;
}

}  // namespace ropescope
