// Replays a fuzz target in the test suite: its seeds, every prefix of them, and seeded mutations.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/fuzz/fuzz_target.h"

namespace ropescope::testing {

struct ReplaySummary {
  int64_t seeds = 0;
  int64_t runs = 0;
  int64_t accepted = 0;  ///< runs that were not refused
};

/// Runs `target` on all files of `corpus`, on their prefixes (at most `max_prefixes` of each, evenly spread)
/// and on `mutations` mutated copies: bytes flipped, numbers set to extremes, pieces cut, doubled or spliced
/// from another seed. The same on every machine. An escape (anything but ropescope::Error) goes to the
/// caller.
ReplaySummary replay(const FuzzTarget& target, const std::filesystem::path& corpus, int64_t mutations,
                     int64_t max_prefixes);

}  // namespace ropescope::testing
