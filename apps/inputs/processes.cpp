#include "inputs/processes.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <fmt/format.h>

#include "ropescope/core/device.h"
#include "ropescope/core/log.h"

namespace ropescope::app {

void WorkFlags::bind(Flags& flags) {
  flags.group("Several processes");
  flags
      .add(
          "timeout", timeout,
          "seconds within which the processes of a launcher must meet; one that is silent for half of it ends all")
      .above(0);
}

Launch start_process(const CommonFlags& common) {
  const Launch launch = read_launch(process_environment());
  if (launch.world == 1) return launch;
  if (launch.rank != 0) set_quiet(true);
  if (common.threads == 0) {
    const auto cores = static_cast<int64_t>(std::thread::hardware_concurrency());
    set_threads(static_cast<int>(std::max<int64_t>(1, cores / launch.local_world)));
  }
  return launch;
}

at::Device own_device(const Launch& launch, at::Device device) {
  if (!device.is_cuda() || launch.world == 1) return device;
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(launch.local_rank));
}

Meeting::Settings meeting_settings(double timeout_seconds, const std::string& way_out) {
  Meeting::Settings settings;
  settings.timeout = std::chrono::milliseconds(std::llround(timeout_seconds * 1000.0));
  settings.on_lost = [way_out](const std::string& message) {
    // The main thread may never come back from an exchange with a rank that is gone.
    fmt::print(stderr, "ropescope: {}{}\n", message, way_out);
    std::fflush(nullptr);
    std::_Exit(4);
  };
  // Writing to a rank that is gone is an error to be explained (on_lost), not the end of this process by a signal.
  std::signal(SIGPIPE, SIG_IGN);
  return settings;
}

int share_work(const Launch& launch, const WorkFlags& flags, const std::string& way_out,
               const std::function<int(DealtWork&)>& work) {
  if (launch.world == 1) {
    DealtWork alone(launch, {});
    return work(alone);
  }
  DealtWork shared(launch, meeting_settings(flags.timeout, way_out));
  log_info("{} ranks, started by {}", launch.world, launch.launcher);
  try {
    return work(shared);
  } catch (const std::exception& error) {
    shared.announce_failure(error.what());
    throw;
  }
}

}  // namespace ropescope::app
