// Names and flags: llama.cpp's vocabulary reader. Patterns: the models' own tokenizer.json, of which llama.cpp's are
// adaptations (it tells upper from lower case by a-z and A-Z only).
#include "ropescope/text/tokenizer_gguf_families.h"

#include "ropescope/core/errors.h"
#include "ropescope/text/pre_tokenizer.h"

namespace ropescope {

namespace {

constexpr const char* kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepSeekV3Pattern =
    R"re([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr const char* kBailingPattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";

const std::vector<PreTokenizerFamily>& families() {
  using Patterns = std::vector<const char*>;
  // What llama.cpp does with files that name no family.
  static const Patterns unnamed = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)",
                                   R"([0-9][0-9][0-9])"};
  static const Patterns gpt2 = {kGpt2Pattern};
  static const Patterns digits_gpt2 = {R"(\p{N})", kGpt2Pattern};
  // Chinese characters and the Japanese syllabaries apart from the rest.
  static const Patterns deepseek_v3 = {
      R"(\p{N}{1,3})", R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)", kDeepSeekV3Pattern};
  // Digits in groups of three from the right.
  static const Patterns aya = {R"(\d{1,3}(?=(?:\d{3})*\b))", kO200kPattern};
  static const std::vector<PreTokenizerFamily> all = {
      {"default", unnamed},
      {"gpt-2", gpt2},
      {"gpt2", gpt2},
      {"phi-2", gpt2},
      {"mpt", gpt2},
      {"olmo", gpt2},
      {"roberta-bpe", gpt2},
      {"granite-docling", gpt2},
      {"exaone4", gpt2},
      {"gigachat", gpt2},
      {"trillion", gpt2},
      {"smollm", digits_gpt2},
      {"starcoder", digits_gpt2},
      {"refact", digits_gpt2},
      // Hugging Face's tokenizers of Cohere and Qwen normalise; GGUF has no key for it, so the name must tell.
      {"command-r", digits_gpt2, true},
      {"codeshell", digits_gpt2},
      {"exaone", digits_gpt2},
      {"minerva-7b", digits_gpt2},
      {"mellum2", digits_gpt2},
      {"qwen2", {kQwen2Pattern}, true},
      {"deepseek-r1-qwen", {kQwen2Pattern}, true},
      {"qwen35", {kQwen35Pattern}, true},
      {"stablelm2", {kQwen2Pattern}},
      {"hunyuan", {kQwen2Pattern}},
      {"megrez", {kQwen2Pattern}},
      {"grok-2", {kQwen2Pattern}},
      {"solar-open", {kQwen2Pattern}},
      {"llama-bpe", {kLlama3Pattern}, false, true, true},
      {"llama3", {kLlama3Pattern}, false, true, true},
      {"llama-v3", {kLlama3Pattern}, false, true, true},
      {"falcon3", {kLlama3Pattern}, false, true, true},
      {"falcon-h1", {kLlama3Pattern}, false, true, true},
      {"pixtral", {kLlama3Pattern}, false, true, true},
      {"lfm2", {kLlama3Pattern}, false, true, true},
      {"dbrx", {kLlama3Pattern}},
      {"smaug-bpe", {kLlama3Pattern}},
      {"glm4", {kLlama3Pattern}},
      {"chatglm-bpe", {kLlama3Pattern}},
      {"tekken", {kTekkenPattern}, false, true, true},
      {"gpt-4o", {kO200kPattern}},
      {"llama4", {kO200kPattern}},
      {"kanana2", {kO200kPattern}},
      {"minimax-m2", {kO200kPattern}},
      {"tiny_aya", aya},
      {"cohere2moe", aya},
      {"deepseek-v3", deepseek_v3},
      {"hunyuan-dense", deepseek_v3},
      {"joyai-llm", deepseek_v3},
      {"bailingmoe", {kBailingPattern}},
      {"bailingmoe2", {kBailingPattern}},
      {"llada-moe", {kBailingPattern}},
  };
  return all;
}

}  // namespace

const PreTokenizerFamily& find_family(const std::string& name, const std::string& what) {
  std::string known;
  for (const PreTokenizerFamily& family : families()) {
    if (name == family.name) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  }
  throw InputError("{}: tokenizer.ggml.pre \"{}\" is not known; known: {}", what, name, known);
}

}  // namespace ropescope
