#include "inputs/layout_input.h"

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

namespace ropescope::app {

void LayoutFlags::bind(Flags& flags, const std::string& what) {
  flags.add("layout", layout, what);
  flags.add("layout-file", layout_file, "JSON file with a list of segments, in place of --layout");
}

std::optional<Layout> LayoutFlags::read() const {
  if (layout && layout_file) throw UsageError("--layout and --layout-file: expected at most one of the two");
  if (layout) return parse_layout(*layout);
  if (!layout_file) return std::nullopt;
  const std::vector<Layout> layouts = layouts_from_json(read_json_file(*layout_file), *layout_file);
  if (layouts.size() != 1)
    throw InputError("{}: expected one layout, found {}", *layout_file, layouts.size());
  return layouts.front();
}

}  // namespace ropescope::app
