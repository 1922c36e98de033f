#include "ropescope/train/launch.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

// Ports that systems neither reserve nor, as a rule, hand out by themselves.
constexpr int kFirstPort = 20000, kPorts = 10000;

std::optional<int64_t> number_of(const Environment& environment, const std::string& name) {
  const auto text = environment(name);
  if (!text) return std::nullopt;
  int64_t value = 0;
  const char* end = text->data() + text->size();
  const auto [stop, code] = std::from_chars(text->data(), end, value);
  if (code != std::errc() || stop != end || value < 0) {
    throw UsageError("environment variable {}: expected a number of at least 0, found \"{}\"", name, *text);
  }
  return value;
}

// A port that all processes of a job come to by themselves.
int port_of(const std::string& job) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (const char c : job) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return kFirstPort + static_cast<int>(hash % kPorts);
}

// The first machine of "a", "a,b" and Slurm's "node[03-07,9],other".
std::string first_host(const std::string& list) {
  const size_t bracket = list.find('['), comma = list.find(',');
  if (bracket == std::string::npos || comma < bracket) return list.substr(0, comma);
  const size_t end = list.find_first_of(",-]", bracket);
  if (end == std::string::npos) return list.substr(0, bracket);
  const size_t close = list.find(']', end);
  const size_t rest = close == std::string::npos ? list.size() : close + 1;
  const std::string suffix = list.substr(rest, list.find(',', rest) - rest);
  return list.substr(0, bracket) + list.substr(bracket + 1, end - bracket - 1) + suffix;
}

// True if ranks were read; `rank` and `world` name the variables.
bool read_ranks(const Environment& environment, const std::string& rank, const std::string& world,
                const std::string& local, const std::string& here, Launch& launch) {
  const auto own = number_of(environment, rank), all = number_of(environment, world);
  if (!own && !all) return false;
  if (!own || !all) {
    throw UsageError("environment variable {}: expected it beside {}, found none", own ? world : rank,
                     own ? rank : world);
  }
  if (*all < 1 || *own >= *all) {
    throw UsageError("environment variable {}: expected a rank below {} ({}), found {}", rank, *all, world,
                     *own);
  }
  launch.rank = *own;
  launch.world = *all;
  launch.local_rank = number_of(environment, local).value_or(0);
  launch.local_world = std::clamp<int64_t>(number_of(environment, here).value_or(*all), 1, *all);
  return true;
}

void read_meeting_place(const Environment& environment, const std::string& address, int port,
                        Launch& launch) {
  launch.address = environment("MASTER_ADDR").value_or(address);
  launch.port = static_cast<int>(number_of(environment, "MASTER_PORT").value_or(port));
  if (launch.port < 1 || launch.port > 65535) {
    throw UsageError("environment variable MASTER_PORT: expected a port from 1 to 65535, found {}",
                     launch.port);
  }
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || *value == '\0') return std::nullopt;
    return std::string(value);
  };
}

Launch read_launch(const Environment& environment) {
  Launch launch;
  if (read_ranks(environment, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", launch)) {
    launch.launcher = "torchrun";
    read_meeting_place(environment, "127.0.0.1", 29500, launch);
    launch.launcher_listens = environment("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
    launch.attempt = environment("TORCHELASTIC_RESTART_COUNT").value_or("0");
    return launch;
  }
  if (read_ranks(environment, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                 "OMPI_COMM_WORLD_LOCAL_SIZE", launch)) {
    launch.launcher = "Open MPI";
    const auto here = number_of(environment, "OMPI_COMM_WORLD_LOCAL_SIZE");
    if (here && *here < launch.world && !environment("MASTER_ADDR")) {
      throw UsageError(
          "environment variable MASTER_ADDR: expected the address of rank 0's machine, found none. Try: "
          "mpirun -x MASTER_ADDR=host -x MASTER_PORT=29500 ...");
    }
    const std::string job =
        environment("PMIX_NAMESPACE").value_or(environment("OMPI_MCA_orte_hnp_uri").value_or("mpi"));
    read_meeting_place(environment, "127.0.0.1", port_of(job), launch);
    return launch;
  }
  // A batch script outside srun carries the job's task count but is one process.
  const bool inside_step = environment("SLURM_STEP_ID") || environment("SLURM_STEPID") ||
                           !environment("SLURM_JOB_ID") || environment("MASTER_ADDR");
  const std::string tasks = environment("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
  if (environment("SLURM_PROCID") && inside_step &&
      read_ranks(environment, "SLURM_PROCID", tasks, "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE", launch)) {
    launch.launcher = "Slurm";
    const auto hosts = environment("SLURM_STEP_NODELIST");
    const std::string list = hosts ? *hosts : environment("SLURM_JOB_NODELIST").value_or("127.0.0.1");
    const std::string job =
        environment("SLURM_JOB_ID").value_or("slurm") + "." + environment("SLURM_STEP_ID").value_or("0");
    read_meeting_place(environment, first_host(list), port_of(job), launch);
    return launch;
  }
  return Launch();
}

}  // namespace ropescope
