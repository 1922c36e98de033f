#include "ropescope/train/export.h"

#include <map>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <ATen/ops/cat.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/decoder_names.h"
#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/architectures/vlm_config.h"
#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/train/adapter_file.h"
#include "ropescope/train/checkpoints.h"
#include "ropescope/train/export_config.h"
#include "ropescope/weights/safetensors_writer.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

/// Rows that a new token brings, so that their number stays a multiple that matrix products like.
constexpr int64_t kRowMultiple = 64;

bool is_gguf(const fs::path& model) {
  std::error_code ignored;
  return model.extension() == ".gguf" && fs::is_regular_file(model, ignored);
}

fs::path folder_of(const fs::path& given, const char* flag) {
  std::error_code ignored;
  if (is_gguf(given) || fs::is_regular_file(given / "config.json", ignored) || is_adapter_folder(given)) {
    return given;
  }
  for (const fs::path& place : {given / "checkpoints", given}) {
    if (const auto latest = latest_checkpoint(place)) return *latest;
  }
  throw InputError("{} {}: expected a folder with config.json or {}, or that of a run", flag, given.string(),
                   kAdapterConfig);
}

Json config_of(const fs::path& model) {
  // A GGUF file has one in the form of its architecture.
  return is_gguf(model) ? parse_json(read_model_files(model).front().content, model.string())
                        : read_json_file(model / "config.json");
}

/// What the exported model is called and shaped.
struct Plan {
  std::string form;
  Json config;
  std::vector<ModelFile> files;  // but for config.json
  bool sees = false;             // a family of vlm_config.h, LLaVA-NeXT apart
  std::optional<LlavaConfig> llava;
  int64_t rows = 0;  // of the vocabulary; 0: as they are
};

Json file_content(const std::vector<ModelFile>& files, const std::string& name) {
  for (const ModelFile& file : files) {
    if (file.name == name) return parse_json(file.content, name);
  }
  return {};
}

void set_file(std::vector<ModelFile>& files, const std::string& name, const Json& content) {
  const std::string text = content.dump(2) + "\n";
  for (ModelFile& file : files) {
    if (file.name == name) {
      file.content = text;
      return;
    }
  }
  files.push_back({name, text});
}

bool has_tokenizer(const std::vector<ModelFile>& files) {
  for (const ModelFile& file : files) {
    if (file.name == "tokenizer.json" || file.name == "tokenizer.model" || file.name == "vocab.json")
      return true;
  }
  return false;
}

/// The original form has no image token: it gets one.
void add_image_token(const fs::path& folder, Plan& plan) {
  const int64_t vocabulary = plan.llava->decoder.vocab_size;
  const bool tokenizes = has_tokenizer(plan.files);
  const int64_t known = tokenizes ? load_tokenizer(folder)->vocab_size() : vocabulary;
  const int64_t id = known < vocabulary ? known : vocabulary;
  if (id == vocabulary) plan.rows = (vocabulary / kRowMultiple + 1) * kRowMultiple;
  plan.config = hf_llava_config(plan.config, *plan.llava, id, plan.rows > 0 ? plan.rows : vocabulary);
  if (!tokenizes) return;
  if (const Json tokenizer = file_content(plan.files, "tokenizer.json"); tokenizer.is_object()) {
    set_file(plan.files, "tokenizer.json", with_image_token(tokenizer, /*is_config=*/false, id));
  }
  set_file(plan.files, "tokenizer_config.json",
           with_image_token(file_content(plan.files, "tokenizer_config.json"), /*is_config=*/true, id));
}

Plan make_plan(const fs::path& folder) {
  Plan plan;
  plan.config = config_of(folder);
  const Json stored = plan.config;
  plan.config = with_true_tie(stored, folder);
  const bool untied = plan.config != stored;
  if (untied) warn_of_untied_output();
  for (ModelFile& file : read_model_files(folder)) {
    const bool below = file.name.find('/') != std::string::npos;  // an original checkpoint's tower
    if (file.name != "config.json" && !below) plan.files.push_back(std::move(file));
  }
  const VlmFamily* family = find_vlm_family(plan.config);
  if (family != nullptr && family->name != "llava_next") {
    // Its checkpoints have the public names, and the files beside them are the model's own.
    plan.form = family->name;
    plan.sees = true;
    if (json_string_or(plan.config, "model_type", "", folder.string()) == "internvl_chat") {
      log_warning(
          "{}: its config.json is InternVL's own, beside which transformers expects other names of tensors; ropescope reads "
          "what is written",
          folder.string());
    }
    return plan;
  }
  if (!is_llava_config(plan.config)) {
    plan.form = read_decoder_config(folder).model_type;
    return plan;
  }
  const Json tag = plan.config.value("ropescope", Json());
  plan.form = "llava_next";
  plan.llava = read_llava_config(folder);
  if (untied) plan.llava->decoder.tie_word_embeddings = false;
  const PreprocessSettings settings = read_preprocess_settings(folder);
  if (plan.llava->original && !plan.llava->image_token_id) {
    add_image_token(folder, plan);
  } else if (plan.llava->original) {
    plan.config = hf_llava_config(plan.config, *plan.llava, *plan.llava->image_token_id,
                                  plan.llava->decoder.vocab_size);
  }
  if (!tag.is_null()) plan.config["ropescope"] = tag;
  const bool complete = !file_content(plan.files, "preprocessor_config.json").is_null() ||
                        !file_content(plan.files, "processor_config.json").is_null();
  if (plan.llava->original || !complete) {
    set_file(plan.files, "preprocessor_config.json", hf_image_processor(settings));
    Json processor = hf_processor(*plan.llava);
    const Json before = file_content(plan.files, "processor_config.json");
    if (json_has(before, "chat_template")) processor["chat_template"] = before.at("chat_template");
    set_file(plan.files, "processor_config.json", processor);
  }
  return plan;
}

/// The name in the public llava-hf 1.6 repositories; none for what is no parameter.
std::optional<std::string> hub_name(const std::string& name) {
  const LlavaRole role = llava_role(name);
  switch (role.part) {
    case LlavaPart::kDecoder:
      return "language_model." + role.name;
    case LlavaPart::kTower:
      return "vision_tower.vision_model." + role.name;
    case LlavaPart::kProjector:
      return "multi_modal_projector." + role.name;
    case LlavaPart::kNewline:
      return role.name;
    case LlavaPart::kOther:
      break;
  }
  return std::nullopt;
}

at::Tensor with_rows(const at::Tensor& matrix, int64_t rows) {
  const at::Tensor mean = matrix.to(at::kFloat).mean(0, /*keepdim=*/true).to(matrix.scalar_type());
  return at::cat({matrix, mean.expand({rows - matrix.size(0), matrix.size(1)})}, 0);
}

/// Parts of a fused qkv, which training steps have apart, become one.
void fuse_towers(std::map<std::string, at::Tensor>& tensors) {
  const std::string query = ".attn.qkv.q.";
  std::vector<std::string> queries;
  for (const auto& [name, tensor] : tensors) {
    if (name.find(query) != std::string::npos) queries.push_back(name);
  }
  for (const std::string& name : queries) {
    const size_t at = name.find(query) + query.size() - 2;  // its "q"
    std::string key = name, value = name, fused = name;
    key[at] = 'k';
    value[at] = 'v';
    fused.erase(at, 2);
    if (tensors.count(key) == 0 || tensors.count(value) == 0) {
      throw InputError("checkpoint: {} is there without {} or {}", name, key, value);
    }
    tensors[fused] = at::cat({tensors.at(name), tensors.at(key), tensors.at(value)}, 0);
    for (const std::string& part : {name, key, value}) tensors.erase(part);
  }
}

/// The same of the language model inside, whose family may fuse others.
void fuse_decoder(const DecoderConfig& config, std::map<std::string, at::Tensor>& tensors) {
  const std::string inside = "model.language_model.", alone = "model.";
  std::map<std::string, at::Tensor> decoder;
  for (auto tensor = tensors.begin(); tensor != tensors.end();) {
    if (tensor->first.rfind(inside, 0) == 0) {
      decoder[alone + tensor->first.substr(inside.size())] = tensor->second;
      tensor = tensors.erase(tensor);
    } else {
      ++tensor;
    }
  }
  fuse_tensors(config, decoder);
  for (auto& [name, tensor] : decoder) tensors[inside + name.substr(alone.size())] = std::move(tensor);
}

void collect(const Checkpoint& checkpoint, const Plan& plan, at::ScalarType dtype,
             std::map<std::string, at::Tensor>& tensors, ExportSummary& summary) {
  for (const TensorInfo& info : checkpoint.tensors()) {
    const std::optional<std::string> name = plan.llava ? hub_name(info.name) : info.name;
    if (!name) continue;
    at::Tensor tensor = checkpoint.take(info.name, dtype);
    const bool vocabulary =
        *name == "language_model.model.embed_tokens.weight" || *name == "language_model.lm_head.weight";
    if (plan.rows > 0 && vocabulary) {
      summary.added_rows = plan.rows - tensor.size(0);
      tensor = with_rows(tensor, plan.rows);
    }
    summary.parameters += tensor.numel();
    tensors[*name] = std::move(tensor);
  }
  summary.tensors = static_cast<int64_t>(tensors.size());
}

std::map<std::string, at::Tensor> collect_all(const fs::path& folder, const Plan& plan, at::ScalarType dtype,
                                              ExportSummary& summary) {
  std::map<std::string, at::Tensor> tensors;
  const auto checkpoint = open_checkpoint(folder);
  collect(*checkpoint, plan, dtype, tensors, summary);
  if (plan.sees) {
    fuse_towers(tensors);
    fuse_decoder(read_decoder_config(folder), tensors);
  }
  if (!plan.llava && !plan.sees) fuse_tensors(read_decoder_config(folder), tensors);
  summary.tensors = static_cast<int64_t>(tensors.size());
  // An original checkpoint may leave its tower outside.
  if (plan.llava && llava_part(*checkpoint, LlavaPart::kTower)->tensors().empty()) {
    const auto place = find_tower_folder(folder, plan.llava->tower_name);
    if (!place) throw InputError("{}: its vision tower is not there", folder.string());
    const auto tower = open_checkpoint(*place);
    collect(*llava_part(*tower, LlavaPart::kTower), plan, dtype, tensors, summary);
  }
  return tensors;
}

std::string torch_name(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? "bfloat16" : dtype == at::kHalf ? "float16" : "float32";
}

}  // namespace

ExportSource find_export_source(const fs::path& checkpoint, const fs::path& adapter) {
  const fs::path found = folder_of(checkpoint, "--checkpoint");
  if (!adapter.empty()) {
    if (is_adapter_folder(found)) {
      throw UsageError("--checkpoint {}: expected a model beside --adapter, found adapters",
                       checkpoint.string());
    }
    return {found, folder_of(adapter, "--adapter")};
  }
  if (!is_adapter_folder(found)) return {found, std::nullopt};
  const fs::path base = adapter_base(found);
  std::error_code ignored;
  if (base.empty() || !fs::exists(base, ignored)) {
    throw InputError(
        "--checkpoint {}: its adapters are for \"{}\", which is not there. Try: --checkpoint MODEL --adapter {}",
        checkpoint.string(), base.string(), checkpoint.string());
  }
  return {folder_of(base, "--checkpoint"), found};
}

ExportSummary export_model(const ExportSource& source, const fs::path& output, at::ScalarType dtype,
                           bool force) {
  std::error_code code;
  if (fs::exists(output, code) && !force) {
    throw UsageError("--output: {} is there already. Try: --force", output.string());
  }
  const fs::path& folder = source.model;
  std::optional<AdapterFile> adapter;  // what is wrong with it is told before weights are read
  if (source.adapter) adapter = read_adapter(*source.adapter);
  Plan plan = make_plan(folder);
  ExportSummary summary;
  summary.form = plan.form;
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (key == std::string("torch_dtype") || plan.config.contains(key)) plan.config[key] = torch_name(dtype);
  }
  const fs::path taught = source.adapter.value_or(folder) / "state.json";
  if (fs::is_regular_file(taught, code)) {
    const Json state = read_json_file(taught);
    summary.step = json_integer(state, "step", taught.string());
    // Transformers knows no scheme; whoever loads the model should.
    const Json settings = state.contains("config") ? state.at("config") : Json::object();
    plan.config["ropescope"] = {{"step", summary.step},
                                {"scheme", settings.contains("scheme") ? settings.at("scheme") : Json()}};
  }
  // (An adapter is added before numbers are rounded.)
  auto tensors = collect_all(folder, plan, adapter ? at::kFloat : dtype, summary);
  if (adapter) {
    summary.adapted = merge_adapter(*adapter, tensors);
    for (auto& [name, tensor] : tensors) tensor = tensor.to(dtype);
  }
  set_file(plan.files, "config.json", plan.config);
  const fs::path absolute = fs::absolute(output / "x").parent_path();
  const fs::path unfinished = absolute.parent_path() / (".unfinished-" + absolute.filename().string());
  fs::remove_all(unfinished, code);
  try {
    fs::create_directories(unfinished, code);
    if (code)
      throw EnvironmentError("{}: the folder cannot be made ({})", unfinished.string(), code.message());
    write_safetensors_file(unfinished / "model.safetensors", tensors);
    for (const ModelFile& file : plan.files) write_text_durably(unfinished / file.name, file.content);
    sync_folder(unfinished);
  } catch (...) {
    fs::remove_all(unfinished, code);
    throw;
  }
  fs::remove_all(absolute, code);
  fs::rename(unfinished, absolute, code);
  if (code) throw EnvironmentError("{}: cannot be put in place ({})", absolute.string(), code.message());
  return summary;
}

}  // namespace ropescope
