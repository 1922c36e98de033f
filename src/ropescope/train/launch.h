// Which process of how many this is, as the program that started it says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace ropescope {

struct Launch {
  int64_t rank = 0, world = 1;
  int64_t local_rank = 0;   ///< among the processes of this machine: which device it takes
  int64_t local_world = 1;  ///< how many processes this machine has
  /// Where the processes meet: rank 0 listens there, unless the launcher itself does.
  std::string address = "127.0.0.1";
  int port = 29500;
  bool launcher_listens = false;
  std::string attempt = "0";  ///< differs between restarts of the same job
  std::string launcher;       ///< "torchrun", "Open MPI", "Slurm"; empty: a plain single process
};

/// The value of an environment variable, if it is set and not empty.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment process_environment();

/// Reads, in this order: RANK and WORLD_SIZE (torchrun and its like), OMPI_COMM_WORLD_RANK and _SIZE (Open
/// MPI), SLURM_PROCID and SLURM_STEP_NUM_TASKS or SLURM_NTASKS (srun). MASTER_ADDR and MASTER_PORT say where
/// to meet; without them Open MPI's processes meet on their own machine and Slurm's on the first machine of
/// the step. Throws UsageError for variables that are incomplete, contradict each other or are no numbers.
Launch read_launch(const Environment& environment);

}  // namespace ropescope
