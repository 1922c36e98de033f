#pragma once

#include <string>

namespace ropescope {

/// "0.1.0".
std::string version();
/// The git commit that was configured ("unknown" outside a repository; "-dirty" when the tree had changes).
std::string commit();
/// The LibTorch that we were compiled against, for example "2.15.0".
std::string libtorch_version();

}  // namespace ropescope
