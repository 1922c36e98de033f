// Items of work that the processes of a run share: each takes the next one that nobody has.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/train/launch.h"
#include "ropescope/train/meeting.h"

namespace ropescope {

/// Who takes which item depends on who is free, so what comes of an item must not. Results go to files that all processes
/// see; only numbers of items go from process to process. Every method throws EnvironmentError naming a rank that is lost.
class DealtWork {
 public:
  /// Meets the other processes; alone there is nobody to meet.
  DealtWork(const Launch& launch, const Meeting::Settings& settings);
  ~DealtWork();

  int64_t rank() const { return launch_.rank; }
  int64_t world() const { return launch_.world; }
  bool alone() const { return launch_.world == 1; }
  bool leads() const { return launch_.rank == 0; }

  /// All processes call it, once; rank 0's `open` items are dealt in their order. `subject` is what the items are of: files
  /// and settings, a JSON object; throws EnvironmentError where another rank's differs from rank 0's.
  void deal(const std::vector<int64_t>& open, const Json& subject);
  /// The items that are dealt out, to all processes together.
  int64_t items() const { return static_cast<int64_t>(open_.size()); }
  /// The next item that nobody has taken.
  std::optional<int64_t> next();
  /// What this process took is done and written down. Rank 0 returns when all processes have said so, others at once.
  void finish();

  /// Tells the others that this process ends with an error of its own; they end too, naming it.
  void announce_failure(const std::string& message);

 private:
  struct Impl;
  Launch launch_;
  std::vector<int64_t> open_;
  size_t taken_ = 0;            // by this process, where it is alone
  std::unique_ptr<Impl> impl_;  // null where it is
};

}  // namespace ropescope
