#include "ropescope/text/tokenizer_config.h"

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

/// "</s>" or {"content": "</s>", ...}.
std::string token_text(const Json& value, const std::string& what) {
  if (value.is_string()) return value.get<std::string>();
  return json_string(value, "content", what);
}

void read_roles(const Json& object, const std::string& what, TokenizerConfig& config) {
  const auto role = [&](const char* key) -> std::optional<std::string> {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::nullopt;
    const std::string text = token_text(*found, what + ": " + key);
    config.special_tokens.push_back(text);
    return text;
  };
  const auto keep = [](std::optional<std::string>& field, std::optional<std::string> value) {
    if (!field) field = std::move(value);
  };
  keep(config.bos_token, role("bos_token"));
  keep(config.eos_token, role("eos_token"));
  keep(config.unk_token, role("unk_token"));
  for (const char* key : {"pad_token", "sep_token", "cls_token", "mask_token"}) role(key);
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) continue;
    if (!found->is_array() && !found->is_object()) {
      throw InputError("{}: \"{}\": expected a list of tokens", what, key);
    }
    // An object gives each token a role of the model's own.
    std::vector<std::string>& list = found->is_object() ? config.special_tokens : config.more_special_tokens;
    for (const Json& token : *found) list.push_back(token_text(token, what + ": " + key));
  }
}

std::optional<bool> optional_bool(const Json& object, const char* key, const std::string& what) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  return json_bool(object, key, what);
}

void read_added_decoder(const Json& object, const std::string& what, TokenizerConfig& config) {
  const auto found = object.find("added_tokens_decoder");
  if (found == object.end() || found->is_null()) return;
  if (!found->is_object()) throw InputError("{}: \"added_tokens_decoder\": expected an object", what);
  for (const auto& [key, value] : found->items()) {
    int64_t id = 0;
    const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (code != std::errc() || end != key.data() + key.size()) {
      throw InputError("{}: \"added_tokens_decoder\": expected an id, found \"{}\"", what, key);
    }
    config.added.push_back(parse_added_token(value, id, what + ": added_tokens_decoder " + key));
  }
}

/// added_tokens.json: {"<image>": 32000}. Nothing is known but the id, so such a token is special only where a
/// list says so.
void read_added_file(const fs::path& path, TokenizerConfig& config) {
  if (!fs::exists(path)) return;
  const Json object = read_json_file(path);
  if (!object.is_object()) throw InputError("{}: expected an object of tokens and ids", path.string());
  std::unordered_set<std::string> known;
  for (const AddedToken& token : config.added) known.insert(token.content);
  for (const auto& [content, id] : object.items()) {
    if (known.count(content) > 0) continue;
    AddedToken token;
    token.content = content;
    token.id = json_integer(object, content.c_str(), path.string());
    token.special = std::find(config.more_special_tokens.begin(), config.more_special_tokens.end(),
                              content) != config.more_special_tokens.end();
    config.added.push_back(token);
  }
}

}  // namespace

AddedToken parse_added_token(const Json& entry, int64_t id, const std::string& what) {
  AddedToken token;
  token.content = json_string(entry, "content", what);
  token.id = id;
  token.special = json_bool_or(entry, "special", false, what);
  token.normalized = json_bool_or(entry, "normalized", !token.special, what);
  token.single_word = json_bool_or(entry, "single_word", false, what);
  token.lstrip = json_bool_or(entry, "lstrip", false, what);
  token.rstrip = json_bool_or(entry, "rstrip", false, what);
  return token;
}

TokenizerConfig read_tokenizer_config(const fs::path& folder) {
  TokenizerConfig config;
  const fs::path main_path = folder / "tokenizer_config.json";
  if (fs::exists(main_path)) {
    const std::string what = main_path.string();
    const Json object = read_json_file(main_path);
    if (!object.is_object()) throw InputError("{}: expected a JSON object", what);
    config.tokenizer_class = json_string_or(object, "tokenizer_class", "", what);
    constexpr std::string_view kFast = "Fast";
    if (config.tokenizer_class.size() > kFast.size() &&
        config.tokenizer_class.compare(config.tokenizer_class.size() - kFast.size(), kFast.size(), kFast) ==
            0) {
      config.tokenizer_class.resize(config.tokenizer_class.size() - kFast.size());
    }
    read_roles(object, what, config);
    config.add_bos_token = optional_bool(object, "add_bos_token", what);
    config.add_eos_token = optional_bool(object, "add_eos_token", what);
    config.add_prefix_space = optional_bool(object, "add_prefix_space", what);
    config.legacy = json_bool_or(object, "legacy", true, what);
    read_added_decoder(object, what, config);
  }
  const fs::path roles_path = folder / "special_tokens_map.json";
  if (fs::exists(roles_path)) {
    const Json object = read_json_file(roles_path);
    if (!object.is_object()) throw InputError("{}: expected a JSON object", roles_path.string());
    read_roles(object, roles_path.string(), config);
  }
  read_added_file(folder / "added_tokens.json", config);
  return config;
}

std::optional<int64_t> added_token_id(const std::vector<AddedToken>& added,
                                      const std::optional<std::string>& content) {
  if (!content) return std::nullopt;
  for (const AddedToken& token : added) {
    if (token.content == *content) return token.id;
  }
  return std::nullopt;
}

}  // namespace ropescope
