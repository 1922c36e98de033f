// Files that the executable reads and no user brings.
#pragma once

#include <string>

namespace ropescope::app {

/// Path of data/<name>: in ../share/ropescope beside the executable, wherever that was installed or moved to, else in the
/// source tree that it was built from.
std::string data_file(const std::string& name);

}  // namespace ropescope::app
