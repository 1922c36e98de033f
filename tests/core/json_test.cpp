// JSON from untrusted files: what is refused, and how it is said.
#include "ropescope/core/json.h"

#include <cmath>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json_difference.h"

#include "tests/support/refusal.h"

namespace ropescope {
namespace {

std::string message_of(const std::string& text) {
  return testing::refusal_of([&] { parse_json(text, "here"); });
}

TEST(Json, RefusesWhatIsNotJson) {
  EXPECT_NE(message_of("{").find("here: not valid JSON"), std::string::npos);
  EXPECT_NE(message_of("").find("not valid JSON"), std::string::npos);
  EXPECT_NE(message_of("{} {}").find("not valid JSON"), std::string::npos);
  EXPECT_NE(message_of("\"\xff\"").find("not valid JSON"), std::string::npos);
}

TEST(Json, RefusesDuplicateKeysInOneObjectOnly) {
  EXPECT_NE(message_of(R"({"a":1,"b":{"a":2},"a":3})").find("the key \"a\" twice"), std::string::npos);
  EXPECT_EQ(message_of(R"([{"a":1},{"a":{"a":2}}])"), "");
}

TEST(Json, RefusesDeepNesting) {
  EXPECT_EQ(message_of(std::string(60, '[') + std::string(60, ']')), "");
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  EXPECT_NE(message_of(deep).find("nests deeper than 64"), std::string::npos);
}

TEST(Json, TypedAccessNamesKeyExpectedAndFound) {
  const Json object =
      parse_json(R"({"n":3,"whole":4.0,"half":0.5,"s":"x","t":true,"none":null,"big":1e30})", "f");
  EXPECT_EQ(json_integer(object, "n", "f"), 3);
  EXPECT_EQ(json_integer(object, "whole", "f"), 4);
  EXPECT_DOUBLE_EQ(json_number(object, "half", "f"), 0.5);
  EXPECT_EQ(json_string_or(object, "none", "fallback", "f"), "fallback");
  EXPECT_TRUE(json_bool(object, "t", "f"));
  for (const char* key : {"half", "s", "big"})
    EXPECT_THROW(json_integer(object, key, "f"), InputError) << key;
  EXPECT_EQ(testing::refusal_of([&] { json_integer(object, "s", "config.json"); }),
            "config.json: \"s\": expected an integer, found \"x\"");
  EXPECT_THROW(json_integer(object, "absent", "f"), InputError);
  EXPECT_THROW(json_integer(Json::array(), "n", "f"), InputError);
}

TEST(Json, IntegersBeyond64BitsAreRefused) {
  const Json object = parse_json(R"({"n":18446744073709551615})", "f");
  EXPECT_THROW(json_integer(object, "n", "f"), InputError);
}

TEST(Json, TheFirstDifferenceIsNamedWithBothValues) {
  const Json run = {{"seed", 1}, {"data", "a"}, {"list", {1, 2}}};
  EXPECT_FALSE(first_difference(run, run));
  Json other = run;
  other["seed"] = 2;
  other["list"] = {1, 3};
  const auto found = first_difference(run, other);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->key + " " + found->was + " " + found->is, "list [1,2] [1,3]");
  other = run;
  other.erase("data");
  EXPECT_EQ(first_difference(run, other)->is, "nothing");
  EXPECT_EQ(first_difference(other, run)->was, "nothing");
}

TEST(Json, DifferencesAreNamedOneByOneWhereverTheyLie) {
  const Json run = {{"files", {{"a", "1"}, {"b", "2"}}}, {"rate", 0.5}, {"none", nullptr}, {"seed", 1}};
  Json other = run;
  other["files"]["b"] = "3";
  other["rate"] = {{"start", 0.5}};
  other.erase("none");
  std::string all;
  for (const JsonDifference& one : differences(run, other))
    all += one.key + " " + one.was + " " + one.is + "; ";
  EXPECT_EQ(all, "files: b \"2\" \"3\"; rate 0.5 {\"start\":0.5}; ");
  EXPECT_EQ(first_difference(Json::array(), run)->key, "the whole");
  const Json no_number = {{"n", std::nan("")}};
  EXPECT_FALSE(first_difference(no_number, no_number));
}

}  // namespace
}  // namespace ropescope
