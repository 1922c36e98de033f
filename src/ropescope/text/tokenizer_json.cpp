// tokenizer.json of Hugging Face: a vocabulary (BPE on bytes or on characters, unigram) with its normaliser,
// pre-tokeniser, post-processor and decoder.
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/text/character_bpe.h"
#include "ropescope/text/pipeline_tokenizer.h"
#include "ropescope/text/tokenizer_config.h"
#include "ropescope/text/tokenizer_json_parts.h"
#include "ropescope/text/tokenizer_readers.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

std::vector<std::pair<std::string, int64_t>> read_vocabulary(const Json& model, const std::string& what) {
  const Json* vocabulary = json_find(model, "vocab");
  if (vocabulary == nullptr || !vocabulary->is_object())
    throw InputError("{}: \"vocab\": expected an object", what);
  std::vector<std::pair<std::string, int64_t>> out;
  out.reserve(vocabulary->size());
  for (const auto& [token, id] : vocabulary->items()) {
    if (!id.is_number_integer() || (id.is_number_unsigned() && id.get<uint64_t>() > INT32_MAX)) {
      throw InputError("{}: token \"{}\": expected an id, found {}", what, token, id.dump());
    }
    out.emplace_back(token, id.get<int64_t>());
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> read_merges(const Json& model, const std::string& what) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Json& merge : json_list(model, "merges", what)) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      out.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      throw InputError("{}: merge {}: expected \"left right\", found {}", what, out.size(),
                       merge.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    out.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return out;
}

BpeFiles read_bpe(const Json& model, const std::string& what) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!json_string_or(model, key, "", what).empty()) {
      throw InputError("{}: model \"{}\" is not supported", what, key);
    }
  }
  if (json_number_or(model, "dropout", 0, what) != 0) {
    throw InputError("{}: model \"dropout\" makes ids random; expected none", what);
  }
  BpeFiles out;
  out.what = what;
  out.ignore_merges = json_bool_or(model, "ignore_merges", false, what);
  out.fuse_unknown = json_bool_or(model, "fuse_unk", false, what);
  out.byte_fallback = json_bool_or(model, "byte_fallback", false, what);
  if (json_find(model, "unk_token") != nullptr) out.unknown_token = json_string(model, "unk_token", what);
  out.vocabulary = read_vocabulary(model, what);
  out.merges = read_merges(model, what);
  return out;
}

UnigramFiles read_unigram(const Json& model, const std::string& what) {
  UnigramFiles out;
  out.what = what;
  out.byte_fallback = json_bool_or(model, "byte_fallback", false, what);
  if (json_find(model, "unk_id") != nullptr) out.unknown_id = json_integer(model, "unk_id", what);
  for (const Json& entry : json_list(model, "vocab", what)) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      throw InputError("{}: piece {}: expected a text and its score, found {}", what, out.pieces.size(),
                       entry.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    out.pieces.emplace_back(entry[0].get<std::string>(), entry[1].get<double>());
  }
  return out;
}

std::unique_ptr<const SubwordModel> read_model(const Json& file, bool bytes, const std::string& what) {
  const Json* model = json_find(file, "model");
  if (model == nullptr) throw InputError("{}: \"model\" is missing", what);
  // Old files name no type; only unigram's vocabulary is a list.
  const Json* vocabulary = json_find(*model, "vocab");
  const bool list = vocabulary != nullptr && vocabulary->is_array();
  const std::string type = json_string_or(*model, "type", list ? "Unigram" : "BPE", what);
  if (type == "BPE") {
    const BpeFiles files = read_bpe(*model, what);
    if (!bytes) return std::make_unique<CharacterBpe>(files);
    if (files.byte_fallback) {
      throw InputError("{}: model \"byte_fallback\" is not supported behind the pre-tokenizer ByteLevel",
                       what);
    }
    return std::make_unique<BpeModel>(files);
  }
  if (type == "Unigram") {
    if (bytes)
      throw InputError("{}: model Unigram is not supported behind the pre-tokenizer ByteLevel", what);
    return std::make_unique<UnigramModel>(read_unigram(*model, what));
  }
  throw InputError("{}: model type: expected BPE or Unigram, found \"{}\"", what, type);
}

}  // namespace

bool is_byte_level_json(const Json& file) {
  return mentions_byte_level(json_find(file, "pre_tokenizer")) ||
         mentions_byte_level(json_find(file, "decoder"));
}

std::unique_ptr<Tokenizer> read_tokenizer_json(const Json& file, const fs::path& path) {
  PipelineParts out;
  const std::string what = path.string();
  out.what = what;
  out.family = path.filename().string();
  if (!file.is_object()) throw InputError("{}: expected a JSON object", what);
  const bool bytes = is_byte_level_json(file);
  out.normalizer = read_normalizer(json_find(file, "normalizer"), what);
  ReadPreTokenizer words = read_pre_tokenizer(json_find(file, "pre_tokenizer"), what);
  if (bytes && !words.bytes) throw InputError("{}: expected ByteLevel as the last pre-tokenizer", what);
  out.pre_tokenizer = std::move(words.pre_tokenizer);
  if (!bytes) out.decoder = read_decoder(json_find(file, "decoder"), what);
  auto model = read_model(file, bytes, what);
  if (json_find(file, "added_tokens") != nullptr) {
    for (const Json& entry : json_list(file, "added_tokens", what)) {
      out.added.push_back(parse_added_token(entry, json_integer(entry, "id", what), what + ": added_tokens"));
    }
  }
  const TokenizerConfig config = read_tokenizer_config(path.parent_path());
  std::unordered_map<std::string_view, int64_t> ids;
  for (int64_t id = 0; id < model->size(); ++id) ids.emplace(model->token(id), id);
  merge_added_tokens(out.added, config, [&](const std::string& content) -> std::optional<int64_t> {
    const auto found = ids.find(content);
    return content.empty() || found == ids.end() ? std::nullopt : std::optional(found->second);
  });
  out.special.bos = added_token_id(out.added, config.bos_token);
  out.special.eos = added_token_id(out.added, config.eos_token);
  if (!read_post_processor(json_find(file, "post_processor"), what, out.special)) {
    if (config.add_bos_token.value_or(false) && out.special.bos)
      out.special.start.push_back(*out.special.bos);
    if (config.add_eos_token.value_or(false) && out.special.eos) out.special.end.push_back(*out.special.eos);
  }
  return make_pipeline_tokenizer(std::move(model), std::move(out));
}

}  // namespace ropescope
