// Where and in which type a model computes.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// "cpu", "cuda", "cuda:1". Throws UsageError for other texts, EnvironmentError if CUDA is not there.
at::Device parse_device(const std::string& text);

/// "auto", "float32", "bfloat16", "float16". `auto` is bfloat16 on CUDA and on CPUs whose matrix units take
/// bfloat16 (AMX or AVX512-BF16), else float32: elsewhere a bfloat16 product is orders of magnitude slower
/// than float32. Throws UsageError.
at::ScalarType parse_dtype(const std::string& text, at::Device device);

/// "float32" and so on, as users write it.
std::string dtype_name(at::ScalarType dtype);

/// Threads that one operation may use; 0 keeps LibTorch's default. Also sets Eigen's and OpenMP's.
void set_threads(int threads);

/// Largest resident set of this process so far, bytes.
int64_t peak_memory_bytes();

}  // namespace ropescope
