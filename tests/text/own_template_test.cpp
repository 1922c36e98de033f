// Questions under a checkpoint's own chat template: which file it comes from, what is put into it, which tokens come out.
#include <algorithm>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/text/chat_template_prompt.h"

#include "tests/support/conversations.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

class OwnTemplate : public ::testing::Test {
 protected:
  void SetUp() override { tokenizer_ = llama_tokenizer(/*legacy=*/false, folder_); }

  /// Of the golden templates.
  PromptTemplate named(const std::string& name, bool sees) const {
    const Json own = golden_json("text/chat_templates.json").at("templates").at(name);
    StoredChatTemplate stored{own.at("chat_template"), "here", {{"eos_token", "</s>"}}};
    if (!own.at("bos_token").is_null()) stored.special_tokens.emplace_back("bos_token", "<s>");
    return PromptTemplate(std::move(stored), sees);
  }
  PromptTemplate of(const std::string& source, bool sees) const {
    return PromptTemplate({source, "here", {{"bos_token", "<s>"}, {"eos_token", "</s>"}}}, sees);
  }
  int64_t starts(const std::vector<int64_t>& ids) const {
    return std::count(ids.begin(), ids.end(), *tokenizer_->bos_id());
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(OwnTemplate, PicturesArePartsWhereItTakesPartsAndTextWhereItTakesText) {
  const std::string question = "<image>\nWhat is shown?";
  EXPECT_EQ(named("llava-next-mistral", true).ask(*tokenizer_, question, {}, {1, {}}).text,
            "[INST] <image>\nWhat is shown? [/INST]");
  EXPECT_EQ(named("llava-next-vicuna", true).ask(*tokenizer_, question, {}, {1, {}}).text,
            "USER: <image>\nWhat is shown? ASSISTANT:");
  EXPECT_EQ(named("chatml", true).ask(*tokenizer_, question, {}, {1, {}}).text,
            "<|im_start|>user\n<image>\nWhat is shown?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(named("llava-next-vicuna", true).ask(*tokenizer_, "a <image> b <image>", {}, {2, {}}).text,
            "USER: <image>\n<image>\na   b  ASSISTANT:")
      << "its own order";
  const AskedPrompt prompt = named("llava-next-mistral", true).ask(*tokenizer_, question, {}, {1, {}});
  EXPECT_EQ(std::count(prompt.ids.begin(), prompt.ids.end(), kImageId), 1);
  // Without pictures, a template of parts gets its text as one.
  EXPECT_EQ(named("llava-next-mistral", true).ask(*tokenizer_, "Why?", {}).text, "[INST] Why? [/INST]");
}

TEST_F(OwnTemplate, TheStartTokenComesOnce) {
  const auto ids_of = [&](const std::string& name, bool sees) {
    return named(name, sees).ask(*tokenizer_, "Why?", {}).ids;
  };
  for (const bool sees : {true, false}) {  // written by the template
    const auto ids = ids_of("llama-2", sees);
    EXPECT_EQ(starts(ids), 1);
    EXPECT_EQ(ids.front(), *tokenizer_->bos_id());
  }
  // Not written: a processor adds it, a language model's template stands as it is.
  EXPECT_EQ(starts(ids_of("llava-next-mistral", true)), 1);
  EXPECT_EQ(starts(ids_of("zephyr", false)), 0);
  const auto seen = named("vicuna", true).ask(*tokenizer_, "<image>\nWhy?", {}, {1, {}}).ids;
  EXPECT_EQ(starts(seen), 1);
}

TEST_F(OwnTemplate, SystemTextsHaveAPlaceOrAreRefused) {
  EXPECT_EQ(named("llama-2", false).ask(*tokenizer_, "Why?", "Be brief.").text,
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhy? [/INST]");
  EXPECT_EQ(named("llava-next-vicuna", true).ask(*tokenizer_, "<image>\nWhy?", "Be brief.", {1, {}}).text,
            "Be brief. USER: <image>\nWhy? ASSISTANT:");
  const auto refused = [&](const PromptTemplate& chat) {
    return refusal_of([&] { chat.ask(*tokenizer_, "Why?", "Be brief."); });
  };
  EXPECT_THAT(refused(named("gemma", false)), HasSubstr("it says \"System role not supported\""));
  EXPECT_THAT(refused(named("gemma", false)), HasSubstr("--template"));
  EXPECT_THAT(refused(of("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", false)),
              HasSubstr("leaves the system text out"));
  EXPECT_THROW(PromptTemplate(ChatTemplate::kNone).ask(*tokenizer_, "Why?", "Be brief."), UsageError);
}

TEST_F(OwnTemplate, AQuestionOrAPictureIsNeverLost) {
  const auto refused = [&](const std::string& source, const std::string& question, int64_t images) {
    return refusal_of([&] { of(source, true).ask(*tokenizer_, question, {}, {images, {}}); });
  };
  EXPECT_THAT(refused("{{ messages[0].role }}", "Why?", 0), HasSubstr("does not give the question back"));
  EXPECT_THAT(refused("{{ messages[0].content | upper }}", "Why?", 0),
              HasSubstr("does not give the question back"));
  EXPECT_THAT(refused("{{ messages[0].content[-1].text }}<image><image>", "<image>\nWhy?", 1),
              HasSubstr("2 pictures of 1"));
  EXPECT_THAT(refused("{{ messages[0].nothing.here }}", "Why?", 0), HasSubstr("'nothing' is undefined"));
  EXPECT_THAT(refusal_of([&] { of("{% if %}", true); }), HasSubstr("cannot be read: line 1"));
}

TEST_F(OwnTemplate, ComesFromTheFileThatTransformersReads) {
  const auto origin = [&](bool sees) {
    const auto stored = read_chat_template(folder_.path(""), *tokenizer_, sees);
    return stored ? stored->source + " of " + stored->origin : "none";
  };
  EXPECT_EQ(origin(true), "none");
  Json config = read_json_file(folder_.path("tokenizer_config.json"));
  config["chat_template"] = {{{"name", "tool_use"}, {"template", "T"}},
                             {{"name", "default"}, {"template", "D"}}};
  folder_.write("tokenizer_config.json", config.dump());
  EXPECT_EQ(origin(false), "D of chat_template of tokenizer_config.json");
  config["chat_template"] = {{{"name", "a"}, {"template", "A"}}, {{"name", "b"}, {"template", "B"}}};
  folder_.write("tokenizer_config.json", config.dump());
  EXPECT_THAT(refusal_of([&] { origin(false); }), HasSubstr("expected one named \"default\", found a, b"));
  config["chat_template"] = "C";
  folder_.write("tokenizer_config.json", config.dump());
  folder_.write("chat_template.json", R"({"chat_template": "J"})");
  EXPECT_EQ(origin(true), "J of chat_template of chat_template.json");
  EXPECT_EQ(origin(false), "C of chat_template of tokenizer_config.json");
  folder_.write("chat_template.jinja", "X");
  EXPECT_EQ(origin(true), "X of chat_template.jinja");
  const auto stored = read_chat_template(folder_.path(""), *tokenizer_, true);
  EXPECT_THAT(stored->special_tokens,
              ::testing::Contains(std::make_pair(std::string("bos_token"), std::string("<s>"))));
}

TEST_F(OwnTemplate, AnAnswerEndsWhereTheTemplateEndsIt) {
  EXPECT_EQ(named("llama-2", false).end_token(*tokenizer_), tokenizer_->eos_id());
  EXPECT_EQ(named("llava-next-mistral", true).end_token(*tokenizer_), tokenizer_->eos_id()) << "in parts";
  EXPECT_EQ(named("llava-next-vicuna", true).end_token(*tokenizer_), std::nullopt) << "a blank is no end";
  EXPECT_EQ(named("chatml", true).end_token(*tokenizer_), std::nullopt) << "no token of this tokenizer";
  const auto qwen = load_tokenizer(golden_path(kConversations + "qwen-tiny"));
  EXPECT_EQ(named("chatml", true).end_token(*qwen),
            qwen->encode("<|im_end|>", {/*add_special=*/false, false}).front());
}

}  // namespace
}  // namespace ropescope
