// Where tests of the device's half of the program run.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope::testing {

struct Place {
  std::string name;
  at::Device device;
  at::ScalarType dtype;
  bool generic = false;  ///< a CPU that takes the way of other devices (GenericKernels)
};

/// For GoogleTest.
inline void PrintTo(const Place& place, std::ostream* out) { *out << place.name; }

/// A CPU that takes the way of other devices and the pretend device (pretend_device.h), in float32 and bfloat16; or the one
/// place that ROPESCOPE_TEST_DEVICE (cpu, cuda, cuda:N) and ROPESCOPE_TEST_DTYPE (float32 unless given) name.
std::vector<Place> places();

/// Whether ROPESCOPE_TEST_DEVICE names the place: figures of a run on a card are then printed.
bool place_is_chosen();

}  // namespace ropescope::testing
