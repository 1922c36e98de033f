// What the programs behind benchmark scripts share: a clock, and a main that reads flags and says what went wrong.
#pragma once

#include <chrono>
#include <cstdio>
#include <exception>

#include "ropescope/core/errors.h"

#include "apps/flags.h"

namespace ropescope::bench {

template <typename Function>
double seconds_of(const Function& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// `Stages` has `void bind(app::Flags&)` and `bool help`; `measure` gets it filled.
template <typename Stages>
int stage_main(const char* program, int argc, char** argv, void (*measure)(const Stages&)) {
  try {
    app::Flags flags;
    Stages stages;
    stages.bind(flags);
    flags.parse(argc, argv, /*config=*/"", /*skip_checks=*/"help");
    if (stages.help) {
      std::printf("%s", flags.help().c_str());
    } else {
      measure(stages);
    }
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    return 1;
  }
}

}  // namespace ropescope::bench
