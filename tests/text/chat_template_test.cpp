// Prompts and ids of conversations, equal to tests/golden/vision/conversations. (Label masks belong to
// training.)
#include "ropescope/text/chat_template.h"

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"

#include "tests/support/conversations.h"
#include "tests/support/golden.h"
#include "tests/support/real_model.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

std::vector<int64_t> ids_of(const Json& json) { return json.get<std::vector<int64_t>>(); }

ChatOptions open_prompt() {
  ChatOptions options;
  options.open = true;
  return options;
}

class VicunaGolden : public ::testing::TestWithParam<bool> {
 protected:
  std::string setting() const { return GetParam() ? "legacy_true" : "legacy_false"; }
  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = llama_tokenizer(GetParam(), folder_);
  Json golden_ = golden_json(kConversations + "vicuna_v1_and_plain.json");
};

INSTANTIATE_TEST_SUITE_P(Legacy, VicunaGolden, ::testing::Bool());

TEST_P(VicunaGolden, PromptsAndIds) {
  for (const Json& conversation : golden_.at("vicuna_v1").at(setting())) {
    SCOPED_TRACE(conversation.at("name").get<std::string>());
    for (const auto& [rule_name, rule] : {std::pair{"rule_open_llava_next", ImageMove::kAlways},
                                          std::pair{"rule_llava_next", ImageMove::kSingle}}) {
      const Json& stored = conversation.at(rule_name);
      const Json& expected = stored == "same" ? conversation.at("rule_open_llava_next") : stored;
      std::vector<ChatTurn> turns = turns_of(conversation.at("conversations"));
      if (conversation.at("has_image")) turns = move_images(turns, rule);
      const std::string prompt = chat_prompt(ChatTemplate::kVicunaV1, turns);
      EXPECT_EQ(prompt, expected.at("prompt"));
      EXPECT_EQ(encode_with_images(*tokenizer_, prompt), ids_of(expected.at("input_ids")));
      const std::string open = chat_prompt(ChatTemplate::kVicunaV1, turns, open_prompt());
      EXPECT_EQ(open, expected.at("generation_prompt"));
      EXPECT_EQ(encode_with_images(*tokenizer_, open), ids_of(expected.at("generation_input_ids")));
    }
  }
}

TEST_P(VicunaGolden, PlainPromptsAndIds) {
  for (const Json& conversation : golden_.at("plain").at(setting())) {
    SCOPED_TRACE(conversation.at("name").get<std::string>());
    const std::string prompt = chat_prompt(ChatTemplate::kPlain, turns_of(conversation.at("conversations")));
    EXPECT_EQ(prompt, conversation.at("prompt"));
    EXPECT_EQ(encode_with_images(*tokenizer_, prompt), ids_of(conversation.at("input_ids")));
  }
}

void check_chatml(const Json& conversations, const Tokenizer& tokenizer) {
  for (const Json& conversation : conversations) {
    SCOPED_TRACE(conversation.at("name").get<std::string>());
    std::vector<ChatTurn> turns = turns_of(conversation.at("conversations"));
    if (conversation.at("has_image")) turns = move_images(turns, ImageMove::kSingle);
    const std::string prompt = chat_prompt(ChatTemplate::kQwen, turns);
    EXPECT_EQ(prompt, conversation.at("prompt_training"));
    EXPECT_EQ(encode_with_images(tokenizer, prompt), ids_of(conversation.at("input_ids")));
    ChatOptions options = open_prompt();
    const std::string open = chat_prompt(ChatTemplate::kQwen, turns, options);
    EXPECT_EQ(open, conversation.at("generation_prompt_qwen_1_5"));
    EXPECT_EQ(encode_with_images(tokenizer, open), ids_of(conversation.at("generation_input_ids_qwen_1_5")));
    options.system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
    EXPECT_EQ(chat_prompt(ChatTemplate::kQwen, turns, options),
              conversation.at("generation_prompt_qwen_2_5"));
  }
}

TEST(ChatMlGolden, QwenTokenizer) {
  const Json golden = golden_json(kConversations + "qwen_chatml.json");
  const auto tokenizer = load_tokenizer(golden_path(kConversations + "qwen-tiny"));
  check_chatml(golden.at("sets").at("qwen-tiny"), *tokenizer);
  for (const Json& conversation : golden.at("plain_no_bos")) {
    const std::string prompt = chat_prompt(ChatTemplate::kPlain, turns_of(conversation.at("conversations")));
    EXPECT_EQ(encode_with_images(*tokenizer, prompt), ids_of(conversation.at("input_ids")));
  }
}

TEST(ChatMlGolden, SmolLm2Tokenizer) {
  const std::string path = smollm2_path();
  if (path.empty()) GTEST_SKIP() << "the real model is not installed";
  check_chatml(golden_json(kConversations + "qwen_chatml.json").at("sets").at("smollm2"),
               *load_tokenizer(path));
}

TEST(ChatTemplate, NamesAndMistakes) {
  for (const char* name : {"vicuna_v1", "qwen", "plain", "none"}) {
    EXPECT_EQ(chat_template_name(parse_chat_template(name)), name);
  }
  EXPECT_THROW(parse_chat_template("vicuna"), UsageError);
  EXPECT_THROW(chat_prompt(ChatTemplate::kQwen, {}), InputError);
  EXPECT_THROW(chat_prompt(ChatTemplate::kQwen, {{true, "a"}, {true, "b"}}), InputError);
  EXPECT_EQ(chat_prompt(ChatTemplate::kNone, {{true, "as it is "}}), "as it is ");
}

TEST(ChatTemplate, ImagesAreMovedAsPythonStrips) {
  // No-break and ideographic spaces are white space to str.strip().
  const auto moved = move_images({{true, "\xC2\xA0 a b\xE3\x80\x80<image>\n"}}, ImageMove::kSingle);
  EXPECT_EQ(moved[0].text, "<image>\na b");
  EXPECT_EQ(move_images({{true, "<image>"}}, ImageMove::kAlways)[0].text, "<image>");
  EXPECT_EQ(move_images({{true, "<image>\n x "}}, ImageMove::kSingle)[0].text, "<image>\n x ");
}

}  // namespace
}  // namespace ropescope
