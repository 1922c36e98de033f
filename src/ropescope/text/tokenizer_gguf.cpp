// The tokenizer inside a GGUF file (keys tokenizer.ggml.*). Source: llama.cpp's gguf documentation and the
// tables of pre-tokenisers in its vocabulary reader.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <unordered_set>

#include "ropescope/core/errors.h"
#include "ropescope/text/byte_level_tokenizer.h"
#include "ropescope/text/sentencepiece_tokenizer.h"
#include "ropescope/text/tokenizer_readers.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

namespace {

const std::string kChatTemplate = "tokenizer.chat_template";

/// How a named family cuts text into words.
struct PreTokenizerFamily {
  const char* name;
  std::vector<const char*> patterns;  ///< each isolates its matches in what the ones before left
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;  ///< where the file does not say
};

const std::vector<PreTokenizerFamily>& families() {
  // What llama.cpp does with files that name no family.
  static const std::vector<const char*> unnamed = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)",
                                                   R"([0-9][0-9][0-9])"};
  static const std::vector<const char*> gpt2 = {kGpt2Pattern};
  static const std::vector<const char*> digits_gpt2 = {R"(\p{N})", kGpt2Pattern};
  static const std::vector<PreTokenizerFamily> all = {
      {"default", unnamed},
      {"gpt-2", gpt2},
      {"gpt2", gpt2},
      {"phi-2", gpt2},
      {"mpt", gpt2},
      {"olmo", gpt2},
      {"roberta-bpe", gpt2},
      {"smollm", digits_gpt2},
      {"starcoder", digits_gpt2},
      {"refact", digits_gpt2},
      {"command-r", digits_gpt2},
      {"codeshell", digits_gpt2},
      // Hugging Face's Qwen2 tokenizers normalise; GGUF has no key for it, so the name must tell.
      {"qwen2", {kQwen2Pattern}, true},
      {"deepseek-r1-qwen", {kQwen2Pattern}, true},
      {"stablelm2", {kQwen2Pattern}},
      {"llama-bpe", {kLlama3Pattern}, false, true, true},
      {"llama3", {kLlama3Pattern}, false, true, true},
      {"llama-v3", {kLlama3Pattern}, false, true, true},
      {"dbrx", {kLlama3Pattern}},
      {"smaug-bpe", {kLlama3Pattern}},
  };
  return all;
}

const PreTokenizerFamily& find_family(const std::string& name, const std::string& what) {
  std::string known;
  for (const PreTokenizerFamily& family : families()) {
    if (name == family.name) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  }
  throw InputError("{}: tokenizer.ggml.pre \"{}\" is not known; known: {}", what, name, known);
}

/// Token types of GGUF have the numbers of SentencePiece's.
using TokenType = SentencePiece::Type;

std::vector<TokenType> read_types(const GgufMetadata& metadata, size_t count, const std::string& what) {
  const std::string key = "tokenizer.ggml.token_type";
  std::vector<TokenType> types(count, TokenType::kNormal);
  if (metadata.count(key) == 0) return types;
  const std::vector<int64_t> numbers = gguf_integers(metadata, key, what);
  if (numbers.size() != count) {
    throw InputError("{}: {}: expected {} entries, found {}", what, key, count, numbers.size());
  }
  for (size_t i = 0; i < count; ++i) {
    if (numbers[i] < 1 || numbers[i] > 6) {
      throw InputError("{}: {}: expected 1 to 6, found {} at {}", what, key, numbers[i], i);
    }
    types[i] = static_cast<TokenType>(numbers[i]);
  }
  return types;
}

std::optional<int64_t> optional_id(const GgufMetadata& metadata, const std::string& key, size_t count,
                                   const std::string& what) {
  if (metadata.count(key) == 0) return std::nullopt;
  const int64_t id = gguf_integer(metadata, key, what);
  if (id < 0 || id >= static_cast<int64_t>(count)) {
    throw InputError("{}: {}: expected an id below {}, found {}", what, key, count, id);
  }
  return id;
}

/// Start and end tokens, into either kind of description.
template <typename Files>
void read_start_and_end(const GgufMetadata& metadata, size_t count, bool add_bos, const std::string& what,
                        Files& out) {
  out.special.bos = optional_id(metadata, "tokenizer.ggml.bos_token_id", count, what);
  out.special.eos = optional_id(metadata, "tokenizer.ggml.eos_token_id", count, what);
  if (gguf_bool_or(metadata, "tokenizer.ggml.add_bos_token", add_bos, what) && out.special.bos) {
    out.special.start.push_back(*out.special.bos);
  }
  if (gguf_bool_or(metadata, "tokenizer.ggml.add_eos_token", false, what) && out.special.eos) {
    out.special.end.push_back(*out.special.eos);
  }
}

ByteLevelFiles read_byte_level_files(const GgufMetadata& metadata, const std::string& what) {
  ByteLevelFiles out;
  out.bpe.what = what;
  out.family = gguf_string_or(metadata, "tokenizer.ggml.pre", "default", what);
  const PreTokenizerFamily& family = find_family(out.family, what);
  const std::vector<std::string>& tokens = gguf_strings(metadata, "tokenizer.ggml.tokens", what);
  const std::vector<TokenType> types = read_types(metadata, tokens.size(), what);
  for (size_t id = 0; id < tokens.size(); ++id) {
    out.bpe.vocabulary.emplace_back(tokens[id], static_cast<int64_t>(id));
    const bool special = types[id] == TokenType::kControl || types[id] == TokenType::kUnknown;
    if (!special && types[id] != TokenType::kUserDefined) continue;
    AddedToken token;
    token.content = tokens[id];
    token.id = static_cast<int64_t>(id);
    token.special = special;
    out.added.push_back(token);
  }
  for (const std::string& merge : gguf_strings(metadata, "tokenizer.ggml.merges", what)) {
    const size_t space = merge.find(' ');
    if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
      throw InputError("{}: merge {}: expected two tokens with a space between them, found \"{}\"", what,
                       out.bpe.merges.size(), merge);
    }
    out.bpe.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  out.bpe.ignore_merges = family.ignore_merges;
  if (family.nfc) out.normal_forms = {NormalForm::kNfc};
  for (size_t i = 0; i < family.patterns.size(); ++i) {
    auto pattern = std::make_shared<const Regex>(family.patterns[i], what);
    // The last pattern makes the words themselves.
    if (i + 1 == family.patterns.size()) {
      out.pre_tokenizer.word_pattern = std::move(pattern);
    } else {
      out.pre_tokenizer.steps.push_back({std::move(pattern), SplitBehavior::kIsolated, false});
    }
  }
  out.pre_tokenizer.add_prefix_space = gguf_bool_or(metadata, "tokenizer.ggml.add_space_prefix", false, what);
  read_start_and_end(metadata, tokens.size(), family.add_bos, what, out);
  return out;
}

/// Puts the start and end tokens around a text, as read_start_and_end says.
Json post_processor(const ByteLevelFiles& files) {
  Json single = Json::array(), tokens = Json::object();
  const auto add = [&](const std::vector<int64_t>& ids) {
    for (const int64_t id : ids) {
      const std::string& text = files.bpe.vocabulary[static_cast<size_t>(id)].first;
      single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
      tokens[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    }
  };
  add(files.special.start);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(files.special.end);
  if (single.size() == 1) return {};
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

Json byte_level_json(const ByteLevelFiles& files, const PreTokenizerFamily& family) {
  Json vocabulary = Json::object(), merges = Json::array(), added = Json::array(), steps = Json::array();
  for (const auto& [text, id] : files.bpe.vocabulary) vocabulary[text] = id;
  for (const auto& [left, right] : files.bpe.merges) merges.push_back(left + " " + right);
  for (const AddedToken& token : files.added) added.push_back(to_json(token));
  for (const char* pattern : family.patterns) {
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", files.pre_tokenizer.add_prefix_space},
                      {"trim_offsets", true},
                      {"use_regex", false}};
  steps.push_back(bytes);
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", family.nfc ? Json{{"type", "NFC"}} : Json()},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}},
          {"post_processor", post_processor(files)},
          {"decoder", bytes},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", files.bpe.ignore_merges},
            {"vocab", vocabulary},
            {"merges", merges}}}};
}

/// The one piece for what no other piece covers. Files type it as they like (phi-3's is CONTROL) or type many so;
/// the key decides as in llama.cpp, then the type, then the usual name.
int64_t unknown_id(const GgufMetadata& metadata, const std::vector<std::string>& tokens,
                   const std::vector<TokenType>& types, const std::string& what) {
  const std::string key = "tokenizer.ggml.unknown_token_id";
  if (const auto id = optional_id(metadata, key, tokens.size(), what)) return *id;
  const auto typed = std::count(types.begin(), types.end(), TokenType::kUnknown);
  const auto id = typed == 1 ? std::find(types.begin(), types.end(), TokenType::kUnknown) - types.begin()
                             : std::find(tokens.begin(), tokens.end(), "<unk>") - tokens.begin();
  if (id < static_cast<std::ptrdiff_t>(tokens.size())) return id;
  throw InputError("{}: expected {}, one token of the type unknown, or a token <unk>; found {} of that type",
                   what, key, typed);
}

/// llama.cpp's converter writes user-defined pieces with the spaces of a text; the library looks for them with
/// U+2581, as the model had them. A piece that another one already is stays as it is.
std::string with_space_signs(const std::string& piece, const std::unordered_set<std::string_view>& pieces) {
  std::string signs;
  for (const char c : piece) signs += c == ' ' ? std::string("\xE2\x96\x81") : std::string(1, c);
  return pieces.count(signs) > 0 ? piece : signs;
}

std::unique_ptr<Tokenizer> read_sentencepiece_keys(const GgufMetadata& metadata, const std::string& what) {
  SentencePieceFiles out;
  out.what = what;
  const std::vector<std::string>& tokens = gguf_strings(metadata, "tokenizer.ggml.tokens", what);
  std::vector<TokenType> types = read_types(metadata, tokens.size(), what);
  const std::vector<double> scores = gguf_numbers(metadata, "tokenizer.ggml.scores", what);
  if (scores.size() != tokens.size()) {
    throw InputError("{}: tokenizer.ggml.scores: expected {} entries, found {}", what, tokens.size(),
                     scores.size());
  }
  const auto unknown = static_cast<size_t>(unknown_id(metadata, tokens, types, what));
  // Texts never become the others: they are what control pieces are.
  std::replace(types.begin(), types.end(), TokenType::kUnknown, TokenType::kControl);
  types[unknown] = TokenType::kUnknown;
  SentencePieceModel& model = out.model;
  model.unknown_piece = tokens[unknown];
  model.kind = SentencePieceModel::Kind::kBpe;
  model.add_dummy_prefix = gguf_bool_or(metadata, "tokenizer.ggml.add_space_prefix", true, what);
  model.remove_extra_whitespaces =
      gguf_bool_or(metadata, "tokenizer.ggml.remove_extra_whitespaces", false, what);
  const std::unordered_set<std::string_view> texts(tokens.begin(), tokens.end());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (std::abs(scores[id]) > std::numeric_limits<float>::max()) {
      throw InputError("{}: the score of token {} is {}", what, id, scores[id]);
    }
    const bool own = types[id] == TokenType::kUserDefined;
    model.pieces.push_back(
        {own ? with_space_signs(tokens[id], texts) : tokens[id], static_cast<float>(scores[id]), types[id]});
    model.byte_fallback = model.byte_fallback || types[id] == TokenType::kByte;
  }
  read_start_and_end(metadata, tokens.size(), true, what, out);
  if (out.special.bos) model.bos_piece = tokens[*out.special.bos];
  if (out.special.eos) model.eos_piece = tokens[*out.special.eos];
  return make_sentencepiece_tokenizer(std::move(out));
}

}  // namespace

std::unique_ptr<Tokenizer> make_gguf_tokenizer(const GgufMetadata& metadata, const std::string& what) {
  const std::string model = gguf_string(metadata, "tokenizer.ggml.model", what);
  if (model == "gpt2") return make_byte_level_tokenizer(read_byte_level_files(metadata, what));
  if (model == "llama") return read_sentencepiece_keys(metadata, what);
  throw InputError("{}: tokenizer.ggml.model: expected gpt2 or llama, found \"{}\"", what, model);
}

std::optional<GgufTokenizerFiles> gguf_tokenizer_files(const std::filesystem::path& path) {
  const GgufMetadata metadata = read_gguf_metadata(path);
  const std::string what = path.string();
  if (gguf_string(metadata, "tokenizer.ggml.model", what) != "gpt2") return std::nullopt;
  const ByteLevelFiles files = read_byte_level_files(metadata, what);
  GgufTokenizerFiles json;
  json.tokenizer = byte_level_json(files, find_family(files.family, what));
  json.config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  const auto name = [&](const char* key, const std::optional<int64_t>& id) {
    if (id) json.config[key] = files.bpe.vocabulary[static_cast<size_t>(*id)].first;
  };
  name("bos_token", files.special.bos);
  name("eos_token", files.special.eos);
  if (metadata.count(kChatTemplate) > 0) {
    json.config["chat_template"] = gguf_string(metadata, kChatTemplate, what);
  }
  return json;
}

std::optional<std::string> gguf_chat_template(const std::filesystem::path& path) {
  const GgufMetadata metadata = read_gguf_metadata(path);
  if (metadata.count(kChatTemplate) == 0) return std::nullopt;
  return gguf_string(metadata, kChatTemplate, path.string());
}

std::unique_ptr<Tokenizer> read_gguf_tokenizer(const std::filesystem::path& path) {
  return make_gguf_tokenizer(read_gguf_metadata(path), path.string());
}

}  // namespace ropescope
