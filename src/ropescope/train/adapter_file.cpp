#include "ropescope/train/adapter_file.h"

#include <cmath>
#include <set>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

const std::string kLow = ".lora_A.weight", kHigh = ".lora_B.weight";

/// Whether a key of the configuration asks for something.
bool asks(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return false;
  if (found->is_boolean()) return found->get<bool>();
  return !found->empty();
}

void refuse_other_kinds(const Json& config, const std::string& what) {
  const std::string kind = json_string_or(config, "peft_type", "", what);
  if (kind != "LORA") throw UnsupportedModel("{}: expected peft_type LORA, found \"{}\"", what, kind);
  for (const char* key :
       {"use_dora", "use_qalora", "use_bdlora", "rank_pattern", "alpha_pattern", "fan_in_fan_out",
        "lora_bias", "trainable_token_indices", "target_parameters", "alora_invocation_tokens",
        "arrow_config", "kasa_config", "monteclora_config", "megatron_config", "layer_replication"}) {
    if (asks(config, key)) throw UnsupportedModel("{}: {} is not read here, only plain LoRA is", what, key);
  }
  // Ways to begin that take away from the model's own matrices what they put into the adapter.
  const auto begun = config.find("init_lora_weights");
  if (begun != config.end() && begun->is_string() && *begun != "gaussian" && *begun != "eva" &&
      *begun != "orthogonal") {
    throw UnsupportedModel("{}: init_lora_weights {} changes the model itself, which is not read here", what,
                           begun->dump());
  }
  const std::string bias = json_string_or(config, "bias", "none", what);
  if (bias != "none") throw UnsupportedModel("{}: expected bias none, found \"{}\"", what, bias);
}

LoraSettings settings_of(const Json& config, const std::string& what) {
  LoraSettings settings;
  settings.rank = json_integer(config, "r", what);
  settings.alpha = json_number(config, "lora_alpha", what);
  if (settings.rank < 1) throw InputError("{}: r: expected at least 1, found {}", what, settings.rank);
  // Rank-stabilised: alpha / sqrt(r) in place of alpha / r.
  if (asks(config, "use_rslora")) settings.alpha *= std::sqrt(static_cast<double>(settings.rank));
  settings.targets.clear();
  return settings;
}

/// What names of one tensor have in common, whatever form of a model's file they come from.
std::string bare_name(std::string name) {
  for (const std::string prefix : {"model.", "language_model.", "text_model.", "model."}) {
    if (name.rfind(prefix, 0) == 0) name = name.substr(prefix.size());
  }
  return name;
}

void take_tensor(AdapterFile& file, std::string name, at::Tensor tensor, const std::string& what) {
  const std::string prefix = kAdapterPrefix;
  if (name.rfind(prefix, 0) != 0) {
    throw InputError("{}: expected names that begin with {}, found {}", what, prefix, name);
  }
  name = name.substr(prefix.size());
  if (name.find(".lora_embedding_") != std::string::npos ||
      name.find(".lora_magnitude") != std::string::npos) {
    throw UnsupportedModel("{}: {} is not read here, only adapters of matrices are", what, name);
  }
  for (const std::string& ending : {kLow, kHigh}) {
    if (!name.ends_with(ending)) continue;
    AdapterFile::Pair& pair = file.pairs[name.substr(0, name.size() - ending.size())];
    (ending == kLow ? pair.a : pair.b) = std::move(tensor);
    return;
  }
  file.whole[name] = std::move(tensor);
}

std::string config_file(const fs::path& folder) { return (folder / kAdapterConfig).string(); }

/// adapter_config.json of plain LoRA.
Json read_config(const fs::path& folder) {
  if (!is_adapter_folder(folder)) {
    throw InputError(
        "{}: expected {} in it, found none. Try: a step of a run with --lora, or a folder of PEFT's",
        folder.string(), kAdapterConfig);
  }
  const std::string what = config_file(folder);
  Json config = read_json_file(what);
  if (!config.is_object()) throw InputError("{}: expected an object", what);
  refuse_other_kinds(config, what);
  return config;
}

}  // namespace

bool is_adapter_folder(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / kAdapterConfig, ignored);
}

Json adapter_config(const LoraSettings& settings, const std::string& base, const std::string& prefix,
                    const std::vector<std::string>& whole) {
  Json targets = settings.targets;
  if (prefix != "model.") {
    // A tower's matrices have the same last names.
    targets = fmt::format(".*{}\\.layers\\..*\\.({})", prefix.substr(0, prefix.size() - 1),
                          fmt::join(settings.targets, "|"));
  }
  const bool whole_alpha = settings.alpha == std::floor(settings.alpha) && settings.alpha < 1e15;
  std::set<std::string> modules;
  for (const std::string& name : whole) modules.insert(name.substr(0, name.rfind('.')));
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base},
          {"r", settings.rank},
          {"lora_alpha", whole_alpha ? Json(static_cast<int64_t>(settings.alpha)) : Json(settings.alpha)},
          {"lora_dropout", 0.0},
          {"use_rslora", false},
          {"target_modules", targets},
          {"modules_to_save", modules.empty() ? Json() : Json(modules)},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"init_lora_weights", true},
          {"inference_mode", true}};
}

std::string adapter_base(const fs::path& folder) {
  return json_string_or(read_config(folder), "base_model_name_or_path", "", config_file(folder));
}

AdapterFile read_adapter(const fs::path& folder) {
  AdapterFile file;
  file.settings = settings_of(read_config(folder), config_file(folder));
  file.weights = folder / kAdapterWeights;
  const fs::path& weights = file.weights;
  const auto checkpoint = open_checkpoint(weights);
  for (const TensorInfo& info : checkpoint->tensors()) {
    take_tensor(file, info.name, checkpoint->take(info.name, at::kFloat), weights.string());
  }
  if (file.pairs.empty())
    throw InputError("{}: expected matrices lora_A and lora_B, found none", weights.string());
  std::set<std::string> targets;
  for (const auto& [module, pair] : file.pairs) {
    const bool fits = pair.a.defined() && pair.b.defined() && pair.a.dim() == 2 && pair.b.dim() == 2 &&
                      pair.a.size(0) == file.settings.rank && pair.b.size(1) == file.settings.rank;
    if (!fits) {
      throw InputError("{}: {}: expected lora_A [{}, in] and lora_B [out, {}]", weights.string(), module,
                       file.settings.rank, file.settings.rank);
    }
    targets.insert(module.substr(module.rfind('.') + 1));
  }
  file.settings.targets.assign(targets.begin(), targets.end());
  return file;
}

void load_adapter(const AdapterFile& file, Adapters& adapters) {
  const at::NoGradGuard no_grad;
  std::map<std::string, const AdapterFile::Pair*> by_module;
  for (const auto& [module, pair] : file.pairs) by_module[bare_name(module)] = &pair;
  const std::vector<TensorSlot> slots = adapters.slots();
  if (!file.whole.empty()) {
    throw UnsupportedModel(
        "--adapter: {} was trained beside the adapters. Try: export --adapter, and train what it writes",
        file.whole.begin()->first);
  }
  if (slots.size() != 2 * by_module.size()) {
    throw InputError("--adapter: expected adapters of {} matrices, which the model has, found {}",
                     slots.size() / 2, by_module.size());
  }
  for (const TensorSlot& slot : slots) {
    const bool low = slot.name.ends_with(kLow);
    const auto found = by_module.find(bare_name(slot.name.substr(0, slot.name.size() - kLow.size())));
    const at::Tensor* from = found == by_module.end() ? nullptr : low ? &found->second->a : &found->second->b;
    if (from == nullptr || from->sizes() != slot.target->sizes()) {
      throw InputError("--adapter: expected {} [{}], found {}", slot.name, fmt::join(slot.shape, ", "),
                       from == nullptr ? "none" : "one of another shape");
    }
    slot.target->copy_(*from);
  }
}

int64_t merge_adapter(const AdapterFile& file, std::map<std::string, at::Tensor>& tensors) {
  const std::string what = file.weights.string();
  std::map<std::string, at::Tensor*> by_name;
  for (auto& [name, tensor] : tensors) by_name[bare_name(name)] = &tensor;
  const auto find = [&](const std::string& name) -> at::Tensor& {
    const auto found = by_name.find(bare_name(name));
    if (found == by_name.end()) {
      throw InputError("{}: the model has no {}, for which this is. Try: the model that it was trained on",
                       what, name);
    }
    return *found->second;
  };
  for (const auto& [module, pair] : file.pairs) {
    at::Tensor& weight = find(module + ".weight");
    if (weight.dim() != 2 || weight.size(0) != pair.b.size(0) || weight.size(1) != pair.a.size(1)) {
      throw InputError("{}: {}: expected an adapter for [{}], found one for [{}, {}]", what, module,
                       fmt::join(weight.sizes(), ", "), pair.b.size(0), pair.a.size(1));
    }
    weight =
        at::addmm(weight.to(at::kFloat), pair.b, pair.a, 1, file.settings.scale()).to(weight.scalar_type());
  }
  for (const auto& [name, tensor] : file.whole) {
    at::Tensor& weight = find(name);
    if (weight.sizes() != tensor.sizes()) {
      throw InputError("{}: {}: expected [{}], found [{}]", what, name, fmt::join(weight.sizes(), ", "),
                       fmt::join(tensor.sizes(), ", "));
    }
    weight = tensor.to(weight.scalar_type()).clone();
  }
  return static_cast<int64_t>(file.pairs.size());
}

}  // namespace ropescope
