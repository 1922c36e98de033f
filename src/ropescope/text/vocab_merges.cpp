// vocab.json + merges.txt, the older form of byte-level BPE. It does not say how text is cut into words; the
// tokenizer's class does.
#include <algorithm>
#include <initializer_list>
#include <sstream>
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/text/pipeline_tokenizer.h"
#include "ropescope/text/tokenizer_config.h"
#include "ropescope/text/tokenizer_readers.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

void read_merges(const fs::path& path, BpeFiles& out) {
  std::istringstream stream(read_file(path));
  size_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    // Only the header is a comment: "# #" is a merge.
    if (line.empty() || line.rfind("#version", 0) == 0) continue;
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      throw InputError("{}:{}: expected two tokens with a space between them, found \"{}\"", path.string(),
                       number, line);
    }
    out.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
}

/// "qwen2", "qwen35" or "gpt2".
std::string family_of(const fs::path& folder, const TokenizerConfig& config) {
  const fs::path config_path = folder / "config.json";
  std::string model;
  if (fs::exists(config_path))
    model = json_string_or(read_json_file(config_path), "model_type", "", config_path.string());
  const std::string name = config.tokenizer_class.empty() ? model : config.tokenizer_class;
  const auto begins = [](const std::string& text, std::initializer_list<const char*> prefixes) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](const char* prefix) { return text.rfind(prefix, 0) == 0; });
  };
  // Files of Qwen 3.5 name the class of Qwen 2, whose pattern takes marks for no part of a word.
  if (begins(name, {"Qwen2", "qwen2", "Qwen3", "qwen3"}))
    return begins(name, {"Qwen3_5", "qwen3_5"}) || begins(model, {"qwen3_5"}) ? "qwen35" : "qwen2";
  const bool gpt2 = name.empty() || name == "GPT2Tokenizer" || name == "gpt2" || name == "RobertaTokenizer";
  if (!gpt2) {
    throw InputError(
        "{}: vocab.json and merges.txt do not say how \"{}\" cuts text into words (known: GPT2Tokenizer, "
        "Qwen2Tokenizer, Qwen3_5Tokenizer); a tokenizer.json beside them would",
        folder.string(), name);
  }
  return "gpt2";
}

}  // namespace

std::unique_ptr<Tokenizer> read_vocab_and_merges(const fs::path& folder) {
  ByteLevelFiles out;
  const fs::path path = folder / "vocab.json";
  const std::string what = path.string();
  out.bpe.what = out.parts.what = what;
  const Json vocabulary = read_json_file(path);
  if (!vocabulary.is_object()) throw InputError("{}: expected an object of tokens and ids", what);
  for (const auto& [token, id] : vocabulary.items()) {
    out.bpe.vocabulary.emplace_back(token, json_integer(vocabulary, token.c_str(), what));
  }
  read_merges(folder / "merges.txt", out.bpe);

  const TokenizerConfig config = read_tokenizer_config(folder);
  out.parts.family = family_of(folder, config);
  const bool gpt2 = out.parts.family == "gpt2";
  if (!gpt2) out.parts.normalizer = {NormalForm::kNfc};
  const char* const qwen = out.parts.family == "qwen2" ? kQwen2Pattern : kQwen35Pattern;
  out.parts.pre_tokenizer.word_pattern = std::make_shared<const Regex>(gpt2 ? kGpt2Pattern : qwen, what);
  out.parts.pre_tokenizer.add_prefix_space = config.add_prefix_space.value_or(false);

  std::unordered_map<std::string_view, int64_t> ids;
  for (const auto& [token, id] : out.bpe.vocabulary) ids.emplace(token, id);
  TokenizerConfig roles = config;
  // Both families call it their end token where no file says anything.
  if (roles.special_tokens.empty() && roles.more_special_tokens.empty()) {
    roles.special_tokens = {"<|endoftext|>"};
    roles.eos_token = "<|endoftext|>";
  }
  merge_added_tokens(out.parts.added, roles, [&](const std::string& content) -> std::optional<int64_t> {
    const auto found = ids.find(content);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  });
  out.parts.special.bos = added_token_id(out.parts.added, roles.bos_token);
  out.parts.special.eos = added_token_id(out.parts.added, roles.eos_token);
  if (config.add_bos_token.value_or(false) && out.parts.special.bos)
    out.parts.special.start.push_back(*out.parts.special.bos);
  if (config.add_eos_token.value_or(false) && out.parts.special.eos)
    out.parts.special.end.push_back(*out.parts.special.eos);
  return make_byte_level_tokenizer(std::move(out));
}

}  // namespace ropescope
