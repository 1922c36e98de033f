#include "ropescope/text/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "ropescope/text/jinja_expression.h"

namespace ropescope::jinja {

namespace {

using Kind = Node::Kind;

constexpr size_t kLongestTemplate = 1 << 20;

class Parser : public ExpressionParser {
 public:
  explicit Parser(const std::string& source) : ExpressionParser(template_words(source)) {}

  Nodes parse() {
    Nodes all = body({});
    if (word().kind != Word::Kind::kEnd) fail("unexpected " + found());
    return all;
  }

 private:
  /// Statements up to a tag that begins with one of `ends`, which is left to the caller behind its name.
  Nodes body(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Nodes nodes;
    for (;;) {
      switch (word().kind) {
        case Word::Kind::kText:
          nodes.push_back(make(Kind::kText, word().text));
          ++at_;
          break;
        case Word::Kind::kPrintBegin: {
          ++at_;
          NodePointer node = make(Kind::kPrint);
          adopt(*node, tuple());
          end_tag(Word::Kind::kPrintEnd);
          nodes.push_back(std::move(node));
          break;
        }
        case Word::Kind::kBlockBegin: {
          const std::string& keyword = word(1).text;
          if (word(1).kind == Word::Kind::kName && std::count(ends.begin(), ends.end(), keyword) > 0) {
            at_ += 2;
            ended_by_ = keyword;
            return nodes;
          }
          ++at_;
          nodes.push_back(statement());
          break;
        }
        default:
          if (ends.size() > 0) fail(fmt::format("expected {{% {} %}}, found {}", *(ends.end() - 1), found()));
          return nodes;
      }
    }
  }

  NodePointer statement() {
    const std::string keyword = any_name();
    if (keyword == "if") return if_statement();
    if (keyword == "for") return for_statement();
    if (keyword == "set") return set_statement();
    if (keyword == "macro") return macro_statement();
    if (keyword == "generation") {
      NodePointer node = make(Kind::kGroup);
      end_tag(Word::Kind::kBlockEnd);
      add_body(*node, body({"endgeneration"}));
      end_tag(Word::Kind::kBlockEnd);
      return node;
    }
    if (keyword == "break" || keyword == "continue") {
      if (loops_ == 0) fail(fmt::format("{{% {} %}} stands in no loop", keyword));
      NodePointer node = make(keyword == "break" ? Kind::kBreak : Kind::kContinue);
      end_tag(Word::Kind::kBlockEnd);
      return node;
    }
    fail(fmt::format("{{% {} %}} is not supported", keyword));
  }

  NodePointer if_statement() {
    NodePointer node = make(Kind::kIf);
    adopt(*node, expression());
    end_tag(Word::Kind::kBlockEnd);
    for (;;) {
      add_body(*node, body({"elif", "else", "endif"}));
      const std::string by = ended_by_;
      if (by == "elif") adopt(*node, expression());
      end_tag(Word::Kind::kBlockEnd);
      if (by == "endif") return node;
      if (by == "else") {
        add_body(*node, body({"endif"}));
        end_tag(Word::Kind::kBlockEnd);
        return node;
      }
    }
  }

  NodePointer for_statement() {
    NodePointer node = make(Kind::kFor);
    const bool bracket = take_sign("(");
    do {
      node->names.push_back(any_name());
    } while (take_sign(",") && !name("in"));
    if (bracket) expect_sign(")");
    expect_name("in");
    adopt(*node, disjunction());
    if (take_name("if")) adopt(*node, expression());
    if (name("recursive")) fail("a recursive loop is not supported");
    end_tag(Word::Kind::kBlockEnd);
    ++loops_;
    add_body(*node, body({"else", "endfor"}));
    --loops_;
    const bool other = ended_by_ == "else";
    end_tag(Word::Kind::kBlockEnd);
    if (other) {
      add_body(*node, body({"endfor"}));
      end_tag(Word::Kind::kBlockEnd);
    }
    return node;
  }

  NodePointer set_statement() {
    NodePointer node = make(Kind::kSet);
    do {
      std::string target = any_name();
      if (take_sign(".")) target += "." + any_name();
      node->names.push_back(std::move(target));
    } while (take_sign(","));
    if (take_sign("=")) {
      adopt(*node, tuple());
      end_tag(Word::Kind::kBlockEnd);
      return node;
    }
    if (sign("|")) fail("filters of a {% set %} block are not supported");
    end_tag(Word::Kind::kBlockEnd);
    add_body(*node, body({"endset"}));
    end_tag(Word::Kind::kBlockEnd);
    return node;
  }

  NodePointer macro_statement() {
    NodePointer node = make(Kind::kMacro, any_name());
    expect_sign("(");
    while (!take_sign(")")) {
      node->names.push_back(any_name());
      if (take_sign("=")) {
        adopt(*node, expression());
      } else if (!node->children.empty()) {
        fail("a parameter without a default follows one that has one");
      }
      if (!sign(")")) expect_sign(",");
    }
    end_tag(Word::Kind::kBlockEnd);
    const int loops = std::exchange(loops_, 0);
    add_body(*node, body({"endmacro"}));
    loops_ = loops;
    end_tag(Word::Kind::kBlockEnd);
    return node;
  }

  int loops_ = 0;
  std::string ended_by_;
};

}  // namespace

Nodes parse_template(const std::string& source) {
  if (source.size() > kLongestTemplate) {
    throw Fault("it has {} bytes; at most {} are read", source.size(), kLongestTemplate);
  }
  return Parser(source).parse();
}

}  // namespace ropescope::jinja
