// One fuzz target a reader of untrusted files: tests/fuzz/fuzz_<reader>.cpp, seeds in corpus/<reader>/.
// A target is a function over bytes; it may throw ropescope::Error and nothing else. The `fuzz` preset builds
// each into a libFuzzer executable; the test suite builds all of them into the library's tests and replays
// the seeds and mutations of them (replay.h).
// To add one: write fuzz_<reader>.cpp with RS_FUZZ_TARGET(<reader>, bytes) { ... } and put seeds beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ropescope/core/errors.h"

namespace ropescope::testing {

struct FuzzTarget {
  std::string name;
  void (*run)(std::span<const std::byte>);
};

/// The targets that are linked in.
inline std::vector<FuzzTarget>& fuzz_targets() {
  static std::vector<FuzzTarget> targets;
  return targets;
}

/// True if the target accepted the bytes, false if it refused them with an error of ours.
inline bool run_fuzz_target(const FuzzTarget& target, std::span<const std::byte> bytes) {
  try {
    target.run(bytes);
    return true;
  } catch (const InternalError&) {
    throw;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace ropescope::testing

#define RS_FUZZ_TARGET(reader, bytes)                                        \
  static void fuzz_##reader(std::span<const std::byte> bytes);               \
  static const bool registered_##reader = [] {                               \
    ropescope::testing::fuzz_targets().push_back({#reader, &fuzz_##reader}); \
    return true;                                                             \
  }();                                                                       \
  static void fuzz_##reader([[maybe_unused]] std::span<const std::byte> bytes)
