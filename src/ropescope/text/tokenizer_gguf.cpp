// The tokenizer inside a GGUF file (keys tokenizer.ggml.*). Source: llama.cpp's gguf documentation and its
// vocabulary reader.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <unordered_set>

#include "ropescope/core/errors.h"
#include "ropescope/text/character_bpe.h"
#include "ropescope/text/pipeline_tokenizer.h"
#include "ropescope/text/sentencepiece_tokenizer.h"
#include "ropescope/text/tokenizer_gguf_families.h"
#include "ropescope/text/tokenizer_readers.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

namespace {

const std::string kChatTemplate = "tokenizer.chat_template";

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

std::vector<std::pair<std::string, std::string>> read_merges(const GgufMetadata& metadata,
                                                             const std::string& what) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const std::string& merge : gguf_strings(metadata, "tokenizer.ggml.merges", what)) {
    const size_t space = merge.find(' ');
    if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
      throw InputError("{}: merge {}: expected two tokens with a space between them, found \"{}\"", what,
                       merges.size(), merge);
    }
    merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return merges;
}

/// Vocabulary and added tokens: control pieces and those that users defined.
ByteLevelFiles read_tokens(const std::vector<std::string>& tokens, const std::vector<TokenType>& types,
                           const std::string& what) {
  ByteLevelFiles out;
  out.bpe.what = out.parts.what = what;
  for (size_t id = 0; id < tokens.size(); ++id) {
    out.bpe.vocabulary.emplace_back(tokens[id], static_cast<int64_t>(id));
    const bool special = types[id] == TokenType::kControl || types[id] == TokenType::kUnknown;
    if (!special && types[id] != TokenType::kUserDefined) continue;
    AddedToken token;
    token.content = tokens[id];
    token.id = static_cast<int64_t>(id);
    token.special = special;
    out.parts.added.push_back(token);
  }
  return out;
}

ByteLevelFiles read_byte_level_files(const GgufMetadata& metadata, const std::string& what) {
  const std::string name = gguf_string_or(metadata, "tokenizer.ggml.pre", "default", what);
  const PreTokenizerFamily& family = find_family(name, what);
  const std::vector<std::string>& tokens = gguf_strings(metadata, "tokenizer.ggml.tokens", what);
  ByteLevelFiles out = read_tokens(tokens, read_types(metadata, tokens.size(), what), what);
  out.parts.family = name;
  out.bpe.merges = read_merges(metadata, what);
  out.bpe.ignore_merges = family.ignore_merges;
  if (family.nfc) out.parts.normalizer = {NormalForm::kNfc};
  PreTokenizer& words = out.parts.pre_tokenizer;
  for (size_t i = 0; i < family.patterns.size(); ++i) {
    auto pattern = std::make_shared<const Regex>(family.patterns[i], what);
    // The last pattern makes the words themselves.
    if (i + 1 == family.patterns.size()) {
      words.word_pattern = std::move(pattern);
    } else {
      words.steps.emplace_back(SplitStep{std::move(pattern), SplitBehavior::kIsolated, false});
    }
  }
  words.add_prefix_space = gguf_bool_or(metadata, "tokenizer.ggml.add_space_prefix", false, what);
  read_start_and_end(metadata, tokens.size(), family.add_bos, what, out.parts);
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
  add(files.parts.special.start);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(files.parts.special.end);
  if (single.size() == 1) return {};
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

Json byte_level_json(const ByteLevelFiles& files, const PreTokenizerFamily& family) {
  Json vocabulary = Json::object(), merges = Json::array(), added = Json::array(), steps = Json::array();
  for (const auto& [text, id] : files.bpe.vocabulary) vocabulary[text] = id;
  for (const auto& [left, right] : files.bpe.merges) merges.push_back(left + " " + right);
  for (const AddedToken& token : files.parts.added) added.push_back(to_json(token));
  for (const char* pattern : family.patterns) {
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", files.parts.pre_tokenizer.add_prefix_space},
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

/// Gemma 4: merges over characters, words not cut at all, spaces as U+2581.
std::unique_ptr<Tokenizer> read_gemma4_keys(const GgufMetadata& metadata, const std::string& what) {
  const std::vector<std::string>& stored = gguf_strings(metadata, "tokenizer.ggml.tokens", what);
  const std::vector<TokenType> types = read_types(metadata, stored.size(), what);
  const std::unordered_set<std::string_view> texts(stored.begin(), stored.end());
  std::vector<std::string> tokens;
  for (size_t id = 0; id < stored.size(); ++id) {
    tokens.push_back(types[id] == TokenType::kUserDefined ? with_space_signs(stored[id], texts) : stored[id]);
  }
  ByteLevelFiles out = read_tokens(tokens, types, what);
  out.parts.family = "gemma4";
  out.bpe.merges = read_merges(metadata, what);
  out.bpe.byte_fallback = out.bpe.fuse_unknown = true;
  out.bpe.unknown_token = tokens[static_cast<size_t>(unknown_id(metadata, tokens, types, what))];
  const std::string sign = "\xE2\x96\x81";
  out.parts.normalizer = {ReplaceStep{" ", nullptr, sign}};
  out.parts.decoder = {ReplaceStep{sign, nullptr, " "}, ByteFallbackStep{}, FuseStep{}};
  read_start_and_end(metadata, tokens.size(), false, what, out.parts);
  return make_pipeline_tokenizer(std::make_unique<CharacterBpe>(out.bpe), std::move(out.parts));
}

}  // namespace

std::unique_ptr<Tokenizer> make_gguf_tokenizer(const GgufMetadata& metadata, const std::string& what) {
  const std::string model = gguf_string(metadata, "tokenizer.ggml.model", what);
  if (model == "gpt2") return make_byte_level_tokenizer(read_byte_level_files(metadata, what));
  if (model == "llama") return read_sentencepiece_keys(metadata, what);
  if (model == "gemma4") return read_gemma4_keys(metadata, what);
  throw InputError("{}: tokenizer.ggml.model: expected gpt2, llama or gemma4, found \"{}\"", what, model);
}

std::optional<GgufTokenizerFiles> gguf_tokenizer_files(const std::filesystem::path& path) {
  const GgufMetadata metadata = read_gguf_metadata(path);
  const std::string what = path.string();
  if (gguf_string(metadata, "tokenizer.ggml.model", what) != "gpt2") return std::nullopt;
  const ByteLevelFiles files = read_byte_level_files(metadata, what);
  GgufTokenizerFiles json;
  json.tokenizer = byte_level_json(files, find_family(files.parts.family, what));
  json.config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  const auto name = [&](const char* key, const std::optional<int64_t>& id) {
    if (id) json.config[key] = files.bpe.vocabulary[static_cast<size_t>(*id)].first;
  };
  name("bos_token", files.parts.special.bos);
  name("eos_token", files.parts.special.eos);
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
