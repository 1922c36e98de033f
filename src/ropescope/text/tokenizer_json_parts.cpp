#include "ropescope/text/tokenizer_json_parts.h"

#include <algorithm>
#include <cctype>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

/// What base64 text stands for; padding may be missing.
std::string from_base64(std::string_view text, const std::string& what) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) {
      throw InputError("{}: \"precompiled_charsmap\": expected base64 text, found a character outside it",
                       what);
    }
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>((bits >> count) & 0xFF);
  }
  return bytes;
}

/// {"String": text} or {"Regex": pattern}.
ReplaceStep read_replace(const Json& part, const std::string& what) {
  const Json* pattern = json_find(part, "pattern");
  if (pattern == nullptr) throw InputError("{}: a Replace has no pattern", what);
  ReplaceStep step;
  step.content = json_string(part, "content", what);
  if (json_find(*pattern, "String") != nullptr) {
    step.text = json_string(*pattern, "String", what);
    if (step.text.empty()) throw InputError("{}: a Replace has an empty pattern", what);
  } else {
    step.pattern = std::make_shared<const Regex>(json_string(*pattern, "Regex", what), what);
  }
  return step;
}

void add_normalizer(const Json& part, const std::string& what, std::vector<NormalizerStep>& steps) {
  const std::string type = json_string(part, "type", what);
  if (type == "Sequence") {
    for (const Json& inner : json_list(part, "normalizers", what)) add_normalizer(inner, what, steps);
  } else if (type == "NFC") {
    steps.emplace_back(NormalForm::kNfc);
  } else if (type == "NFD") {
    steps.emplace_back(NormalForm::kNfd);
  } else if (type == "NFKC") {
    steps.emplace_back(NormalForm::kNfkc);
  } else if (type == "NFKD") {
    steps.emplace_back(NormalForm::kNfkd);
  } else if (type == "Replace") {
    steps.emplace_back(read_replace(part, what));
  } else if (type == "Prepend") {
    steps.emplace_back(PrependStep{json_string(part, "prepend", what)});
  } else if (type == "Strip") {
    steps.emplace_back(StripStep{json_bool_or(part, "strip_left", true, what),
                                 json_bool_or(part, "strip_right", true, what)});
  } else if (type == "Precompiled") {
    std::string map = from_base64(json_string_or(part, "precompiled_charsmap", "", what), what);
    if (!map.empty()) steps.emplace_back(std::make_shared<const CharacterMap>(std::move(map), what));
  } else {
    throw InputError(
        "{}: normalizer \"{}\" is not supported; known: NFC, NFD, NFKC, NFKD, Replace, Prepend, Strip, "
        "Precompiled, Sequence",
        what, type);
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

SplitStep make_split(const std::string& pattern, SplitBehavior behavior, bool invert,
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
  return make_split(text, behavior, json_bool_or(part, "invert", false, what), what);
}

MetaspaceStep::Prefix parse_prefix(const Json& part, const std::string& what) {
  // Files before tokenizers 0.15 say whether, not where.
  const bool always = json_bool_or(part, "add_prefix_space", true, what);
  const std::string text = json_string_or(part, "prepend_scheme", always ? "always" : "never", what);
  if (text == "always") return MetaspaceStep::Prefix::kAlways;
  if (text == "first") return MetaspaceStep::Prefix::kFirst;
  if (text == "never") return MetaspaceStep::Prefix::kNever;
  throw InputError("{}: Metaspace \"prepend_scheme\": expected always, first or never, found \"{}\"", what,
                   text);
}

std::string read_sign(const Json& part, const std::string& what) {
  std::string sign = json_string_or(part, "replacement", "\xE2\x96\x81", what);
  if (sign.empty()) throw InputError("{}: Metaspace \"replacement\" is empty", what);
  return sign;
}

void add_pre_tokenizer(const Json& part, const std::string& what, ReadPreTokenizer& out) {
  const std::string type = json_string(part, "type", what);
  if (out.bytes) {
    // It would see the byte alphabet instead of the text.
    throw InputError("{}: pre-tokenizer \"{}\" after ByteLevel is not supported; ByteLevel must be the last",
                     what, type);
  }
  std::vector<PreTokenizerStep>& steps = out.pre_tokenizer.steps;
  if (type == "Sequence") {
    for (const Json& inner : json_list(part, "pretokenizers", what)) add_pre_tokenizer(inner, what, out);
  } else if (type == "Split") {
    steps.emplace_back(read_split(part, what));
  } else if (type == "Digits") {
    const bool single = json_bool_or(part, "individual_digits", false, what);
    steps.emplace_back(make_split(single ? R"(\p{N})" : R"(\p{N}+)", SplitBehavior::kIsolated, false, what));
  } else if (type == "Punctuation") {
    const SplitBehavior behavior = parse_behavior(json_string_or(part, "behavior", "Isolated", what), what);
    steps.emplace_back(make_split(R"([\p{P}!-/:-@\[-`{-~])", behavior, false, what));
  } else if (type == "Whitespace") {
    // Words as Rust's regular expressions have them.
    constexpr const char* kWords =
        R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\s]+)";
    steps.emplace_back(make_split(kWords, SplitBehavior::kRemoved, true, what));
  } else if (type == "WhitespaceSplit") {
    steps.emplace_back(make_split(R"(\s)", SplitBehavior::kRemoved, false, what));
  } else if (type == "Metaspace") {
    steps.emplace_back(MetaspaceStep{read_sign(part, what), parse_prefix(part, what),
                                     json_bool_or(part, "split", true, what)});
  } else if (type == "ByteLevel") {
    out.pre_tokenizer.add_prefix_space = json_bool_or(part, "add_prefix_space", true, what);
    if (json_bool_or(part, "use_regex", true, what))
      out.pre_tokenizer.word_pattern = std::make_shared<const Regex>(kGpt2Pattern, what);
    out.bytes = true;
  } else {
    throw InputError(
        "{}: pre-tokenizer \"{}\" is not supported; known: Sequence, Split, Digits, Punctuation, Whitespace, "
        "WhitespaceSplit, Metaspace, ByteLevel",
        what, type);
  }
}

size_t read_count(const Json& part, const char* key, const std::string& what) {
  const int64_t count = json_integer_or(part, key, 0, what);
  if (count < 0 || count > INT32_MAX) {
    throw InputError("{}: decoder Strip \"{}\": expected a count, found {}", what, key, count);
  }
  return static_cast<size_t>(count);
}

void add_decoder(const Json& part, const std::string& what, std::vector<DecoderStep>& steps) {
  const std::string type = json_string(part, "type", what);
  if (type == "Sequence") {
    for (const Json& inner : json_list(part, "decoders", what)) add_decoder(inner, what, steps);
  } else if (type == "Replace") {
    steps.emplace_back(read_replace(part, what));
  } else if (type == "ByteFallback") {
    steps.emplace_back(ByteFallbackStep{});
  } else if (type == "Fuse") {
    steps.emplace_back(FuseStep{});
  } else if (type == "Strip") {
    const std::string content = json_string(part, "content", what);
    if (content.empty()) throw InputError("{}: decoder Strip has no \"content\"", what);
    steps.emplace_back(
        StripEndsStep{content, read_count(part, "start", what), read_count(part, "stop", what)});
  } else if (type == "Metaspace") {
    steps.emplace_back(MetaspaceDecodeStep{read_sign(part, what),
                                           parse_prefix(part, what) != MetaspaceStep::Prefix::kNever});
  } else {
    throw InputError(
        "{}: decoder \"{}\" is not supported for a vocabulary of characters; known: Sequence, Replace, "
        "ByteFallback, Fuse, Strip, Metaspace",
        what, type);
  }
}

/// The ids of a special token of a TemplateProcessing.
std::vector<int64_t> template_ids(const Json& part, const Json& special, const std::string& what) {
  const std::string name = json_string(special, "id", what);
  const Json* tokens = json_find(part, "special_tokens");
  const Json* token = tokens == nullptr ? nullptr : json_find(*tokens, name.c_str());
  if (token == nullptr) throw InputError("{}: template: special token \"{}\" is not defined", what, name);
  std::vector<int64_t> ids;
  for (const Json& id : json_list(*token, "ids", what)) {
    if (!id.is_number_integer()) throw InputError("{}: template: \"{}\": expected integer ids", what, name);
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

}  // namespace

const Json& json_list(const Json& object, const char* key, const std::string& what) {
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

std::vector<NormalizerStep> read_normalizer(const Json* part, const std::string& what) {
  std::vector<NormalizerStep> steps;
  if (part != nullptr) add_normalizer(*part, what, steps);
  return steps;
}

ReadPreTokenizer read_pre_tokenizer(const Json* part, const std::string& what) {
  ReadPreTokenizer out;
  if (part != nullptr) add_pre_tokenizer(*part, what, out);
  return out;
}

std::vector<DecoderStep> read_decoder(const Json* part, const std::string& what) {
  std::vector<DecoderStep> steps;
  if (part != nullptr) add_decoder(*part, what, steps);
  return steps;
}

bool read_post_processor(const Json* part, const std::string& what, SpecialIds& special) {
  if (part == nullptr) return false;
  const std::string type = json_string(*part, "type", what);
  if (type == "ByteLevel") return false;
  if (type == "Sequence") {
    bool said = false;
    for (const Json& inner : json_list(*part, "processors", what)) {
      const bool says = read_post_processor(&inner, what, special);
      // The reference takes what the first made for a pair of texts then.
      if (says && said) throw InputError("{}: two post-processors that add tokens are not supported", what);
      said = said || says;
    }
    return said;
  }
  std::vector<int64_t>& before = special.start;
  std::vector<int64_t>& after = special.end;
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    for (const auto& [key, ids] : {std::pair("cls", &before), std::pair("sep", &after)}) {
      const Json& pair = json_list(*part, key, what);
      if (pair.size() != 2 || !pair[1].is_number_integer())
        throw InputError("{}: \"{}\": expected a token and its id", what, key);
      ids->push_back(pair[1].get<int64_t>());
    }
  } else if (type == "TemplateProcessing") {
    int texts = 0;
    for (const Json& item : json_list(*part, "single", what)) {
      if (json_find(item, "Sequence") != nullptr) {
        ++texts;
        continue;
      }
      const Json* token = json_find(item, "SpecialToken");
      if (token == nullptr) throw InputError("{}: template: expected Sequence or SpecialToken", what);
      const std::vector<int64_t> ids = template_ids(*part, *token, what);
      (texts > 0 ? after : before).insert((texts > 0 ? after : before).end(), ids.begin(), ids.end());
    }
    if (texts != 1) {
      throw InputError("{}: template for one text: expected the text once, found it {} times", what, texts);
    }
  } else {
    throw InputError(
        "{}: post-processor \"{}\" is not supported; known: ByteLevel, TemplateProcessing, "
        "RobertaProcessing, BertProcessing, Sequence",
        what, type);
  }
  return true;
}

}  // namespace ropescope
