#include "ropescope/core/device.h"

#include <sys/resource.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

bool cpu_has_bf16_units() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#if defined(__GNUC__) && !defined(__clang__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
#else
  return false;
#endif
}

}  // namespace

at::Device parse_device(const std::string& text) {
  if (text == "cpu") return at::Device(at::kCPU);
  const bool named_cuda = text == "cuda";
  int index = 0;
  if (!named_cuda) {
    const bool digits = text.size() > 5 && text.size() < 9 && text.rfind("cuda:", 0) == 0 &&
                        text.find_first_not_of("0123456789", 5) == std::string::npos;
    if (!digits) throw UsageError("--device: expected cpu, cuda or cuda:N, found \"{}\"", text);
    index = std::stoi(text.substr(5));
  }
  if (!at::globalContext().hasCUDA()) {
    throw EnvironmentError(
        "--device {}: no CUDA device is usable here (this build or this machine has none). Try --device cpu, "
        "or "
        "cmake/bootstrap.sh --cuda on a machine with an NVIDIA driver.",
        text);
  }
  // A DeviceIndex is a small number, not a character.
  const int count =  // NOLINTNEXTLINE(bugprone-signed-char-misuse)
      static_cast<int>(at::globalContext().getAcceleratorHooksInterface(at::kCUDA).deviceCount());
  if (index >= count) {
    throw EnvironmentError("--device {}: expected an index below {}, the number of CUDA devices", text,
                           count);
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

at::ScalarType parse_dtype(const std::string& text, at::Device device) {
  if (text == "auto") {
    return device.is_cuda() || cpu_has_bf16_units() ? at::kBFloat16 : at::kFloat;
  }
  if (text == "float32") return at::kFloat;
  if (text == "bfloat16") return at::kBFloat16;
  if (text == "float16") return at::kHalf;
  throw UsageError("--dtype: expected auto, float32, bfloat16 or float16, found \"{}\"", text);
}

std::string dtype_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    default:
      return c10::toString(dtype);
  }
}

void set_threads(int threads) {
  if (threads < 0) throw UsageError("--threads: expected 0 (all) or more, found {}", threads);
  if (threads == 0) return;
  at::set_num_threads(threads);
#ifdef _OPENMP
  omp_set_num_threads(threads);
#endif
}

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace ropescope
