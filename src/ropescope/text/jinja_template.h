// Renders the chat templates of Hugging Face checkpoints: the part of Jinja 3 that they use, as transformers sets it up
// (immutable sandbox; trim_blocks and lstrip_blocks; break and continue; raise_exception, strftime_now; {% generation %}
// is ignored). What is not supported (include, import, blocks, call, filter blocks, * arguments) is refused by name.
// Templates are untrusted: source, nesting, steps and text are bounded.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/text/jinja_value.h"

namespace ropescope::jinja {

struct Rendering {
  std::string text;
  /// A list or a dictionary was printed, or joined to a text: the template expected a text in its place.
  bool printed_container = false;
};

class Template {
 public:
  /// Throws Fault, naming the line, for what cannot be parsed.
  explicit Template(const std::string& source);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  /// Throws Refusal (jinja_builtins.h) with what raise_exception() says, else Fault naming the line.
  Rendering render(const std::vector<std::pair<std::string, Value>>& variables) const;

 private:
  struct Body;
  std::unique_ptr<const Body> body_;
};

}  // namespace ropescope::jinja
