#include "command.h"

namespace ropescope::app {

// One line a command: declared here, defined in the file of its name.

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {};
  return all;
}

}  // namespace ropescope::app
