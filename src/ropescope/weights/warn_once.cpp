#include "ropescope/weights/warn_once.h"

#include <mutex>
#include <set>

#include "ropescope/core/log.h"

namespace ropescope {

void warn_once(const std::string& message) {
  static std::mutex mutex;
  static std::set<std::string> said;
  {
    const std::lock_guard lock(mutex);
    if (!said.insert(message).second) return;
  }
  log_warning("{}", message);
}

}  // namespace ropescope
