// Several processes that meet on this machine.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

namespace ropescope::testing {

struct RankResult {
  int exit_code = -1;
  std::string text;  ///< what it said on both streams
};

/// Processes with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT (a free one) in their
/// environment.
class RankProcesses {
 public:
  RankProcesses(int ranks, const std::vector<std::string>& command,
                const std::map<std::string, std::string>& environment = {});
  /// Ends those that are left.
  ~RankProcesses();
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  pid_t pid(int rank) const { return pids_[static_cast<size_t>(rank)]; }
  /// Waits for one of them; -1 if it does not end in time. An exit by a signal is 128 + its number.
  RankResult wait(int rank, double seconds);
  std::string text(int rank) const;

 private:
  std::string folder_;
  std::vector<pid_t> pids_;
};

/// This test program once a rank, for one of its (disabled) tests.
std::vector<RankResult> run_test_ranks(int ranks, const std::string& test,
                                       const std::map<std::string, std::string>& environment);

}  // namespace ropescope::testing
