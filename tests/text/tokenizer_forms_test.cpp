// The forms in which the decoder families' tokenizer.json files come, as Hugging Face's own library reads them:
// every id and every decoded text, exactly. tests/golden/text/tokenizer_forms.json has one line a form.
#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "ropescope/text/tokenizer_readers.h"

#include "tests/support/golden.h"
#include "tests/text/encodings.h"

namespace ropescope::testing {
namespace {

const Json& golden() {
  static const Json file = golden_json("text/tokenizer_forms.json");
  return file;
}

/// tokenizer.json of a form: whole, or a shared vocabulary with parts of its own.
Json file_of(const Json& form) {
  if (form.contains("file")) return form.at("file");
  Json file = {{"model", golden().at("bases").at(form.at("base").get<std::string>())}};
  file["model"].update(form.at("model"));
  file["added_tokens"] = golden().at("added_tokens").at(form.at("added_tokens").get<std::string>());
  for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    if (form.contains(part)) file[part] = form.at(part);
  }
  return file;
}

/// What the form says about text `i`, where that is not `fallback`.
template <typename T>
T said(const Json& form, const char* key, size_t i, const T& fallback) {
  const std::string index = std::to_string(i);
  return form.contains(key) && form.at(key).contains(index) ? form.at(key).at(index).get<T>() : fallback;
}

void check_form(const Tokenizer& tokenizer, const Json& form) {
  const Json& texts = golden().at("texts");
  const Ids start = form.at("start").get<Ids>();
  const Ids end = form.at("end").get<Ids>();
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string text = texts[i].get<std::string>();
    SCOPED_TRACE(texts[i].dump());
    const Ids ids = form.at("ids")[i].get<Ids>();
    EXPECT_EQ(tokenizer.encode(text, kPlain), ids);
    EXPECT_EQ(tokenizer.encode(text, kSpecialsAsText), said(form, "as_text", i, ids));
    Ids whole = start;
    whole.insert(whole.end(), ids.begin(), ids.end());
    whole.insert(whole.end(), end.begin(), end.end());
    EXPECT_EQ(tokenizer.encode(text, EncodeOptions{}), whole);
    // The reference reads an added token whose characters all lie in the byte alphabet as bytes: no text comes out.
    if (text.find("<\xC3\xA9>") != std::string::npos) continue;
    const std::string decoded = said(form, "decoded", i, text);
    EXPECT_EQ(tokenizer.decode(ids, false), decoded);
    EXPECT_EQ(tokenizer.decode(ids, true), said(form, "skipped", i, decoded));
  }
}

TEST(TokenizerForms, AsTheReferenceReadsThem) {
  size_t checked = 0;
  for (const Json& form : golden().at("forms")) {
    SCOPED_TRACE(form.at("name").get<std::string>());
    const TemporaryFolder folder;
    folder.write("tokenizer.json", file_of(form).dump());
    if (form.contains("config")) folder.write("tokenizer_config.json", form.at("config").dump());
    const auto tokenizer = load_tokenizer(folder.path(""));
    check_form(*tokenizer, form);
    if (form.contains("config")) {
      EXPECT_EQ(tokenizer->token(tokenizer->bos_id().value()), form.at("config").at("bos_token"));
      EXPECT_EQ(tokenizer->token(tokenizer->eos_id().value()), form.at("config").at("eos_token"));
    }
    ++checked;
  }
  EXPECT_GE(checked, 40u);
}

/// The vocabulary of a form as llama.cpp's converter stores it.
GgufMetadata metadata_of(const Json& file, const std::string& model, const std::string& pre) {
  std::map<int64_t, std::string> texts;
  std::map<int64_t, int64_t> types;
  for (const auto& [token, id] : file.at("model").at("vocab").items()) {
    texts[id.get<int64_t>()] = token;
    types[id.get<int64_t>()] = token.rfind("<0x", 0) == 0 && token.size() == 6 ? 6 : 1;
  }
  for (const Json& token : file.at("added_tokens")) {
    texts[token.at("id").get<int64_t>()] = token.at("content").get<std::string>();
    types[token.at("id").get<int64_t>()] = token.value("special", false) ? 3 : 4;
  }
  std::vector<std::string> tokens, merges;
  std::vector<int64_t> numbers;
  for (const auto& [id, text] : texts) {
    tokens.push_back(text);
    numbers.push_back(types.at(id));
  }
  for (const Json& merge : file.at("model").at("merges")) {
    merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  GgufMetadata metadata;
  metadata["tokenizer.ggml.model"] = model;
  metadata["tokenizer.ggml.pre"] = pre;
  metadata["tokenizer.ggml.tokens"] = array_of(tokens);
  metadata["tokenizer.ggml.token_type"] = array_of(numbers);
  metadata["tokenizer.ggml.merges"] = array_of(merges);
  return metadata;
}

const Json& form_named(const std::string& name) {
  for (const Json& form : golden().at("forms")) {
    if (form.at("name") == name) return form;
  }
  throw std::out_of_range(name);
}

// What a family's name in a GGUF file stands for gives the ids of the family's own tokenizer.json.
TEST(TokenizerForms, FamiliesOfGgufFiles) {
  const std::vector<std::tuple<const char*, const char*, const char*>> families = {
      {"gpt2", "gpt2", "gpt-2"},          {"gpt2", "gpt2", "granite-docling"},
      {"qwen2", "gpt2", "qwen2"},         {"qwen35", "gpt2", "qwen35"},
      {"llama3", "gpt2", "llama-bpe"},    {"llama3", "gpt2", "dbrx"},
      {"llama3", "gpt2", "glm4"},         {"llama3", "gpt2", "chatglm-bpe"},
      {"o200k", "gpt2", "gpt-4o"},        {"o200k", "gpt2", "llama4"},
      {"tekken", "gpt2", "tekken"},       {"deepseek3", "gpt2", "deepseek-v3"},
      {"cohere", "gpt2", "command-r"},    {"smollm", "gpt2", "smollm"},
      {"smollm", "gpt2", "refact"},       {"smollm", "gpt2", "starcoder"},
      {"aya", "gpt2", "tiny_aya"},        {"gemma", "gemma4", "gemma4"},
      {"gemma_saved", "gemma4", "gemma4"}};
  for (const auto& [name, model, pre] : families) {
    SCOPED_TRACE(std::string(name) + " as " + pre);
    const Json& form = form_named(name);
    const auto tokenizer = make_gguf_tokenizer(metadata_of(file_of(form), model, pre), "test.gguf");
    for (size_t i = 0; i < golden().at("texts").size(); ++i) {
      const std::string text = golden().at("texts")[i].get<std::string>();
      // These files do not say which added tokens take white space.
      if (text.find('<') != std::string::npos) continue;
      const Ids ids = form.at("ids")[i].get<Ids>();
      EXPECT_EQ(tokenizer->encode(text, kPlain), ids) << golden().at("texts")[i];
      EXPECT_EQ(tokenizer->decode(ids, false), said(form, "decoded", i, text));
    }
  }
}

// The tokens that a list calls special keep their own entry's word; those with a role are special.
TEST(TokenizerForms, RolesAndListsOfSpecialTokens) {
  const Json& form = form_named("llama3");
  const auto skipped = [&](const char* config) {
    const TemporaryFolder folder;
    folder.write("tokenizer.json", file_of(form).dump());
    folder.write("tokenizer_config.json", config);
    const auto tokenizer = load_tokenizer(folder.path(""));
    return tokenizer->decode(tokenizer->encode("a<u>b the", kPlain), true);
  };
  EXPECT_EQ(skipped("{}"), "a<u>b the");
  EXPECT_EQ(skipped(R"({"eos_token": "<u>"})"), "ab the");
  EXPECT_EQ(skipped(R"({"extra_special_tokens": ["<u>"]})"), "a<u>b the");
  EXPECT_EQ(skipped(R"({"additional_special_tokens": ["<u>"]})"), "a<u>b the");
  EXPECT_EQ(skipped(R"({"extra_special_tokens": {"image_token": "<u>"}})"), "ab the");
  EXPECT_EQ(skipped(R"({"extra_special_tokens": ["the"]})"), "a<u>b ");
}

}  // namespace
}  // namespace ropescope::testing
