// The flags --layout and --layout-file of commands that take one layout.
#pragma once

#include <optional>
#include <string>

#include "ropescope/rope/layout.h"

#include "flags.h"

namespace ropescope::app {

struct LayoutFlags {
  std::optional<std::string> layout, layout_file;

  /// `what` is the help of --layout.
  void bind(Flags& flags,
            const std::string& what = "what the tokens are, for example text:5,anyres:24x24+48x48,text:7");
  bool given() const { return layout || layout_file; }
  /// None without either flag. Throws UsageError for both, InputError for a file that does not hold one layout.
  std::optional<Layout> read() const;
};

}  // namespace ropescope::app
