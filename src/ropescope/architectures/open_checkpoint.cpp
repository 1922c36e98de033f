#include "ropescope/architectures/open_checkpoint.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>

#include <fmt/ranges.h>

#include "ropescope/architectures/gguf_names.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/weights/gguf.h"
#include "ropescope/weights/pytorch_file.h"
#include "ropescope/weights/safetensors.h"
#include "ropescope/weights/shard_index.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxIndexBytes = uint64_t{256} << 20;
// In the order of preference of Hugging Face's loader.
constexpr std::array<const char*, 4> kFolderFiles = {"model.safetensors", "model.safetensors.index.json",
                                                     "pytorch_model.bin", "pytorch_model.bin.index.json"};
constexpr std::array<const char*, 5> kWeightExtensions = {".safetensors", ".bin", ".gguf", ".pt", ".pth"};
// Files with such extensions that are no model weights.
constexpr std::array<const char*, 7> kOtherFiles = {
    "adapter", "optimizer", "scheduler", "training_args", "training_state", "rng_state", "scaler"};

enum class Form { kSafetensors, kPytorch, kGguf, kIndex, kUnknown };

Form form_of(std::span<const std::byte> bytes) {
  const std::string_view text = first_bytes(bytes, 4);
  if (text == "GGUF") return Form::kGguf;
  if (looks_like_pytorch(bytes)) return Form::kPytorch;
  if (looks_like_safetensors(bytes)) return Form::kSafetensors;
  return text.starts_with('{') ? Form::kIndex : Form::kUnknown;
}

/// Content decides; where it decides nothing (a damaged file), the name chooses the reader that says why.
Form form_of(const FileBytes& file) {
  const Form form = form_of(file.bytes);
  if (form != Form::kUnknown) return form;
  const std::string extension = file.path.extension().string();
  if (extension == ".safetensors") return Form::kSafetensors;
  if (extension == ".gguf") return Form::kGguf;
  if (extension == ".json") return Form::kIndex;
  throw InputError("{}: expected weights (safetensors, a PyTorch file or GGUF), found {}", file.path.string(),
                   file.bytes.empty() ? "an empty file" : "a file that begins like none of them");
}

std::vector<StoredTensor> parse_tensors(const FileBytes& file, Form form) {
  return form == Form::kSafetensors ? parse_safetensors(file) : parse_pytorch(file);
}

const char* container_name(Form form) { return form == Form::kSafetensors ? "safetensors" : "pytorch"; }

/// Maps and parses shards, which must all be of one form.
std::map<std::string, std::vector<StoredTensor>> parse_shards(const std::vector<fs::path>& paths,
                                                              Form& form) {
  form = Form::kUnknown;
  std::map<std::string, std::vector<StoredTensor>> shards;
  for (const fs::path& path : paths) {
    const FileBytes file = map_file(path);
    const Form found = form_of(file);
    if ((found != Form::kSafetensors && found != Form::kPytorch) ||
        (form != Form::kUnknown && found != form)) {
      throw InputError("{}: expected a shard in safetensors or PyTorch form, like the others", path.string());
    }
    form = found;
    shards[path.filename().string()] = parse_tensors(file, form);
  }
  return shards;
}

std::unique_ptr<Checkpoint> open_index(const fs::path& path) {
  const std::string what = path.string();
  const ShardIndex index = parse_shard_index(read_file(path, kMaxIndexBytes), what);
  std::vector<fs::path> paths;
  std::vector<std::string> missing;
  for (const std::string& shard : index.shards()) {
    paths.push_back(path.parent_path() / shard);
    std::error_code ignored;
    if (!fs::exists(paths.back(), ignored)) missing.push_back(shard);
  }
  if (!missing.empty()) {
    throw InputError("{}: of its {} shards, these are not in the folder: {}. Try: complete the download.",
                     what, paths.size(), fmt::join(missing, ", "));
  }
  Form form{};
  auto shards = parse_shards(paths, form);
  return make_checkpoint(container_name(form), paths, join_shards(index, std::move(shards), what));
}

std::unique_ptr<Checkpoint> open_file(const fs::path& path) {
  const FileBytes file = map_file(path);
  const Form form = form_of(file);
  if (form == Form::kGguf) return open_gguf_checkpoint(path);
  if (form == Form::kIndex) return open_index(path);
  return make_checkpoint(container_name(form), {path}, parse_tensors(file, form));
}

bool is_weight_file(const fs::path& path) {
  const std::string name = path.filename().string();
  const auto starts = [&](const char* word) { return name.starts_with(word); };
  const std::string extension = path.extension().string();
  return std::find(kWeightExtensions.begin(), kWeightExtensions.end(), extension) !=
             kWeightExtensions.end() &&
         std::none_of(kOtherFiles.begin(), kOtherFiles.end(), starts);
}

/// True if the files are <stem>-00001-of-0000N to N of N, sorted: shards that lost their index.
bool are_all_shards(const std::vector<fs::path>& paths) {
  if (paths.size() < 2) return false;
  const std::string first = paths[0].filename().string();
  const size_t place = first.find("-00001-of-");
  if (place == std::string::npos) return false;
  for (size_t i = 0; i < paths.size(); ++i) {
    const std::string expected = fmt::format("{}-{:05}-of-{:05}{}", first.substr(0, place), i + 1,
                                             paths.size(), paths[0].extension().string());
    if (paths[i].filename() != expected) return false;
  }
  return true;
}

std::unique_ptr<Checkpoint> open_folder(const fs::path& folder) {
  for (const char* name : kFolderFiles) {
    std::error_code ignored;
    if (fs::exists(folder / name, ignored)) return open_file(folder / name);
  }
  std::vector<fs::path> paths;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    if (entry.is_regular_file(code) && is_weight_file(entry.path())) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  if (paths.size() == 1) return open_file(paths[0]);
  if (are_all_shards(paths)) {
    Form form{};
    std::vector<StoredTensor> tensors;
    for (auto& [name, shard] : parse_shards(paths, form)) {
      std::move(shard.begin(), shard.end(), std::back_inserter(tensors));
    }
    return make_checkpoint(container_name(form), paths, std::move(tensors));
  }
  std::vector<std::string> names;
  for (const fs::path& path : paths) names.push_back(path.filename().string());
  throw InputError("{}: expected {}, or one other weight file ({}); found {}", folder.string(),
                   fmt::join(kFolderFiles, ", "), fmt::join(kWeightExtensions, ", "),
                   names.empty() ? "none of them" : fmt::format("{}", fmt::join(names, ", ")));
}

}  // namespace

void check_model_is_there(const fs::path& model) {
  std::error_code ignored;
  if (fs::exists(model, ignored)) return;
  // "Qwen/Qwen2.5-0.5B": what other programs fetch by this name.
  const bool name_of_hub = model.is_relative() && std::distance(model.begin(), model.end()) == 2 &&
                           !fs::exists(model.parent_path(), ignored);
  throw InputError(
      "{}: no such file or folder{}", model.string(),
      name_of_hub
          ? fmt::format("; ropescope downloads nothing: `hf download {} --local-dir {}` puts it there",
                        model.string(), model.string())
          : "");
}

std::unique_ptr<Checkpoint> open_gguf_checkpoint(const fs::path& path) {
  return make_gguf_checkpoint(map_file(path), role_in_hugging_face_form);
}

std::unique_ptr<Checkpoint> open_gguf_checkpoint(std::span<const std::byte> bytes, const std::string& what) {
  return make_gguf_checkpoint(FileBytes{what, bytes, nullptr}, role_in_hugging_face_form);
}

std::unique_ptr<Checkpoint> open_checkpoint(const fs::path& path) {
  check_model_is_there(path);
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? open_folder(path) : open_file(path);
}

}  // namespace ropescope
