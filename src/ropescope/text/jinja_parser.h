// The syntax of a chat template: Jinja 3's statements and expressions that chat templates use. Blocks are trimmed as
// transformers' environment trims them (trim_blocks and lstrip_blocks on, one newline at the end dropped).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/text/jinja_value.h"

namespace ropescope::jinja {

struct Node;
using NodePointer = std::unique_ptr<Node>;
using Nodes = std::vector<NodePointer>;

struct Node {
  enum class Kind {
    // statements
    kText,   ///< text
    kPrint,  ///< children: value
    kIf,     ///< children: conditions; bodies: one each, and perhaps one more for else
    kFor,    ///< names: targets; children: iterated, perhaps a condition; bodies: body, perhaps else
    kSet,    ///< names: targets ("a", or "ns.a"); children: value; or bodies: what it holds, children: none
    kMacro,  ///< text: name; names: parameters; children: defaults of the last of them; bodies: body
    kGroup,  ///< bodies: body ({% generation %})
    kBreak,
    kContinue,
    // expressions
    kLiteral,    ///< literal
    kName,       ///< text
    kList,       ///< children
    kDict,       ///< children: keys and values in turn
    kAttribute,  ///< children: object; text: name
    kItem,       ///< children: object, index
    kSlice,      ///< children: object, start, stop, step (null where absent)
    kCall,       ///< children: callee, arguments
    kFilter,     ///< text: name; children: value, arguments
    kTest,       ///< text: name; children: value, arguments
    kNot,
    kNegative,
    kAnd,
    kOr,
    kConditional,  ///< children: value, condition, perhaps the other value
    kOperation,    ///< text: + - * / // % ** ~
    kCompare,      ///< names: operators; children: one more
  };

  Kind kind = Kind::kText;
  int line = 1;
  int depth = 1;
  std::string text;
  std::vector<std::string> names;
  Value literal;
  Nodes children;
  std::vector<std::pair<std::string, NodePointer>> keywords;  ///< arguments with a name
  std::vector<Nodes> bodies;
};

/// Throws Fault, with the line, for what is no template or uses what is not supported here.
Nodes parse_template(const std::string& source);

}  // namespace ropescope::jinja
