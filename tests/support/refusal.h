// The sentence that odd input is refused with.
#pragma once

#include <string>

#include "ropescope/core/errors.h"

namespace ropescope::testing {

/// What the InputError of `call` says; empty if it throws none.
template <typename Call>
std::string refusal_of(const Call& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace ropescope::testing
