// Commands in several processes: which one this is, and the work that they share.
#pragma once

#include <exception>
#include <functional>
#include <string>

#include "ropescope/train/launch.h"
#include "ropescope/train/work_deal.h"

#include "command.h"

namespace ropescope::app {

/// --timeout of commands whose items are dealt to several processes.
struct WorkFlags {
  double timeout = 600;

  void bind(Flags& flags);
};

/// Which process this is. Only rank 0 logs from then on, and without --threads the processes of a machine
/// share its cores.
Launch start_process(const CommonFlags& common);

/// cuda becomes the device of this process; other devices stay as they are.
at::Device own_device(const Launch& launch, at::Device device);

/// Where processes meet, and what becomes of this one when another is lost: it ends with exit code 4, the other's name and
/// `way_out`.
Meeting::Settings meeting_settings(double timeout_seconds, const std::string& way_out = "");

/// Meets the other processes and calls `work`. An error of this process ends all others with its message.
int share_work(const Launch& launch, const WorkFlags& flags, const std::string& way_out,
               const std::function<int(DealtWork&)>& work);

}  // namespace ropescope::app
