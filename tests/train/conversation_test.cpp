// Ids and labels of conversations, equal to tests/golden/vision/conversations.
#include "ropescope/train/conversation.h"

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"

#include "tests/support/conversations.h"
#include "tests/support/golden.h"
#include "tests/support/real_model.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

ConversationOptions options_of(ChatTemplate chat, LabelRule rule, int64_t max_length = 0) {
  return {chat, rule, max_length};
}

void expect_labeled(const LabeledIds& found, const Json& ids, const Json& labels) {
  EXPECT_EQ(found.ids, ids.get<std::vector<int64_t>>());
  EXPECT_EQ(found.labels, labels.get<std::vector<int64_t>>());
}

class VicunaLabels : public ::testing::TestWithParam<bool> {
 protected:
  std::string setting() const { return GetParam() ? "legacy_true" : "legacy_false"; }
  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = llama_tokenizer(GetParam(), folder_);
  Json golden_ = golden_json(kConversations + "vicuna_v1_and_plain.json");
};

INSTANTIATE_TEST_SUITE_P(Legacy, VicunaLabels, ::testing::Bool());

TEST_P(VicunaLabels, IntendedAndUpstream) {
  for (const Json& conversation : golden_.at("vicuna_v1").at(setting())) {
    for (const auto& [rule_name, move] : {std::pair{"rule_open_llava_next", ImageMove::kAlways},
                                          std::pair{"rule_llava_next", ImageMove::kSingle}}) {
      SCOPED_TRACE(conversation.at("name").get<std::string>() + ", " + rule_name);
      const Json& stored = conversation.at(rule_name);
      const Json& expected = stored == "same" ? conversation.at("rule_open_llava_next") : stored;
      std::vector<ChatTurn> turns = turns_of(conversation.at("conversations"));
      if (conversation.at("has_image")) turns = move_images(turns, move);
      for (const auto& [rule, key] : {std::pair{LabelRule::kIntended, "labels_intended"},
                                      std::pair{LabelRule::kUpstream, "labels_upstream"}}) {
        SCOPED_TRACE(key);
        expect_labeled(label_conversation(*tokenizer_, turns, options_of(ChatTemplate::kVicunaV1, rule)),
                       expected.at("input_ids"), expected.at(key));
      }
    }
  }
}

TEST_P(VicunaLabels, Plain) {
  for (const Json& conversation : golden_.at("plain").at(setting())) {
    SCOPED_TRACE(conversation.at("name").get<std::string>());
    for (const LabelRule rule : {LabelRule::kIntended, LabelRule::kUpstream}) {
      expect_labeled(label_conversation(*tokenizer_, turns_of(conversation.at("conversations")),
                                        options_of(ChatTemplate::kPlain, rule)),
                     conversation.at("input_ids"), conversation.at("labels"));
    }
  }
}

TEST(VicunaTruncation, CutsWhatTheBatchWouldCut) {
  const TemporaryFolder folder;
  const auto tokenizer = llama_tokenizer(false, folder);
  const Json golden = golden_json(kConversations + "vicuna_v1_and_plain.json");
  size_t compared = 0;
  for (const Json& truncated : golden.at("truncation_legacy_false")) {
    for (const Json& conversation : golden.at("vicuna_v1").at("legacy_false")) {
      if (conversation.at("name") != truncated.at("name")) continue;
      SCOPED_TRACE(truncated.at("name").get<std::string>());
      std::vector<ChatTurn> turns = turns_of(conversation.at("conversations"));
      if (conversation.at("has_image")) turns = move_images(turns, ImageMove::kAlways);
      const int64_t longest = truncated.at("model_max_length");
      const auto found = label_conversation(
          *tokenizer, turns, options_of(ChatTemplate::kVicunaV1, LabelRule::kUpstream, longest));
      auto ids = truncated.at("input_ids").get<std::vector<int64_t>>();
      auto labels = truncated.at("labels_upstream").get<std::vector<int64_t>>();
      const auto kept = truncated.at("after_collator_length").get<size_t>();
      ids.resize(kept);
      labels.resize(kept);
      expect_labeled(found, ids, labels);
      ++compared;
    }
  }
  EXPECT_EQ(compared, golden.at("truncation_legacy_false").size());
}

void expect_chatml(const Tokenizer& tokenizer, const Json& conversations) {
  size_t intended = 0;
  for (const Json& conversation : conversations) {
    SCOPED_TRACE(conversation.at("name").get<std::string>());
    const std::vector<ChatTurn> turns = turns_of(conversation.at("turns_used"));
    expect_labeled(
        label_conversation(tokenizer, turns, options_of(ChatTemplate::kQwen, LabelRule::kUpstream)),
        conversation.at("input_ids"), conversation.at("labels_upstream"));
    if (conversation.at("labels_answers_only").is_null()) continue;
    expect_labeled(
        label_conversation(tokenizer, turns, options_of(ChatTemplate::kQwen, LabelRule::kIntended)),
        conversation.at("input_ids"), conversation.at("labels_answers_only"));
    ++intended;
  }
  EXPECT_GE(intended, 10u);
}

TEST(ChatMlLabels, OfTheTinyTokenizer) {
  const auto tokenizer = load_tokenizer(golden_path(kConversations + "qwen-tiny"));
  const Json golden = golden_json(kConversations + "qwen_chatml.json");
  expect_chatml(*tokenizer, golden.at("sets").at("qwen-tiny"));
  for (const Json& conversation : golden.at("plain_no_bos")) {
    expect_labeled(label_conversation(*tokenizer, turns_of(conversation.at("conversations")),
                                      options_of(ChatTemplate::kPlain, LabelRule::kIntended)),
                   conversation.at("input_ids"), conversation.at("labels"));
  }
}

TEST(ChatMlLabels, OfSmolLm2) {
  const std::string path = smollm2_path();
  if (path.empty()) GTEST_SKIP() << "the real model is not installed";
  expect_chatml(*load_tokenizer(path),
                golden_json(kConversations + "qwen_chatml.json").at("sets").at("smollm2"));
}

TEST(Labels, ATemplateWithoutAnswersIsRefused) {
  const auto tokenizer = load_tokenizer(golden_path(kConversations + "qwen-tiny"));
  EXPECT_THROW(
      label_conversation(*tokenizer, {{true, "a"}, {false, "b"}}, options_of(ChatTemplate::kNone, {})),
      UsageError);
}

}  // namespace
}  // namespace ropescope
