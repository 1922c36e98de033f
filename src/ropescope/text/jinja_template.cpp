#include "ropescope/text/jinja_template.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "ropescope/text/jinja_builtins.h"
#include "ropescope/text/jinja_parser.h"

namespace ropescope::jinja {

namespace {

using Kind = Node::Kind;

constexpr int kDeepestCall = 600;

/// One rendering.
class Interpreter {
 public:
  explicit Interpreter(const std::vector<std::pair<std::string, Value>>& variables)
      : scopes_{variables, {}} {}

  Rendering render(const Nodes& nodes) {
    Rendering rendering;
    run(nodes, rendering.text);
    rendering.printed_container = budget_.made_text_of_container();
    return rendering;
  }

 private:
  enum class Flow { kOn, kBreak, kContinue };
  using Scope = std::vector<std::pair<std::string, Value>>;

  class Level {
   public:
    explicit Level(Interpreter& self) : self_(self) {
      if (++self_.level_ > kDeepestCall) throw Fault("calls are nested more than {} deep", kDeepestCall);
    }
    ~Level() { --self_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Interpreter& self_;
  };

  Flow run(const Nodes& nodes, std::string& out) {
    const Level level(*this);
    for (const NodePointer& node : nodes) {
      budget_.step();
      try {
        if (const Flow flow = statement(*node, out); flow != Flow::kOn) return flow;
      } catch (const Refusal&) {
        throw;
      } catch (const Fault& fault) {
        const std::string what = fault.what();
        if (what.rfind("line ", 0) == 0) throw;
        throw Fault("line {}: {}", node->line, what);
      }
    }
    return Flow::kOn;
  }

  Flow statement(const Node& node, std::string& out) {
    switch (node.kind) {
      case Kind::kText:
        write(node.text, out);
        return Flow::kOn;
      case Kind::kPrint:
        write(budget_.text_of(value(*node.children[0])), out);
        return Flow::kOn;
      case Kind::kIf:
        for (size_t i = 0; i < node.bodies.size(); ++i) {
          if (i >= node.children.size() || value(*node.children[i]).truth()) return run(node.bodies[i], out);
        }
        return Flow::kOn;
      case Kind::kFor:
        return loop(node, out);
      case Kind::kSet:
        assign(node);
        return Flow::kOn;
      case Kind::kMacro:
        put(scopes_.back(), node.text, Value(Function{node.text, &node}));
        return Flow::kOn;
      case Kind::kGroup:
        return run(node.bodies[0], out);
      case Kind::kBreak:
        return Flow::kBreak;
      case Kind::kContinue:
        return Flow::kContinue;
      default:
        throw InternalError("chat template: an expression stands for a statement");
    }
  }

  void write(const std::string& text, std::string& out) {
    budget_.bytes(text.size());
    out += text;
  }

  /// One target gets the value, several its items.
  void bind(const std::vector<std::string>& targets, const Value& value, Scope& scope) {
    if (targets.size() == 1) return put(scope, targets[0], value);
    const std::vector<Value> items = items_of(value, budget_);
    if (items.size() != targets.size()) {
      throw Fault("expected {} values, found {}", targets.size(), items.size());
    }
    for (size_t i = 0; i < items.size(); ++i) put(scope, targets[i], items[i]);
  }

  Flow loop(const Node& node, std::string& out) {
    std::vector<Value> items = items_of(value(*node.children[0]), budget_);
    if (node.children.size() > 1) {
      std::vector<Value> kept;
      for (Value& item : items) {
        scopes_.emplace_back();
        bind(node.names, item, scopes_.back());
        const bool keeps = value(*node.children[1]).truth();
        scopes_.pop_back();
        if (keeps) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    if (items.empty() && node.bodies.size() > 1) return run(node.bodies[1], out);
    const auto count = static_cast<int64_t>(items.size());
    for (int64_t i = 0; i < count; ++i) {
      budget_.step();
      const auto item = [&](int64_t at, const char* name) {
        return at >= 0 && at < count ? items[static_cast<size_t>(at)] : Value(Undefined{name});
      };
      Scope own;
      own.emplace_back(
          "loop", Value(std::vector<std::pair<std::string, Value>>{{"index", Value(i + 1)},
                                                                   {"index0", Value(i)},
                                                                   {"revindex", Value(count - i)},
                                                                   {"revindex0", Value(count - i - 1)},
                                                                   {"first", Value(i == 0)},
                                                                   {"last", Value(i + 1 == count)},
                                                                   {"length", Value(count)},
                                                                   {"previtem", item(i - 1, "previtem")},
                                                                   {"nextitem", item(i + 1, "nextitem")}}));
      bind(node.names, items[static_cast<size_t>(i)], own);
      scopes_.push_back(std::move(own));
      const Flow flow = run(node.bodies[0], out);
      scopes_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    return Flow::kOn;
  }

  void assign(const Node& node) {
    Value fresh;
    if (node.bodies.empty()) {
      fresh = value(*node.children[0]);
    } else {
      std::string text;
      if (run(node.bodies[0], text) != Flow::kOn) throw Fault("a loop is left inside of a {{% set %}} block");
      fresh = Value(std::move(text));
    }
    if (node.names.size() == 1 && node.names[0].find('.') != std::string::npos) {
      const size_t dot = node.names[0].find('.');
      const Value space = lookup(node.names[0].substr(0, dot));
      if (space.name_space() == nullptr)
        throw Fault("{}: expected a namespace, found {}", node.names[0], space.type());
      if (fresh.name_space() != nullptr) throw Fault("a namespace cannot be part of another");
      return put(space.name_space()->items, node.names[0].substr(dot + 1), std::move(fresh));
    }
    bind(node.names, fresh, scopes_.back());
  }

  Value lookup(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const Value* found = find(*scope, name)) return *found;
    }
    if (is_function(name)) return Value(Function{name});
    return Value(Undefined{name});
  }

  Value value(const Node& node) {
    const Level level(*this);
    budget_.step();
    const auto child = [&](size_t i) { return value(*node.children[i]); };
    switch (node.kind) {
      case Kind::kLiteral:
        return node.literal;
      case Kind::kName:
        return lookup(node.text);
      case Kind::kList: {
        std::vector<Value> items;
        for (const NodePointer& item : node.children) items.push_back(value(*item));
        budget_.bytes(items.size() * sizeof(Value));
        return Value(std::move(items));
      }
      case Kind::kDict: {
        std::vector<std::pair<std::string, Value>> items;
        for (size_t i = 0; i < node.children.size(); i += 2) {
          const Value key = child(i);
          if (key.text() == nullptr) throw Fault("a dictionary's key: expected a text, found {}", key.type());
          put(items, *key.text(), child(i + 1));
        }
        budget_.bytes(items.size() * 2 * sizeof(Value));
        return Value(std::move(items));
      }
      case Kind::kAttribute:
        return attribute_of(child(0), node.text);
      case Kind::kItem:
        return item_of(child(0), child(1));
      case Kind::kSlice:
        return slice(node);
      case Kind::kCall:
        return call(node);
      case Kind::kFilter:
        return apply_filter(node.text, child(0), arguments(node, 1), budget_);
      case Kind::kTest:
        return Value(apply_test(node.text, child(0), arguments(node, 1)));
      case Kind::kNot:
        return Value(!child(0).truth());
      case Kind::kNegative: {
        const Value operand = child(0);
        if (operand.as<double>() != nullptr) return Value(-*operand.as<double>());
        return apply_operation("-", Value(int64_t{0}), operand, budget_);
      }
      case Kind::kAnd: {
        Value left = child(0);
        return left.truth() ? child(1) : left;
      }
      case Kind::kOr: {
        Value left = child(0);
        return left.truth() ? left : child(1);
      }
      case Kind::kConditional:
        if (child(1).truth()) return child(0);
        return node.children.size() > 2 ? child(2) : Value(Undefined{"else"});
      case Kind::kOperation:
        return apply_operation(node.text, child(0), child(1), budget_);
      case Kind::kCompare:
        return comparison(node);
      default:
        throw InternalError("chat template: a statement stands for an expression");
    }
  }

  Arguments arguments(const Node& node, size_t first) {
    Arguments given;
    for (size_t i = first; i < node.children.size(); ++i) given.values.push_back(value(*node.children[i]));
    for (const auto& [name, argument] : node.keywords) given.named.emplace_back(name, value(*argument));
    return given;
  }

  Value comparison(const Node& node) {
    Value left = value(*node.children[0]);
    for (size_t i = 0; i < node.names.size(); ++i) {
      Value right = value(*node.children[i + 1]);
      const std::string& name = node.names[i];
      if (!compares(name, left, right)) return Value(false);
      left = std::move(right);
    }
    return Value(true);
  }

  Value slice(const Node& node) {
    const Value object = value(*node.children[0]);
    const auto part = [&](size_t i) -> std::optional<int64_t> {
      if (!node.children[i]) return std::nullopt;
      const Value given = value(*node.children[i]);
      if (given.is_none()) return std::nullopt;
      return given.integer("slice");
    };
    if (const auto* undefined = object.as<Undefined>()) throw Fault("'{}' is undefined", undefined->name);
    if (object.text() == nullptr && object.list() == nullptr) throw Fault("{} has no slices", object.type());
    const std::vector<Value> items = items_of(object, budget_);
    const auto size = static_cast<int64_t>(items.size());
    const int64_t step = part(3).value_or(1);
    if (step == 0) throw Fault("a slice: expected a step other than 0");
    const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
    const auto place = [&](std::optional<int64_t> given, int64_t usual) {
      if (!given) return usual;
      return std::clamp(*given < 0 ? *given + size : *given, low, high);
    };
    const int64_t first = place(part(1), step > 0 ? low : high), last = place(part(2), step > 0 ? high : low);
    std::vector<Value> taken;
    std::string text;
    for (int64_t i = first; step > 0 ? i < last : i > last;) {
      const Value& item = items[static_cast<size_t>(i)];
      if (object.text() != nullptr) {
        text += *item.text();
      } else {
        taken.push_back(item);
      }
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    return object.text() != nullptr ? Value(std::move(text)) : Value(std::move(taken));
  }

  Value call(const Node& node) {
    const Node& callee = *node.children[0];
    if (callee.kind == Kind::kAttribute) {
      const Value self = value(*callee.children[0]);
      const Arguments given = arguments(node, 1);
      const bool is_loop = callee.children[0]->kind == Kind::kName && callee.children[0]->text == "loop";
      if (is_loop && callee.text == "cycle" && self.dict() != nullptr && !given.values.empty()) {
        const auto at = static_cast<size_t>(attribute_of(self, "index0").integer("cycle()"));
        return given.values[at % given.values.size()];
      }
      const Value own = self.name_space() != nullptr ? attribute_of(self, callee.text) : Value();
      if (const auto* function = own.as<Function>()) return call(*function, given);
      return call_method(self, callee.text, given, budget_);
    }
    const Value function = value(callee);
    if (const auto* undefined = function.as<Undefined>()) throw Fault("'{}' is undefined", undefined->name);
    if (function.as<Function>() == nullptr) throw Fault("{} cannot be called", function.type());
    return call(*function.as<Function>(), arguments(node, 1));
  }

  Value call(const Function& function, const Arguments& given) {
    if (function.macro == nullptr) return call_function(function.name, given, budget_);
    const Node& macro = *function.macro;
    if (given.values.size() > macro.names.size()) {
      throw Fault("{}(): expected at most {} arguments, found {}", macro.text, macro.names.size(),
                  given.values.size());
    }
    for (const auto& [name, argument] : given.named) {
      if (std::find(macro.names.begin(), macro.names.end(), name) == macro.names.end()) {
        throw Fault("{}(): it has no parameter \"{}\"", macro.text, name);
      }
    }
    // A macro sees the template's own variables, not those of its caller.
    std::vector<Scope> callers(std::make_move_iterator(scopes_.begin() + 2),
                               std::make_move_iterator(scopes_.end()));
    scopes_.resize(2);
    Scope own;
    const size_t without = macro.names.size() - macro.children.size();
    for (size_t i = 0; i < macro.names.size(); ++i) {
      const Value* argument = given.get(i, macro.names[i].c_str());
      put(own, macro.names[i],
          argument != nullptr ? *argument
          : i >= without      ? value(*macro.children[i - without])
                              : Value(Undefined{macro.names[i]}));
    }
    scopes_.push_back(std::move(own));
    std::string text;
    run(macro.bodies[0], text);
    scopes_.resize(2);
    scopes_.insert(scopes_.end(), std::make_move_iterator(callers.begin()),
                   std::make_move_iterator(callers.end()));
    return Value(std::move(text));
  }

  std::vector<Scope> scopes_;  // the variables given, the template's own, and those of loops
  Budget budget_;
  int level_ = 0;
};

}  // namespace

struct Template::Body {
  Nodes nodes;
};

Template::Template(const std::string& source) : body_(new Body{parse_template(source)}) {}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

Rendering Template::render(const std::vector<std::pair<std::string, Value>>& variables) const {
  return Interpreter(variables).render(body_->nodes);
}

}  // namespace ropescope::jinja
