// The expressions of a chat template, and what their parser shares with that of the statements.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ropescope/text/jinja_lexer.h"
#include "ropescope/text/jinja_parser.h"

namespace ropescope::jinja {

inline constexpr int kDeepestNode = 200;

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Word> words) : words_(std::move(words)) {}

 protected:
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

  NodePointer make(Node::Kind kind, std::string text = {}) const {
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
    explicit Level(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.level_ > kDeepestNode)
        parser_.fail(fmt::format("it is nested more than {} deep", kDeepestNode));
    }
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    ExpressionParser& parser_;
  };

  /// One expression, or several with commas: a list.
  NodePointer tuple();
  NodePointer expression();
  NodePointer disjunction();

  std::vector<Word> words_;
  size_t at_ = 0;

 private:
  template <typename Inner>
  NodePointer joined(Node::Kind kind, std::string_view keyword, const Inner& inner);
  NodePointer negation();
  NodePointer comparison();
  NodePointer operation(int level);
  NodePointer unary(bool with_filter);
  NodePointer literal(Value value);
  NodePointer primary();
  NodePointer postfix(NodePointer node);
  NodePointer subscript(NodePointer object);
  void arguments(Node& node);
  NodePointer filtered(NodePointer node);
  NodePointer test(NodePointer value);

  int level_ = 0;
};

}  // namespace ropescope::jinja
