// .npy files for tests, written as NumPy writes them.
#pragma once

#include <cstdint>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/core/Tensor.h>

namespace ropescope::testing {

/// `shape`: "(3, 4)". The header is padded with spaces so that the data begin at a multiple of 64.
inline std::string npy_bytes(const std::string& type, const std::string& shape, const std::string& data,
                             bool fortran = false) {
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}", type,
                                   fortran ? "True" : "False", shape);
  while ((header.size() + 11) % 64 != 0) header += ' ';
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 255);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header + data;
}

/// An int64 or float64 tensor.
inline std::string npy_of(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.contiguous();
  const std::string data(static_cast<const char*>(dense.const_data_ptr()), dense.nbytes());
  return npy_bytes(dense.scalar_type() == at::kLong ? "<i8" : "<f8",
                   fmt::format("({},)", fmt::join(dense.sizes(), ", ")), data);
}

}  // namespace ropescope::testing
