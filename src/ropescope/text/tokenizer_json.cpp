// tokenizer.json of Hugging Face: byte-level BPE with its normaliser, pre-tokeniser and post-processor.
#include <algorithm>
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/text/byte_level_tokenizer.h"
#include "ropescope/text/tokenizer_config.h"
#include "ropescope/text/tokenizer_readers.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

const Json& list_member(const Json& object, const char* key, const std::string& what) {
  const Json* list = json_find(object, key);
  if (list == nullptr || !list->is_array()) throw InputError("{}: \"{}\": expected a list", what, key);
  return *list;
}

bool mentions_byte_level(const Json* part) {
  if (part == nullptr) return false;
  const Json* type = json_find(*part, "type");
  if (type != nullptr && *type == "ByteLevel") return true;
  for (const char* key : {"pretokenizers", "decoders"}) {
    const Json* list = json_find(*part, key);
    if (list == nullptr || !list->is_array()) continue;
    if (std::any_of(list->begin(), list->end(),
                    [](const Json& inner) { return mentions_byte_level(&inner); })) {
      return true;
    }
  }
  return false;
}

void read_normalizer(const Json& part, const std::string& what, std::vector<NormalForm>& forms) {
  const std::string type = json_string(part, "type", what);
  if (type == "Sequence") {
    for (const Json& inner : list_member(part, "normalizers", what)) read_normalizer(inner, what, forms);
  } else if (type == "NFC") {
    forms.push_back(NormalForm::kNfc);
  } else if (type == "NFD") {
    forms.push_back(NormalForm::kNfd);
  } else if (type == "NFKC") {
    forms.push_back(NormalForm::kNfkc);
  } else if (type == "NFKD") {
    forms.push_back(NormalForm::kNfkd);
  } else {
    throw InputError("{}: normalizer \"{}\" is not supported; known: NFC, NFD, NFKC, NFKD, Sequence", what,
                     type);
  }
}

SplitBehavior parse_behavior(const std::string& text, const std::string& what) {
  if (text == "Isolated") return SplitBehavior::kIsolated;
  if (text == "Removed") return SplitBehavior::kRemoved;
  if (text == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (text == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (text == "Contiguous") return SplitBehavior::kContiguous;
  throw InputError("{}: split behavior \"{}\" is not known", what, text);
}

/// A pattern that matches `text` literally.
std::string quote_pattern(const std::string& text) {
  std::string pattern;
  for (const char c : text) {
    const bool punctuation =
        static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) == 0;
    if (punctuation) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

SplitStep make_step(const std::string& pattern, SplitBehavior behavior, bool invert,
                    const std::string& what) {
  return {std::make_shared<const Regex>(pattern, what), behavior, invert};
}

SplitStep read_split(const Json& part, const std::string& what) {
  const Json* pattern = json_find(part, "pattern");
  if (pattern == nullptr) throw InputError("{}: a Split has no pattern", what);
  const bool literal = json_find(*pattern, "String") != nullptr;
  const std::string text =
      literal ? quote_pattern(json_string(*pattern, "String", what)) : json_string(*pattern, "Regex", what);
  const SplitBehavior behavior = parse_behavior(json_string(part, "behavior", what), what);
  return make_step(text, behavior, json_bool_or(part, "invert", false, what), what);
}

/// Reads one pre-tokeniser; `bytes_done` tells whether ByteLevel has been met, after which nothing may
/// follow: it would see the byte alphabet instead of the text.
void read_pre_tokenizer(const Json& part, const std::string& what, PreTokenizer& out, bool& bytes_done) {
  const std::string type = json_string(part, "type", what);
  if (bytes_done) {
    throw InputError("{}: pre-tokenizer \"{}\" after ByteLevel is not supported; ByteLevel must be the last",
                     what, type);
  }
  if (type == "Sequence") {
    for (const Json& inner : list_member(part, "pretokenizers", what)) {
      read_pre_tokenizer(inner, what, out, bytes_done);
    }
  } else if (type == "Split") {
    out.steps.push_back(read_split(part, what));
  } else if (type == "Digits") {
    const bool single = json_bool_or(part, "individual_digits", false, what);
    out.steps.push_back(make_step(single ? R"(\p{N})" : R"(\p{N}+)", SplitBehavior::kIsolated, false, what));
  } else if (type == "Punctuation") {
    const SplitBehavior behavior = parse_behavior(json_string_or(part, "behavior", "Isolated", what), what);
    out.steps.push_back(make_step(R"([\p{P}!-/:-@\[-`{-~])", behavior, false, what));
  } else if (type == "ByteLevel") {
    out.add_prefix_space = json_bool_or(part, "add_prefix_space", true, what);
    if (json_bool_or(part, "use_regex", true, what))
      out.word_pattern = std::make_shared<const Regex>(kGpt2Pattern, what);
    bytes_done = true;
  } else {
    throw InputError(
        "{}: pre-tokenizer \"{}\" is not supported; known: Sequence, Split, Digits, Punctuation, ByteLevel",
        what, type);
  }
}

void read_model(const Json& file, ByteLevelFiles& out) {
  const std::string& what = out.bpe.what;
  const Json* model = json_find(file, "model");
  if (model == nullptr) throw InputError("{}: \"model\" is missing", what);
  const std::string type = json_string_or(*model, "type", "BPE", what);
  if (type != "BPE") throw InputError("{}: model type: expected BPE, found \"{}\"", what, type);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!json_string_or(*model, key, "", what).empty()) {
      throw InputError("{}: model \"{}\" is not supported", what, key);
    }
  }
  if (json_number_or(*model, "dropout", 0, what) != 0) {
    throw InputError("{}: model \"dropout\" makes ids random; expected none", what);
  }
  out.bpe.ignore_merges = json_bool_or(*model, "ignore_merges", false, what);
  out.bpe.fuse_unknown = json_bool_or(*model, "fuse_unk", false, what);
  if (json_find(*model, "unk_token") != nullptr)
    out.bpe.unknown_token = json_string(*model, "unk_token", what);
  const Json* vocabulary = json_find(*model, "vocab");
  if (vocabulary == nullptr || !vocabulary->is_object())
    throw InputError("{}: \"vocab\": expected an object", what);
  out.bpe.vocabulary.reserve(vocabulary->size());
  for (const auto& [token, id] : vocabulary->items()) {
    if (!id.is_number_integer() || (id.is_number_unsigned() && id.get<uint64_t>() > INT32_MAX)) {
      throw InputError("{}: token \"{}\": expected an id, found {}", what, token, id.dump());
    }
    out.bpe.vocabulary.emplace_back(token, id.get<int64_t>());
  }
  for (const Json& merge : list_member(*model, "merges", what)) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      out.bpe.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      throw InputError("{}: merge {}: expected \"left right\", found {}", what, out.bpe.merges.size(),
                       merge.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    out.bpe.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
}

/// Start and end tokens of a template; false if the post-processor does not say.
bool read_template(const Json& part, ByteLevelFiles& out) {
  const std::string& what = out.bpe.what;
  const std::string type = json_string(part, "type", what);
  if (type == "ByteLevel") return false;
  if (type == "Sequence") {
    bool said = false;
    for (const Json& inner : list_member(part, "processors", what)) said = read_template(inner, out) || said;
    return said;
  }
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    for (const auto& [key, ids] :
         {std::pair("cls", &out.special.start), std::pair("sep", &out.special.end)}) {
      const Json& pair = list_member(part, key, what);
      if (pair.size() != 2 || !pair[1].is_number_integer())
        throw InputError("{}: \"{}\": expected a token and its id", what, key);
      ids->push_back(pair[1].get<int64_t>());
    }
    return true;
  }
  if (type != "TemplateProcessing") {
    throw InputError(
        "{}: post-processor \"{}\" is not supported; known: ByteLevel, TemplateProcessing, "
        "RobertaProcessing, BertProcessing, Sequence",
        what, type);
  }
  bool after_text = false;
  for (const Json& item : list_member(part, "single", what)) {
    if (json_find(item, "Sequence") != nullptr) {
      after_text = true;
      continue;
    }
    const Json* special = json_find(item, "SpecialToken");
    if (special == nullptr) throw InputError("{}: template: expected Sequence or SpecialToken", what);
    const std::string name = json_string(*special, "id", what);
    const Json* tokens = json_find(part, "special_tokens");
    const Json* token = tokens == nullptr ? nullptr : json_find(*tokens, name.c_str());
    if (token == nullptr) throw InputError("{}: template: special token \"{}\" is not defined", what, name);
    for (const Json& id : list_member(*token, "ids", what)) {
      if (!id.is_number_integer()) throw InputError("{}: template: \"{}\": expected integer ids", what, name);
      (after_text ? out.special.end : out.special.start).push_back(id.get<int64_t>());
    }
  }
  return true;
}

}  // namespace

bool is_byte_level_json(const Json& file) {
  return mentions_byte_level(json_find(file, "pre_tokenizer")) ||
         mentions_byte_level(json_find(file, "decoder"));
}

std::unique_ptr<Tokenizer> read_tokenizer_json(const Json& file, const fs::path& path) {
  ByteLevelFiles out;
  const std::string what = path.string();
  out.bpe.what = what;
  out.family = path.filename().string();
  if (!file.is_object()) throw InputError("{}: expected a JSON object", what);
  if (!is_byte_level_json(file)) {
    throw InputError(
        "{}: expected a byte-level BPE tokenizer; one that works on characters needs tokenizer.model "
        "beside it",
        what);
  }
  read_model(file, out);
  if (const Json* part = json_find(file, "normalizer")) read_normalizer(*part, what, out.normal_forms);
  bool bytes_done = false;
  if (const Json* part = json_find(file, "pre_tokenizer"))
    read_pre_tokenizer(*part, what, out.pre_tokenizer, bytes_done);
  if (!bytes_done) throw InputError("{}: expected ByteLevel as the last pre-tokenizer", what);
  if (json_find(file, "added_tokens") != nullptr) {
    for (const Json& entry : list_member(file, "added_tokens", what)) {
      out.added.push_back(parse_added_token(entry, json_integer(entry, "id", what), what + ": added_tokens"));
    }
  }
  const TokenizerConfig config = read_tokenizer_config(path.parent_path());
  std::unordered_map<std::string_view, int64_t> ids;
  for (const auto& [token, id] : out.bpe.vocabulary) ids.emplace(token, id);
  merge_added_tokens(out.added, config, [&](const std::string& content) -> std::optional<int64_t> {
    const auto found = ids.find(content);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  });
  out.special.bos = added_token_id(out.added, config.bos_token);
  out.special.eos = added_token_id(out.added, config.eos_token);
  const Json* post = json_find(file, "post_processor");
  if (post == nullptr || !read_template(*post, out)) {
    if (config.add_bos_token.value_or(false) && out.special.bos)
      out.special.start.push_back(*out.special.bos);
    if (config.add_eos_token.value_or(false) && out.special.eos) out.special.end.push_back(*out.special.eos);
  }
  return make_byte_level_tokenizer(std::move(out));
}

}  // namespace ropescope
