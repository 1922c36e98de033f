#include "layout_input.h"

#include "ropescope/core/errors.h"

namespace ropescope::app {

std::optional<Layout> given_layout(const Arguments& arguments) {
  const bool text = arguments.has("layout"), file = arguments.has("layout-file");
  if (text && file) throw UsageError("--layout and --layout-file: expected at most one of the two");
  if (text) return parse_layout(arguments.get<std::string>("layout"));
  if (!file) return std::nullopt;
  const std::string path = arguments.get<std::string>("layout-file");
  const std::vector<Layout> layouts = layouts_from_json(read_json_file(path), path);
  if (layouts.size() != 1) throw InputError("{}: expected one layout, found {}", path, layouts.size());
  return layouts.front();
}

}  // namespace ropescope::app
