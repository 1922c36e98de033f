#include "arrays.h"

#include "ropescope/core/errors.h"

namespace ropescope::python {

namespace {

nanobind::dlpack::dtype dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return nanobind::dtype<double>();
    case at::kFloat:
      return nanobind::dtype<float>();
    case at::kLong:
      return nanobind::dtype<int64_t>();
    case at::kInt:
      return nanobind::dtype<int32_t>();
    case at::kByte:
      return nanobind::dtype<uint8_t>();
    default:
      throw InternalError("array of {}: expected a type that NumPy has", at::toString(type));
  }
}

}  // namespace

Made array_of(const at::Tensor& tensor) {
  auto* owned = new at::Tensor(tensor.to(at::kCPU).contiguous());
  const nanobind::capsule owner(owned,
                                [](void* pointer) noexcept { delete static_cast<at::Tensor*>(pointer); });
  std::vector<size_t> shape;
  for (const int64_t size : owned->sizes()) shape.push_back(static_cast<size_t>(size));
  return Made(owned->mutable_data_ptr(), shape.size(), shape.data(), owner, nullptr,
              dtype_of(owned->scalar_type()));
}

}  // namespace ropescope::python
