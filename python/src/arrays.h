// Arrays across the border of the Python module: NumPy out, NumPy or DLPack on a CPU in. Nothing of LibTorch's ABI crosses it.
#pragma once

#include <cstdint>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace ropescope::python {

template <typename T>
using Given = nanobind::ndarray<const T, nanobind::c_contig, nanobind::device::cpu>;

using Made = nanobind::ndarray<nanobind::numpy>;

/// A copy, so that nobody's memory changes under a computation.
template <typename T>
at::Tensor tensor_of(const Given<T>& array) {
  std::vector<int64_t> shape;
  for (size_t i = 0; i < array.ndim(); ++i) shape.push_back(static_cast<int64_t>(array.shape(i)));
  at::Tensor tensor = at::empty(shape, c10::CppTypeToScalarType<T>::value);
  std::copy_n(array.data(), array.size(), tensor.mutable_data_ptr<T>());
  return tensor;
}

/// Shares the tensor's memory, which lives as long as the array does. float64, float32, int64, int32 or uint8.
Made array_of(const at::Tensor& tensor);

}  // namespace ropescope::python
