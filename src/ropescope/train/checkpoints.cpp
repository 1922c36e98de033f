#include "ropescope/train/checkpoints.h"

#include <charconv>
#include <system_error>

#include <fmt/format.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/decoder_names.h"
#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/json_difference.h"
#include "ropescope/core/version.h"
#include "ropescope/text/tokenizer_readers.h"
#include "ropescope/train/adapter_file.h"
#include "ropescope/weights/safetensors_writer.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kFormatVersion = 1;
constexpr const char* kFormat = "ropescope-training";
const std::string kPrefix = "step-";
const std::string kUnfinished = ".unfinished-";

std::optional<int64_t> step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  if (name.rfind(kPrefix, 0) != 0) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, code] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (code != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

std::map<std::string, at::Tensor> read_tensors(const fs::path& file) {
  const auto checkpoint = open_checkpoint(file);
  std::map<std::string, at::Tensor> tensors;
  for (const TensorInfo& info : checkpoint->tensors()) {
    tensors[info.name] = checkpoint->take(info.name, at::kFloat);
  }
  return tensors;
}

void write_tensors(const fs::path& file, const std::map<std::string, at::Tensor>& tensors,
                   const std::function<at::Tensor(const std::string& name)>& take) {
  if (take) {
    write_safetensors_file(file, tensors, take);
  } else {
    write_safetensors_file(file, tensors);
  }
}

void write_adapters(const fs::path& file, const SavedRun& run) {
  const std::string prefix = kAdapterPrefix;
  std::map<std::string, at::Tensor> named;
  for (const auto& [name, tensor] : run.weights) named[prefix + name] = tensor;
  write_safetensors_file(file, named, [&](const std::string& name) {
    const std::string own = name.substr(prefix.size());
    return run.take_weight ? run.take_weight(own) : run.weights.at(own);
  });
}

std::map<std::string, at::Tensor> read_adapters(const fs::path& file) {
  const std::string prefix = kAdapterPrefix;
  std::map<std::string, at::Tensor> own;
  for (auto& [name, tensor] : read_tensors(file)) {
    own[name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : name] = tensor;
  }
  return own;
}

std::map<int64_t, fs::path> checkpoints_in(const fs::path& folder) {
  std::map<int64_t, fs::path> found;
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, code)) {
    const auto step = step_of(entry.path());
    if (step && fs::exists(entry.path() / "state.json", code)) found[*step] = entry.path();
  }
  return found;
}

void rename_folder(const fs::path& from, const fs::path& to) {
  std::error_code code;
  fs::rename(from, to, code);
  if (code) throw EnvironmentError("{}: cannot be put in place ({})", to.string(), code.message());
}

}  // namespace

std::vector<ModelFile> read_model_files(const fs::path& model) {
  std::vector<ModelFile> files;
  std::error_code ignored;
  if (!fs::is_directory(model, ignored)) {
    // A GGUF file has none of them; its weights come out under Hugging Face names.
    DecoderConfig config = read_decoder_config(model);
    config.tie_word_embeddings = is_tied(model, config.tie_word_embeddings);
    files.push_back({"config.json", to_json(config).dump(2) + "\n"});
    if (const auto tokenizer = gguf_tokenizer_files(model)) {
      files.push_back({"tokenizer.json", tokenizer->tokenizer.dump() + "\n"});
      files.push_back({"tokenizer_config.json", tokenizer->config.dump(2) + "\n"});
    } else if (const auto chat = gguf_chat_template(model)) {
      files.push_back({"chat_template.jinja", *chat});
    }
    return files;
  }
  for (const char* name :
       {"config.json", "generation_config.json", "preprocessor_config.json", "video_preprocessor_config.json",
        "processor_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json",
        "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.json",
        "chat_template.jinja"}) {
    if (fs::is_regular_file(model / name, ignored)) files.push_back({name, read_file(model / name)});
  }
  if (files.empty() || files.front().name != "config.json") return files;
  const Json stored = parse_json(files.front().content, (model / "config.json").string());
  const Json config = with_true_tie(stored, model);
  if (config != stored) files.front().content = config.dump(2) + "\n";
  const std::string key = "mm_vision_tower";
  if (!config.is_object() || !config.contains(key) || !config.at(key).is_string()) return files;
  const auto name = config.at(key).get<std::string>();
  if (const auto tower = find_tower_folder(model, name)) {
    // (where find_tower_folder looks first that works for any name)
    const fs::path last =
        fs::path(name).has_filename() ? fs::path(name).filename() : fs::path(name).parent_path().filename();
    for (const char* file : {"config.json", "preprocessor_config.json"}) {
      if (!fs::is_regular_file(*tower / file, ignored)) continue;
      files.push_back({(last / file).string(), read_file(*tower / file)});
    }
  }
  return files;
}

Checkpoints::Checkpoints(fs::path folder, std::vector<ModelFile> files, bool adapters)
    : folder_(std::move(folder)), files_(std::move(files)), adapters_(adapters) {
  std::error_code code;
  fs::create_directories(folder_, code);
  if (code) throw EnvironmentError("{}: the folder cannot be made ({})", folder_.string(), code.message());
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, code)) {
    if (entry.path().filename().string().rfind(kUnfinished, 0) == 0) fs::remove_all(entry.path(), code);
  }
}

fs::path Checkpoints::save(const SavedRun& run, int64_t keep_last) {
  const fs::path target = folder_ / fmt::format("{}{}", kPrefix, run.step);
  const fs::path unfinished = folder_ / fmt::format("{}{}", kUnfinished, run.step);
  std::error_code ignored;
  fs::remove_all(unfinished, ignored);
  try {
    std::error_code code;
    fs::create_directory(unfinished, code);
    if (code) {
      throw EnvironmentError("{}: the folder cannot be made ({})", unfinished.string(), code.message());
    }
    if (adapters_) {
      write_adapters(unfinished / kAdapterWeights, run);
    } else {
      write_tensors(unfinished / "model.safetensors", run.weights, run.take_weight);
    }
    write_tensors(unfinished / "optimizer.safetensors", run.optimizer, run.take_state);
    for (const ModelFile& file : files_) {
      fs::create_directories((unfinished / file.name).parent_path(), code);
      write_text_durably(unfinished / file.name, file.content);
    }
    Json state = run.state;
    state["format"] = kFormat;
    state["format_version"] = kFormatVersion;
    state["step"] = run.step;
    state["ropescope_version"] = version();
    state["libtorch_version"] = libtorch_version();
    write_text_durably(unfinished / "state.json", state.dump(2) + "\n");
    sync_folder(unfinished);
  } catch (...) {
    fs::remove_all(unfinished, ignored);
    throw;
  }
  if (fs::exists(target, ignored)) {  // the same step again: the old one steps aside first
    const fs::path old = folder_ / fmt::format("{}old-{}", kUnfinished, run.step);
    fs::remove_all(old, ignored);
    rename_folder(target, old);
    rename_folder(unfinished, target);
    fs::remove_all(old, ignored);
  } else {
    rename_folder(unfinished, target);
  }
  sync_folder(folder_);
  if (keep_last > 0) {
    const auto present = all();
    auto left = static_cast<int64_t>(present.size());
    for (const auto& [step, folder] : present) {
      if (left-- <= keep_last) break;
      fs::remove_all(folder, ignored);
    }
  }
  return target;
}

std::map<int64_t, fs::path> Checkpoints::all() const { return checkpoints_in(folder_); }

std::optional<fs::path> Checkpoints::latest() const { return latest_checkpoint(folder_); }

std::optional<fs::path> latest_checkpoint(const fs::path& folder) {
  const auto present = checkpoints_in(folder);
  if (present.empty()) return std::nullopt;
  return present.rbegin()->second;
}

void Checkpoints::remove_all() {
  std::error_code ignored;
  for (const auto& [step, folder] : all()) fs::remove_all(folder, ignored);
}

SavedRun read_checkpoint(const fs::path& folder) {
  const fs::path file = folder / "state.json";
  SavedRun run;
  run.state = read_json_file(file);
  const std::string what = file.string();
  if (!run.state.is_object() || json_string_or(run.state, "format", "", what) != kFormat) {
    throw InputError("{}: expected the state of a training run (format {})", what, kFormat);
  }
  if (json_integer(run.state, "format_version", what) != kFormatVersion) {
    throw InputError("{}: expected format_version {}, found {}", what, kFormatVersion,
                     json_integer(run.state, "format_version", what));
  }
  run.step = json_integer(run.state, "step", what);
  if (run.step < 0) throw InputError("{}: expected a step of at least 0, found {}", what, run.step);
  run.weights = is_adapter_folder(folder) ? read_adapters(folder / kAdapterWeights)
                                          : read_tensors(folder / "model.safetensors");
  run.optimizer = read_tensors(folder / "optimizer.safetensors");
  return run;
}

std::vector<std::string> changed_settings(const Json& then, const Json& now) {
  std::vector<std::string> changes;
  for (const JsonDifference& other : differences(then, now)) {
    changes.push_back(fmt::format("{}: {}, now {}", other.key, other.was, other.is));
  }
  return changes;
}

}  // namespace ropescope
