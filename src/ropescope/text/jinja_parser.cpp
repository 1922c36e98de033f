#include "ropescope/text/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "ropescope/text/jinja_lexer.h"

namespace ropescope::jinja {

namespace {

using Kind = Node::Kind;

constexpr int kDeepestNode = 200;
constexpr size_t kLongestTemplate = 1 << 20;

class Parser {
 public:
  explicit Parser(const std::string& source) : words_(template_words(source)) {}

  Nodes parse() {
    Nodes all = body({});
    if (word().kind != Word::Kind::kEnd) fail("unexpected " + found());
    return all;
  }

 private:
  const Word& word(size_t ahead = 0) const { return words_[std::min(at_ + ahead, words_.size() - 1)]; }
  bool is(Word::Kind kind, std::string_view text) const { return word().kind == kind && word().text == text; }
  bool sign(std::string_view text) const { return is(Word::Kind::kSign, text); }
  bool name(std::string_view text) const { return is(Word::Kind::kName, text); }
  bool take_sign(std::string_view text) { return sign(text) && (++at_, true); }
  bool take_name(std::string_view text) { return name(text) && (++at_, true); }
  std::string found() const {
    switch (word().kind) {
      case Word::Kind::kEnd:
        return "the end of the template";
      case Word::Kind::kBlockEnd:
      case Word::Kind::kPrintEnd:
        return "the end of the tag";
      default:
        return "\"" + word().text + "\"";
    }
  }
  [[noreturn]] void fail(const std::string& what) const { throw Fault("line {}: {}", word().line, what); }
  void expect_sign(std::string_view text) {
    if (!take_sign(text)) fail(fmt::format("expected \"{}\", found {}", text, found()));
  }
  void expect_name(std::string_view text) {
    if (!take_name(text)) fail(fmt::format("expected \"{}\", found {}", text, found()));
  }
  std::string any_name() {
    if (word().kind != Word::Kind::kName) fail("expected a name, found " + found());
    return words_[at_++].text;
  }
  void end_tag(Word::Kind kind) {
    if (word().kind != kind) fail("expected the end of the tag, found " + found());
    ++at_;
  }

  NodePointer make(Kind kind, std::string text = {}) const {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = word().line;
    node->text = std::move(text);
    return node;
  }
  /// Adds a child (which may be null) and keeps count of the depth.
  void adopt(Node& node, NodePointer child) const {
    if (child) deepen(node, child->depth);
    node.children.push_back(std::move(child));
  }
  void deepen(Node& node, int depth) const {
    node.depth = std::max(node.depth, depth + 1);
    if (node.depth > kDeepestNode) fail(fmt::format("it is nested more than {} deep", kDeepestNode));
  }
  void add_body(Node& node, Nodes nodes) const {
    for (const NodePointer& child : nodes) deepen(node, child->depth);
    node.bodies.push_back(std::move(nodes));
  }

  /// Guards the parser's own recursion.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.level_ > kDeepestNode)
        parser_.fail(fmt::format("it is nested more than {} deep", kDeepestNode));
    }
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };

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

  /// One expression, or several with commas: a list.
  NodePointer tuple() {
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

  NodePointer expression() {
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
  NodePointer joined(Kind kind, std::string_view keyword, const Inner& inner) {
    NodePointer left = inner();
    while (take_name(keyword)) {
      NodePointer node = make(kind);
      adopt(*node, std::move(left));
      adopt(*node, inner());
      left = std::move(node);
    }
    return left;
  }
  NodePointer disjunction() {
    return joined(Kind::kOr, "or",
                  [this] { return joined(Kind::kAnd, "and", [this] { return negation(); }); });
  }
  NodePointer negation() {
    if (!name("not")) return comparison();
    const Level level(*this);
    NodePointer node = make(Kind::kNot);
    ++at_;
    adopt(*node, negation());
    return node;
  }

  NodePointer comparison() {
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
  NodePointer operation(int level) {
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

  NodePointer unary(bool with_filter) {
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

  NodePointer literal(Value value) {
    NodePointer node = make(Kind::kLiteral);
    node->literal = std::move(value);
    ++at_;
    return node;
  }

  NodePointer primary() {
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

  NodePointer postfix(NodePointer node) {
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

  NodePointer subscript(NodePointer object) {
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

  void arguments(Node& node) {
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

  NodePointer filtered(NodePointer node) {
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

  NodePointer test(NodePointer value) {
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

  std::vector<Word> words_;
  size_t at_ = 0;
  int level_ = 0, loops_ = 0;
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
