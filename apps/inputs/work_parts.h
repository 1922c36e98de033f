// What the items of a shared run gave, each in a file of its own, until the whole is put together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

namespace ropescope::app {

/// Adds to what a run is of, by name: its files' SHA-256, device, type of numbers, seed.
void add_facts(Json& subject, const Provenance& provenance);

/// The folder `output`.parts, which all processes see. A part is there when it is whole; what was interrupted goes on from
/// those that are there, in any number of processes.
class WorkParts {
 public:
  /// `extension`: of the parts' names, ".h5".
  WorkParts(const std::filesystem::path& output, std::string extension);

  /// Whether an interrupted run left any.
  bool any() const;
  /// Of the process that leads, before any part is written. `subject`: the files and settings that the parts are of. With
  /// `resume` the parts that are there are kept; throws InputError naming the first difference where they are of another run.
  void begin(const Json& subject, bool resume) const;
  std::filesystem::path file(int64_t item) const;
  bool has(int64_t item) const;
  /// The items without a part, of all `count`.
  std::vector<int64_t> open(int64_t count) const;
  void remove(int64_t item) const;
  /// All of them, when the whole is written.
  void remove() const;

 private:
  std::filesystem::path folder_;
  std::string extension_;
};

}  // namespace ropescope::app
