// The interpreter of chat templates against jinja2 with transformers' environment (golden/text/chat_templates.json), and
// what it does with templates that mean harm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/text/jinja_builtins.h"
#include "ropescope/text/jinja_template.h"

#include "tests/support/golden.h"

namespace ropescope::jinja {
namespace {

using ::testing::HasSubstr;
using Variables = std::vector<std::pair<std::string, Value>>;

std::string render(const std::string& source, const Variables& variables = {}) {
  return Template(source).render(variables).text;
}

/// What stops it; empty if nothing does.
std::string fault_of(const std::string& source, const Variables& variables = {}) {
  try {
    render(source, variables);
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}

/// The text, or for what jinja2 refuses that it is refused here too.
void expect_as_reference(const Json& expected, const std::string& source, const Variables& variables) {
  if (expected.contains("error")) {
    EXPECT_NE(fault_of(source, variables), "") << "jinja2: " << expected.at("error");
    return;
  }
  EXPECT_EQ(fault_of(source, variables), "");
  EXPECT_EQ(render(source, variables), expected.at("text").get<std::string>());
}

TEST(Jinja, TemplatesOfRealFormsGiveTheReferencesPrompts) {
  const Json golden = ropescope::testing::golden_json("text/chat_templates.json");
  int64_t texts = 0;
  for (const Json& rendering : golden.at("renderings")) {
    const auto name = rendering.at("template").get<std::string>();
    const auto conversation = rendering.at("conversation").get<std::string>();
    SCOPED_TRACE(name + ", " + conversation);
    const Json& own = golden.at("templates").at(name);
    Variables variables = {
        {"messages", from_json(golden.at("conversations").at(conversation))},
        {"add_generation_prompt", Value(rendering.at("add_generation_prompt").get<bool>())},
        {"tools", Value()},
        {"documents", Value()},
        {"eos_token", from_json(own.at("eos_token"))}};
    if (!own.at("bos_token").is_null()) variables.emplace_back("bos_token", from_json(own.at("bos_token")));
    expect_as_reference(rendering, own.at("chat_template"), variables);
    if (rendering.contains("text")) ++texts;
  }
  EXPECT_GT(texts, 150);
}

TEST(Jinja, StatementsExpressionsAndBlanksAreTheReferences) {
  const Json golden = ropescope::testing::golden_json("text/chat_templates.json");
  for (const Json& feature : golden.at("features")) {
    SCOPED_TRACE(feature.at("template"));
    expect_as_reference(feature, feature.at("template"), {});
  }
}

TEST(Jinja, RefusalsAreTheTemplatesOwnWords) {
  try {
    render("a{{ raise_exception('no system text, please') }}");
    FAIL() << "expected a refusal";
  } catch (const Refusal& refusal) {
    EXPECT_STREQ(refusal.what(), "no system text, please");
  }
}

TEST(Jinja, FaultsNameTheLineAndWhatIsNotSupported) {
  EXPECT_THAT(fault_of("a\nb\n{{ messages[0].content }}"), HasSubstr("line 3: 'messages' is undefined"));
  EXPECT_THAT(fault_of("{% include 'x' %}"), HasSubstr("{% include %} is not supported"));
  EXPECT_THAT(fault_of("{{ 1 | pprint }}"), HasSubstr("the filter \"pprint\" is not supported"));
  EXPECT_THAT(fault_of("{{ 'a"), HasSubstr("no closing quote"));
  EXPECT_THAT(fault_of("{% if a %}"), HasSubstr("endif"));
  EXPECT_THAT(fault_of("{{ a b }}"), HasSubstr("expected the end of the tag, found \"b\""));
}

TEST(Jinja, WhatItPrintsOfListsIsNoted) {
  const Variables variables = {{"content", Value(std::vector<Value>{Value("a")})}};
  EXPECT_TRUE(Template("{{ content }}").render(variables).printed_container);
  EXPECT_TRUE(Template("{{ content | trim }}").render(variables).printed_container);
  EXPECT_TRUE(Template("{{ 'a' ~ content }}").render(variables).printed_container);
  EXPECT_FALSE(Template("{{ content | tojson }}{{ content[0] }}").render(variables).printed_container);
}

TEST(Jinja, HarmIsBounded) {
  const std::string loops =
      "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}";
  EXPECT_THAT(fault_of(loops), HasSubstr("steps"));
  EXPECT_THAT(fault_of("{{ range(10 ** 12) }}"), HasSubstr("at most 100000"));
  EXPECT_THAT(fault_of("{{ 'abc' * 10 ** 9 }}"), HasSubstr("MiB"));
  EXPECT_THAT(
      fault_of(
          "{% set ns = namespace(a='ab') %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}"),
      HasSubstr("MiB"));
  EXPECT_THAT(
      fault_of("{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}"),
      HasSubstr("nested"));
  EXPECT_THAT(fault_of("{% set ns = namespace() %}{% set ns.a = [ns] %}"), HasSubstr("namespace"));
  EXPECT_THAT(fault_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("nested"));
  EXPECT_THAT(fault_of("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}"),
              HasSubstr("nested"));
  std::string sum = "{{ 1";
  for (int i = 0; i < 5000; ++i) sum += " + 1";
  EXPECT_THAT(fault_of(sum + " }}"), HasSubstr("nested"));
  std::string ifs;
  for (int i = 0; i < 5000; ++i) ifs += "{% if true %}";
  EXPECT_THAT(fault_of(ifs), HasSubstr("nested"));
  EXPECT_THAT(fault_of(std::string((1 << 20) + 1, 'a')), HasSubstr("bytes"));
  EXPECT_THAT(fault_of("{{ 9223372036854775807 + 1 }}"), HasSubstr("too many digits"));
  EXPECT_THAT(fault_of("{{ 999999999999999999 * 999999999999999999 }}"), HasSubstr("too large"));
}

TEST(Jinja, BrokenTemplatesAreRefusedOrRendered) {
  // Every beginning of a template with all kinds of tags: nothing but Fault leaves.
  const Json golden = ropescope::testing::golden_json("text/chat_templates.json");
  const auto source = golden.at("templates").at("macros").at("chat_template").get<std::string>();
  for (size_t length = 0; length < source.size(); ++length) {
    fault_of(source.substr(0, length));
    fault_of(source.substr(length));
  }
}

}  // namespace
}  // namespace ropescope::jinja
