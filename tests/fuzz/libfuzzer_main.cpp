// libFuzzer's entry for the one target that is linked in.
#include "tests/fuzz/fuzz_target.h"

// LibTorch is not instrumented: it leaks its registries on purpose and its containers carry no annotations.
extern "C" const char* __asan_default_options() {
  return "detect_container_overflow=0:detect_odr_violation=0:allocator_may_return_null=0";
}
extern "C" const char* __lsan_default_suppressions() { return "leak:libtorch_cpu\nleak:libc10\n"; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto& target = ropescope::testing::fuzz_targets().at(0);
  ropescope::testing::run_fuzz_target(target, std::as_bytes(std::span(data, size)));
  return 0;
}
