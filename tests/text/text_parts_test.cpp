// UTF-8, patterns, splits and the word cache, each by itself.
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/text/pre_tokenizer.h"
#include "ropescope/text/utf8.h"
#include "ropescope/text/word_cache.h"

namespace ropescope::testing {
namespace {

using Words = std::vector<std::string>;

Words split(const PreTokenizer& pre_tokenizer, std::string_view text) {
  Words words;
  PreTokenizerScratch scratch;
  pre_tokenizer.split(text, true, scratch, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

Words split_by(const char* pattern, std::string_view text) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.word_pattern = std::make_shared<const Regex>(pattern, "test");
  return split(pre_tokenizer, text);
}

Words split_with(const char* pattern, SplitBehavior behavior, bool invert, std::string_view text) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.steps.emplace_back(
      SplitStep{std::make_shared<const Regex>(pattern, "test"), behavior, invert});
  return split(pre_tokenizer, text);
}

TEST(Utf8, MaximalBrokenParts) {
  const auto marks = [](std::string_view text) { return replace_broken_utf8(text); };
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(marks("\xC0\x80"), mark + mark);                        // overlong
  EXPECT_EQ(marks("\xE0\x80\x80"), mark + mark + mark);             // overlong
  EXPECT_EQ(marks("\xED\xA0\x80"), mark + mark + mark);             // surrogate
  EXPECT_EQ(marks("\xF4\x90\x80\x80"), mark + mark + mark + mark);  // beyond U+10FFFF
  EXPECT_EQ(marks("\xF0\x9F\x99"), mark);                           // cut short
  EXPECT_EQ(marks("\xF0\x9F\x99z"), mark + "z");
  EXPECT_EQ(marks("\xE4\xBB\xE4\xBB\x8A"), mark + "\xE4\xBB\x8A");
  EXPECT_EQ(marks("plain \xF4\x8F\xBF\xBF"), "plain \xF4\x8F\xBF\xBF");
  EXPECT_TRUE(is_valid_utf8("\xED\x9F\xBF\xEE\x80\x80"));
  EXPECT_FALSE(is_valid_utf8(std::string(16, 'a') + "\x80"));
}

TEST(Utf8, EveryCharacterThereAndBack) {
  for (char32_t code = 0; code <= 0x10FFFF; code += code < 0x3000 ? 1 : 61) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    append_utf8(text, code);
    const Utf8Char back = decode_utf8_char(text);
    ASSERT_TRUE(back.valid && back.code == code && back.length == text.size()) << static_cast<uint32_t>(code);
  }
}

TEST(Patterns, ClassesAsInTheReference) {
  const auto matches = [](const char* pattern, const std::string& text) {
    const Regex regex(pattern, "test");
    RegexScratch scratch;
    size_t begin = 0;
    size_t end = 0;
    return regex.find(text, 0, scratch, begin, end) && begin == 0 && end == text.size();
  };
  for (const char* space :
       {" ", "\t", "\v", "\xC2\x85", "\xC2\xA0", "\xE2\x80\xA8", "\xE3\x80\x80", "\xE1\x9A\x80"}) {
    EXPECT_TRUE(matches("\\s", space));
    EXPECT_TRUE(matches("[x\\s]", space));
    EXPECT_FALSE(matches("\\S", space));
    EXPECT_FALSE(matches("[^\\s]", space));
  }
  // U+180E is white space to PCRE2 only; neither are the separators U+001C to U+001F and U+200B.
  for (const char* other : {"\xE1\xA0\x8E", "\x1C", "\x1F", "\xE2\x80\x8B"}) {
    EXPECT_FALSE(matches("\\s", other));
    EXPECT_TRUE(matches("[^\\s]", other));
  }
  EXPECT_TRUE(matches("(?i:'s)", "'\xC5\xBF"));  // long s
  EXPECT_TRUE(matches("\\w", "\xE2\x93\x90"));   // circled a
  EXPECT_TRUE(matches("\\w", "\xC2\xBD"));       // one half, but not inside brackets
  EXPECT_FALSE(matches("[\\w]", "\xC2\xBD"));
  EXPECT_TRUE(matches("\\h+", "09afAF"));
  EXPECT_TRUE(matches("[[:alpha:]]+", "ab"));
  EXPECT_TRUE(matches("[]a]+", "]a"));
}

// What Oniguruma's Ruby syntax does with the repetition of an interval; found with tokenizers 0.23.3.
TEST(Patterns, RepeatedIntervals) {
  EXPECT_EQ(split_by(R"(\p{N}{1,3}+)", "1234567 12"), (Words{"1234567", " ", "12"}));
  EXPECT_EQ(split_by(R"((?:\d[a-b]){1,2}+)", "1a2b3ax"), (Words{"1a2b3a", "x"}));
  EXPECT_EQ(split_by("\xC3\xA9{2,}+|a{,2}",
                     "\xC3\xA9\xC3\xA9\xC3\xA9"
                     "aaa"),
            (Words{"\xC3\xA9\xC3\xA9\xC3\xA9", "aa", "a"}));
  EXPECT_EQ(split_by(R"(\p{N}{2}?x)", "12x3x"), (Words{"12x", "3", "x"}));
  EXPECT_EQ(split_by("(?m:a.b)", "a\nb"), (Words{"a\nb"}));
}

TEST(Patterns, FamiliesOnTheirTraps) {
  EXPECT_EQ(split_by(kGpt2Pattern, "I'LL we'll  x \n"),
            (Words{"I", "'", "LL", " we", "'ll", " ", " x", " \n"}));
  EXPECT_EQ(split_by(kQwen2Pattern, "I'LL 12\n\n x"), (Words{"I", "'LL", " ", "1", "2", "\n\n", " x"}));
  EXPECT_EQ(split_by(kLlama3Pattern, "1234 (ab)"), (Words{"123", "4", " (", "ab", ")"}));
}

TEST(Patterns, BehaviorsOfASplit) {
  const auto with = [](SplitBehavior behavior, bool invert = false) {
    return split_with("-", behavior, invert, "-a--b");
  };
  EXPECT_EQ(with(SplitBehavior::kIsolated), (Words{"-", "a", "-", "-", "b"}));
  EXPECT_EQ(with(SplitBehavior::kRemoved), (Words{"a", "b"}));
  EXPECT_EQ(with(SplitBehavior::kRemoved, true), (Words{"-", "-", "-"}));
  EXPECT_EQ(with(SplitBehavior::kMergedWithPrevious), (Words{"-", "a-", "-", "b"}));
  EXPECT_EQ(with(SplitBehavior::kMergedWithNext), (Words{"-a", "-", "-b"}));
  EXPECT_EQ(with(SplitBehavior::kContiguous), (Words{"-", "a", "--", "b"}));
  // Empty matches cut but are no words, and never stop the search.
  EXPECT_EQ(split_with("(?=b)", SplitBehavior::kIsolated, false,
                       "ab\xC3\xA9"
                       "bb"),
            (Words{"a", "b\xC3\xA9", "b", "b"}));
}

TEST(WordCacheTest, KeepsWhatIsMetAgain) {
  WordCache cache;
  std::vector<int32_t> ids;
  const auto lookup = [&](const std::string& word, int32_t id) {
    ids.clear();
    if (!cache.find(word, ids)) {
      cache.insert(word, &id, 1);
      return false;
    }
    EXPECT_EQ(ids, (std::vector<int32_t>{id}));
    return true;
  };
  EXPECT_FALSE(lookup("often", 7));
  // Many times what it holds; words that lie far apart are forgotten, frequent ones are not.
  for (int32_t i = 0; i < 300'000; ++i) {
    EXPECT_FALSE(lookup("w" + std::to_string(i), i));
    if (i % 1000 == 0) {
      EXPECT_TRUE(lookup("often", 7));
    }
  }
  EXPECT_FALSE(lookup("w0", 0));
}

TEST(WordCacheTest, WordsOfNoIds) {
  WordCache cache;
  std::vector<int32_t> ids;
  EXPECT_FALSE(cache.find("", ids));
  cache.insert("", nullptr, 0);
  EXPECT_TRUE(cache.find("", ids));
  EXPECT_TRUE(ids.empty());
}

}  // namespace
}  // namespace ropescope::testing
