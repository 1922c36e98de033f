#include "ropescope/text/chat_template_file.h"

#include <system_error>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/text/tokenizer_readers.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLargestTemplateFile = uint64_t{1} << 20;

/// "chat_template": a text, a list of {"name", "template"}, or an object of names and templates.
std::optional<std::string> template_in(const Json& file, const fs::path& path) {
  const Json* found = json_find(file, "chat_template");
  if (found == nullptr) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  const std::string what = path.string() + ": \"chat_template\"";
  std::vector<std::pair<std::string, std::string>> named;
  if (found->is_object()) {
    for (const auto& [name, source] : found->items())
      named.emplace_back(name, json_string(*found, name.c_str(), what));
  } else if (found->is_array()) {
    for (const Json& entry : *found) {
      named.emplace_back(json_string(entry, "name", what), json_string(entry, "template", what));
    }
  } else {
    throw InputError("{}: expected a text or a list of named templates", what);
  }
  std::string names;
  for (const auto& [name, source] : named) {
    if (name == "default" || named.size() == 1) return source;
    names += (names.empty() ? "" : ", ") + name;
  }
  throw InputError("{}: expected one named \"default\", found {}; --template names another", what,
                   names.empty() ? "none" : names);
}

std::optional<std::string> special_text(const Json& file, const char* key, const std::string& what) {
  const Json* found = json_find(file, key);
  if (found == nullptr) return std::nullopt;
  return found->is_string() ? found->get<std::string>() : json_string(*found, "content", what + ": " + key);
}

void add_special_tokens(const fs::path& folder, const Tokenizer& tokenizer, StoredChatTemplate& stored) {
  std::vector<std::pair<Json, std::string>> files;
  std::error_code ignored;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    if (!folder.empty() && fs::is_regular_file(folder / name, ignored)) {
      files.emplace_back(read_json_file(folder / name), (folder / name).string());
    }
  }
  for (const char* key :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    std::optional<std::string> text;
    for (const auto& [file, what] : files) {
      if (!text) text = special_text(file, key, what);
    }
    const std::string role = key;
    const std::optional<int64_t> id = role == "bos_token"   ? tokenizer.bos_id()
                                      : role == "eos_token" ? tokenizer.eos_id()
                                                            : std::nullopt;
    if (!text && id) text = tokenizer.token(*id);
    if (text) stored.special_tokens.emplace_back(role, *text);
  }
}

std::optional<StoredChatTemplate> find_in_folder(const fs::path& folder, bool sees) {
  std::error_code ignored;
  const fs::path bare = folder / "chat_template.jinja";
  if (fs::is_regular_file(bare, ignored)) {
    return StoredChatTemplate{read_file(bare, kLargestTemplateFile), "chat_template.jinja", {}};
  }
  std::vector<std::string> names = {"chat_template.json", "processor_config.json", "tokenizer_config.json"};
  if (!sees) names = {"tokenizer_config.json", "chat_template.json"};
  for (const std::string& name : names) {
    const fs::path path = folder / name;
    if (!fs::is_regular_file(path, ignored)) continue;
    if (auto source = template_in(read_json_file(path), path)) {
      return StoredChatTemplate{std::move(*source), "chat_template of " + name, {}};
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<StoredChatTemplate> read_chat_template(const fs::path& model, const Tokenizer& tokenizer,
                                                     bool sees) {
  std::error_code ignored;
  std::optional<StoredChatTemplate> stored;
  fs::path folder;
  if (fs::is_regular_file(model, ignored) && is_gguf_file(model)) {
    auto source = gguf_chat_template(model);
    if (!source) return std::nullopt;
    stored =
        StoredChatTemplate{std::move(*source), "tokenizer.chat_template of " + model.filename().string(), {}};
  } else {
    folder = fs::is_directory(model, ignored) ? model : fs::absolute(model).parent_path();
    stored = find_in_folder(folder, sees);
  }
  if (stored) add_special_tokens(folder, tokenizer, *stored);
  return stored;
}

}  // namespace ropescope
