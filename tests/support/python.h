// Checks by packages of others, in a Python that has them: a script ends with 77, having said what lacks.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "tests/support/paths.h"

namespace ropescope::testing {

/// Runs a script of tests/ under ROPESCOPE_HF_PYTHON, else python3, else the system's (a Python in front of it may lack its packages); false, the test then being skipped, where none has the
/// packages. `arguments`: a shell line.
inline bool run_python(const std::string& script, const std::string& arguments) {
  const char* given = std::getenv("ROPESCOPE_HF_PYTHON");
  for (const std::string& python : {std::string(given == nullptr ? "" : given), std::string("python3"),
                                    std::string("/usr/bin/python3")}) {
    if (python.empty()) continue;
    const std::string command = "'" + python + "' '" + source_path("tests/" + script) + "' " + arguments;
    const int status = std::system(command.c_str());
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == 77 || code == 127) continue;
    EXPECT_EQ(code, 0) << command;
    return true;
  }
  return false;
}

}  // namespace ropescope::testing
