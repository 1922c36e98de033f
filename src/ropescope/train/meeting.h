// Where the processes of a run find each other, and how each of them notices that another is lost.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <c10/util/intrusive_ptr.h>

#include "ropescope/train/launch.h"

namespace c10d {
class Store;
}  // namespace c10d

namespace ropescope {

class PeerWatch;

/// All processes of a run in one store (LibTorch's TCPStore), which rank 0 keeps unless the launcher does. It needs
/// neither Gloo nor NCCL.
class Meeting {
 public:
  using StorePointer = c10::intrusive_ptr<c10d::Store>;

  struct Settings {
    /// Who does not come to an exchange for this long is lost; who is silent for half of it (at most 30 s), too.
    std::chrono::milliseconds timeout{600000};
    /// Called by another thread when a rank is lost and this one may be stuck waiting for it: ends the process.
    std::function<void(const std::string& message)> on_lost;
  };

  /// Meets the others. Throws EnvironmentError naming the ranks that did not come within the timeout.
  Meeting(const Launch& launch, const Settings& settings);
  /// Leaves without waiting for the others.
  ~Meeting();

  const Launch& launch() const { return launch_; }
  /// The names of `part` alone, apart from those of earlier attempts of the same job.
  StorePointer store(const std::string& part) const;
  PeerWatch& watch() const { return *watch_; }

 private:
  Launch launch_;
  StorePointer store_;
  std::unique_ptr<PeerWatch> watch_;
};

}  // namespace ropescope
