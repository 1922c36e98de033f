#include "tests/support/places.h"

#include <cstdlib>

#include "ropescope/core/device.h"

#include "tests/support/pretend_device.h"

namespace ropescope::testing {

bool place_is_chosen() { return std::getenv("ROPESCOPE_TEST_DEVICE") != nullptr; }

std::vector<Place> places() {
  if (place_is_chosen()) {
    const at::Device device = parse_device(std::getenv("ROPESCOPE_TEST_DEVICE"));
    const char* dtype = std::getenv("ROPESCOPE_TEST_DTYPE");
    return {{"Chosen", device, parse_dtype(dtype == nullptr ? "float32" : dtype, device)}};
  }
  return {{"GenericFloat32", at::kCPU, at::kFloat, true},
          {"GenericBfloat16", at::kCPU, at::kBFloat16, true},
          {"PretendFloat32", pretend_device(), at::kFloat},
          {"PretendBfloat16", pretend_device(), at::kBFloat16}};
}

}  // namespace ropescope::testing
