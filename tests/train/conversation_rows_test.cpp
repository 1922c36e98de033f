// Files of conversations: all rows of the golden ones, and every way in which a row can be broken.
#include "ropescope/train/conversation_rows.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/train/token_cache.h"

#include "tests/support/conversations.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

class ConversationFiles : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.path(name)) << text;
    return folder_.path(name);
  }
  std::vector<ConversationRow> read(const std::string& path, BadRows& bad) const {
    return read_conversation_rows(path, *tokenizer_, options_, bad);
  }
  std::vector<ConversationRow> read(const std::string& path) const {
    BadRows none;
    return read(path, none);
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = llama_tokenizer(false, folder_);
  ConversationRowOptions options_{{}, {}, true, synthetic_folder()};
};

TEST_F(ConversationFiles, OfTheGoldenDataGiveTheirIdsAndLabels) {
  const Json golden = golden_json(kConversations + "vicuna_v1_and_plain.json");
  for (const auto& [rule, key] : {std::pair{LabelRule::kIntended, "labels_intended"},
                                  std::pair{LabelRule::kUpstream, "labels_upstream"}}) {
    Json rows = Json::array();
    std::vector<Json> expected;
    for (const Json& conversation : golden.at("vicuna_v1").at("legacy_false")) {
      Json row = {{"id", conversation.at("name")}, {"conversations", conversation.at("conversations")}};
      if (conversation.at("has_image")) row["image"] = "gray_37x53.png";
      rows.push_back(row);
      expected.push_back(conversation.at("rule_open_llava_next"));
    }
    options_.conversation.rule = rule;
    options_.move = ImageMove::kAlways;
    BadRows bad(1000, folder_.path("bad.log"));
    const std::vector<ConversationRow> found = read(write("rows.json", rows.dump()), bad);
    size_t next = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (next == found.size() || found[next].name != rows[i].at("id")) continue;  // bad
      EXPECT_EQ(found[next].text.ids, expected[i].at("input_ids").get<std::vector<int64_t>>());
      EXPECT_EQ(found[next].text.labels, expected[i].at(key).get<std::vector<int64_t>>()) << found[next].name;
      ++next;
    }
    EXPECT_EQ(next, found.size());
    EXPECT_GE(next, rows.size() - 2) << "rows whose images and marks do not match";
  }
}

TEST_F(ConversationFiles, ListsAndLinesGiveTheSameRows) {
  Json rows = Json::array();
  for (int i = 0; i < 200; ++i) {
    rows.push_back(conversation_row("r" + std::to_string(i), {},
                                    "Brackets ]}[{ and \"quotes\\\" " + std::to_string(i),
                                    "Yes, [\"" + std::to_string(i) + "\"]"));
  }
  std::string lines;
  for (const Json& row : rows) lines += row.dump() + "\n\n";
  const auto list = read(write("a.json", " " + rows.dump(2) + "\n")), one = read(write("a.jsonl", lines));
  ASSERT_EQ(list.size(), 200u);
  EXPECT_EQ(fingerprint(list), fingerprint(one));
  for (size_t i = 0; i < list.size(); ++i) EXPECT_EQ(list[i].name, "r" + std::to_string(i));
  EXPECT_TRUE(read(write("empty.json", "[ ]")).empty());
}

TEST_F(ConversationFiles, SeveralImagesKeepTheirPlaces) {
  const Json row = conversation_row("two", {"gray_37x53.png", "cmyk_40x31.jpg"}, "Compare.", "No.");
  const auto rows = read(write("two.json", Json::array({row}).dump()));
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].images, (std::vector<std::string>{"gray_37x53.png", "cmyk_40x31.jpg"}));
  EXPECT_EQ(std::count(rows[0].text.ids.begin(), rows[0].text.ids.end(), kImageId), 2);
}

TEST_F(ConversationFiles, ImagesBeyondTheCutAreNotRead) {
  options_.conversation.max_length = 8;
  const Json row = {{"id", "late"},
                    {"image", "gray_37x53.png"},
                    {"conversations",
                     {{{"from", "human"}, {"value", "A question without any picture at all"}},
                      {{"from", "gpt"}, {"value", "An answer"}},
                      {{"from", "human"}, {"value", "<image>\nAnd this?"}},
                      {{"from", "gpt"}, {"value", "That too"}}}}};
  const auto rows = read(write("late.json", Json::array({row}).dump()));
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].text.ids.size(), 8u);
  EXPECT_TRUE(rows[0].images.empty());
}

TEST_F(ConversationFiles, BrokenRowsAreNamedCountedAndLeftOut) {
  const std::string good = conversation_row("good", {"gray_37x53.png"}, "What?", "That.").dump();
  const std::vector<std::pair<std::string, std::string>> broken = {
      {"no file", conversation_row("no file", {"nowhere.png"}, "What?", "That.").dump()},
      {"no answer", R"({"id":"no answer","conversations":[{"from":"human","value":"Hi"}]})"},
      {"no list", R"({"id":"no list","conversations":"Hi"})"},
      {"stranger", R"({"id":"stranger","conversations":[{"from":"dog","value":"Hi"}]})"},
      {"no value", R"({"id":"no value","conversations":[{"from":"human"}]})"},
      {"no mark",
       R"({"id":"no mark","image":"gray_37x53.png","conversations":[{"from":"human","value":"Hi"},)"
       R"({"from":"gpt","value":"Ho"}]})"},
      {"no image", R"({"id":"no image","conversations":[{"from":"human","value":"<image>\nHi"},)"
                   R"({"from":"gpt","value":"Ho"}]})"},
      {"number", R"({"id":"number","image":7,"conversations":[{"from":"human","value":"Hi"},)"
                 R"({"from":"gpt","value":"Ho"}]})"},
      {"twice",
       R"({"id":"twice","conversations":[{"from":"human","value":"Hi"},{"from":"human","value":"Ho"},)"
       R"({"from":"gpt","value":"Ha"}]})"},
      {"line 10", R"({"id":)"}};
  std::string lines;
  for (const auto& [name, text] : broken) lines += text + "\n";
  const std::string path = write("broken.jsonl", lines + good + "\n");
  BadRows bad(10, folder_.path("logs/bad_rows.log"));
  const auto rows = read(path, bad);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].name, "good");
  EXPECT_EQ(bad.count(), 10);
  std::ifstream log(folder_.path("logs/bad_rows.log"));
  for (const auto& [name, text] : broken) {
    std::string line;
    ASSERT_TRUE(std::getline(log, line));
    EXPECT_EQ(line.rfind(name + "\t", 0), 0u) << line;
  }
  BadRows strict(9);
  EXPECT_THROW(read(path, strict), InputError);
  // A second run names none of them again.
  BadRows again(10, folder_.path("logs/bad_rows.log"));
  read(path, again);
  std::ifstream whole(folder_.path("logs/bad_rows.log"));
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(whole), {}, '\n'), 10);
}

TEST_F(ConversationFiles, ATokenCacheGivesTheSameRowsUntilSomethingChanges) {
  Json rows = Json::array({conversation_row("a", {"gray_37x53.png"}, "What?", "That."),
                           conversation_row("b", {}, "Why?", "Because."),
                           conversation_row("c", {"nowhere.png"}, "Where?", "There.")});
  const std::string data = write("rows.json", rows.dump()), cache = folder_.path("cache.safetensors");
  const auto cached = [&](int64_t limit) {
    BadRows bad(limit);
    const auto found = read_cached_rows(cache, data, folder_.path(""), *tokenizer_, options_, bad);
    EXPECT_EQ(bad.count(), 1);
    return fingerprint(found) + found.at(0).name + found.at(1).name;
  };
  const std::string first = cached(1);
  const auto made = std::filesystem::last_write_time(cache);
  EXPECT_EQ(cached(1), first);
  EXPECT_EQ(std::filesystem::last_write_time(cache), made) << "it was read, not written";
  EXPECT_THROW(cached(0), InputError) << "bad rows count from the cache as well";
  for (const uintmax_t size : {0, 9, 100, 700}) {
    std::filesystem::resize_file(cache, size);
    EXPECT_EQ(cached(1), first) << "cut to " << size;
  }
  options_.conversation.max_length = 20;
  EXPECT_NE(cached(1), first);
  options_.conversation.max_length = 0;
  rows[1]["conversations"][1]["value"] = "No reason.";
  write("rows.json", rows.dump());
  EXPECT_NE(cached(1), first);
}

TEST_F(ConversationFiles, WhatIsNoListIsRefused) {
  for (const char* text : {"", "{}", "[1", "[{}] x", "[{}", "[\"a"}) {
    BadRows bad(1000);
    EXPECT_THROW(read(write("x.json", text), bad), InputError) << text;
  }
  EXPECT_THROW(read(folder_.path("nowhere.json")), InputError);
}

TEST_F(ConversationFiles, AModelWithoutEyesTakesNoImages) {
  options_.images = false;
  BadRows bad(1);
  const std::string rows = Json::array({conversation_row("seen", {"gray_37x53.png"}, "What?", "That."),
                                        conversation_row("read", {}, "What?", "That.")})
                               .dump();
  EXPECT_EQ(read(write("x.json", rows), bad).size(), 1u);
  EXPECT_EQ(bad.count(), 1);
}

TEST_F(ConversationFiles, DocumentsAreNotConversations) {
  EXPECT_TRUE(holds_conversations(write("a.json", "[]")));
  EXPECT_TRUE(holds_conversations(write("b.jsonl", "\n{\"conversations\":[]}\n")));
  EXPECT_FALSE(holds_conversations(write("c.jsonl", "{\"text\":\"a\"}\n")));
  EXPECT_FALSE(holds_conversations(write("d.txt", "text")));
  EXPECT_FALSE(holds_conversations(folder_.path("")));
}

}  // namespace
}  // namespace ropescope
