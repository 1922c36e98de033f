#include "ropescope/text/jinja_expression.h"

namespace ropescope::jinja {

namespace {

using Kind = Node::Kind;

}  // namespace

NodePointer ExpressionParser::tuple() {
  NodePointer first = expression();
  if (!sign(",")) return first;
  NodePointer node = make(Kind::kList);
  adopt(*node, std::move(first));
  while (take_sign(",")) {
    if (word().kind == Word::Kind::kBlockEnd || word().kind == Word::Kind::kPrintEnd || sign(")")) break;
    adopt(*node, expression());
  }
  return node;
}

NodePointer ExpressionParser::expression() {
  const Level level(*this);
  NodePointer value = disjunction();
  while (take_name("if")) {
    NodePointer node = make(Kind::kConditional);
    adopt(*node, std::move(value));
    adopt(*node, disjunction());
    if (take_name("else")) adopt(*node, expression());
    value = std::move(node);
  }
  return value;
}

template <typename Inner>
NodePointer ExpressionParser::joined(Node::Kind kind, std::string_view keyword, const Inner& inner) {
  NodePointer left = inner();
  while (take_name(keyword)) {
    NodePointer node = make(kind);
    adopt(*node, std::move(left));
    adopt(*node, inner());
    left = std::move(node);
  }
  return left;
}
NodePointer ExpressionParser::disjunction() {
  return joined(Kind::kOr, "or", [this] { return joined(Kind::kAnd, "and", [this] { return negation(); }); });
}
NodePointer ExpressionParser::negation() {
  if (!name("not")) return comparison();
  const Level level(*this);
  NodePointer node = make(Kind::kNot);
  ++at_;
  adopt(*node, negation());
  return node;
}

NodePointer ExpressionParser::comparison() {
  NodePointer first = operation(0);
  NodePointer node;
  for (;;) {
    std::string sought;
    if (word().kind == Word::Kind::kSign) {
      for (const char* known : {"==", "!=", "<", "<=", ">", ">="}) {
        if (sign(known)) sought = known;
      }
      if (!sought.empty()) ++at_;
    } else if (take_name("in")) {
      sought = "in";
    } else if (name("not") && word(1).kind == Word::Kind::kName && word(1).text == "in") {
      at_ += 2;
      sought = "not in";
    }
    if (sought.empty()) return node ? std::move(node) : std::move(first);
    if (!node) {
      node = make(Kind::kCompare);
      adopt(*node, std::move(first));
    }
    node->names.push_back(sought);
    adopt(*node, operation(0));
  }
}

/// Levels as in Jinja: + and -, then ~, then * / // %, then **.
NodePointer ExpressionParser::operation(int level) {
  static const std::vector<std::vector<std::string>> kLevels = {
      {"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
  if (level == static_cast<int>(kLevels.size())) return unary(/*with_filter=*/true);
  NodePointer left = operation(level + 1);
  for (;;) {
    std::string taken;
    for (const std::string& known : kLevels[static_cast<size_t>(level)]) {
      if (sign(known)) taken = known;
    }
    if (taken.empty()) return left;
    NodePointer node = make(Kind::kOperation, taken);
    ++at_;
    adopt(*node, std::move(left));
    adopt(*node, operation(level + 1));
    left = std::move(node);
  }
}

NodePointer ExpressionParser::unary(bool with_filter) {
  const Level level(*this);
  NodePointer node;
  if (sign("-")) {
    node = make(Kind::kNegative);
    ++at_;
    adopt(*node, unary(/*with_filter=*/false));
  } else if (take_sign("+")) {
    node = unary(/*with_filter=*/false);
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filter ? filtered(std::move(node)) : std::move(node);
}

NodePointer ExpressionParser::literal(Value value) {
  NodePointer node = make(Kind::kLiteral);
  node->literal = std::move(value);
  ++at_;
  return node;
}

NodePointer ExpressionParser::primary() {
  const Word& first = word();
  switch (first.kind) {
    case Word::Kind::kName: {
      const std::string& text = first.text;
      if (text == "true" || text == "True") return literal(Value(true));
      if (text == "false" || text == "False") return literal(Value(false));
      if (text == "none" || text == "None") return literal(Value());
      NodePointer node = make(Kind::kName, text);
      ++at_;
      return node;
    }
    case Word::Kind::kNumber:
      return literal(Value(static_cast<int64_t>(std::stoll(first.text))));
    case Word::Kind::kFloat:
      return literal(Value(std::stod(first.text)));
    case Word::Kind::kString: {
      std::string text;
      while (word(1).kind == Word::Kind::kString) text += words_[at_++].text;
      return literal(Value(text + word().text));
    }
    default:
      break;
  }
  if (take_sign("(")) {
    NodePointer node = sign(")") ? make(Kind::kList) : tuple();
    expect_sign(")");
    return node;
  }
  if (take_sign("[")) {
    NodePointer node = make(Kind::kList);
    while (!take_sign("]")) {
      adopt(*node, expression());
      if (!sign("]")) expect_sign(",");
    }
    return node;
  }
  if (take_sign("{")) {
    NodePointer node = make(Kind::kDict);
    while (!take_sign("}")) {
      adopt(*node, expression());
      expect_sign(":");
      adopt(*node, expression());
      if (!sign("}")) expect_sign(",");
    }
    return node;
  }
  fail("expected a value, found " + found());
}

NodePointer ExpressionParser::postfix(NodePointer node) {
  for (;;) {
    if (take_sign(".")) {
      NodePointer outer;
      if (word().kind == Word::Kind::kNumber) {
        outer = make(Kind::kItem);
        adopt(*outer, std::move(node));
        adopt(*outer, literal(Value(static_cast<int64_t>(std::stoll(word().text)))));
      } else {
        outer = make(Kind::kAttribute, any_name());
        adopt(*outer, std::move(node));
      }
      node = std::move(outer);
    } else if (take_sign("[")) {
      node = subscript(std::move(node));
    } else if (sign("(")) {
      NodePointer call = make(Kind::kCall);
      adopt(*call, std::move(node));
      arguments(*call);
      node = std::move(call);
    } else {
      return node;
    }
  }
}

NodePointer ExpressionParser::subscript(NodePointer object) {
  NodePointer parts[3];
  size_t part = 0;
  bool slice = false;
  while (!sign("]")) {
    if (take_sign(":")) {
      slice = true;
      if (++part > 2) fail("a slice has more than three parts");
    } else {
      if (parts[part]) fail("expected \"]\", found " + found());
      parts[part] = expression();
    }
  }
  ++at_;
  NodePointer node = make(slice ? Kind::kSlice : Kind::kItem);
  adopt(*node, std::move(object));
  if (!slice && !parts[0]) fail("expected an index, found \"]\"");
  for (size_t i = 0; i < (slice ? 3U : 1U); ++i) adopt(*node, std::move(parts[i]));
  return node;
}

void ExpressionParser::arguments(Node& node) {
  expect_sign("(");
  while (!take_sign(")")) {
    if (sign("*") || sign("**")) fail("arguments with * are not supported");
    if (word().kind == Word::Kind::kName && word(1).kind == Word::Kind::kSign && word(1).text == "=") {
      std::string key = any_name();
      ++at_;
      NodePointer value = expression();
      deepen(node, value->depth);
      node.keywords.emplace_back(std::move(key), std::move(value));
    } else {
      if (!node.keywords.empty()) fail("an argument without a name follows one that has one");
      adopt(node, expression());
    }
    if (!sign(")")) expect_sign(",");
  }
}

NodePointer ExpressionParser::filtered(NodePointer node) {
  for (;;) {
    if (take_sign("|")) {
      NodePointer filter = make(Kind::kFilter, any_name());
      adopt(*filter, std::move(node));
      if (sign("(")) arguments(*filter);
      node = std::move(filter);
    } else if (take_name("is")) {
      node = test(std::move(node));
    } else if (sign("(")) {
      node = postfix(std::move(node));
    } else {
      return node;
    }
  }
}

NodePointer ExpressionParser::test(NodePointer value) {
  const bool negated = take_name("not");
  NodePointer node = make(Kind::kTest, sign("==") ? "==" : "");
  if (node->text.empty()) {
    node->text = any_name();
  } else {
    ++at_;
  }
  adopt(*node, std::move(value));
  if (sign("(")) {
    arguments(*node);
  } else {
    const Word::Kind kind = word().kind;
    const bool operand = kind == Word::Kind::kString || kind == Word::Kind::kNumber ||
                         kind == Word::Kind::kFloat || sign("[") || sign("{") ||
                         (kind == Word::Kind::kName && !name("else") && !name("or") && !name("and") &&
                          !name("is") && !name("if") && !name("in") && !name("not"));
    if (operand) adopt(*node, postfix(primary()));
  }
  if (!negated) return node;
  NodePointer outer = make(Kind::kNot);
  adopt(*outer, std::move(node));
  return outer;
}

}  // namespace ropescope::jinja
