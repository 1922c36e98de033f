// NumPy's .npy files: "\x93NUMPY", a version, a header's length, a header that is a Python dictionary
//   {'descr': '<i8', 'fortran_order': False, 'shape': (3, 38), }
// and then the elements without a gap. Versions 1.0, 2.0 and 3.0; little-endian numbers and booleans, no objects.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

/// One array.
struct NpyArray {
  std::string type;   ///< as stored: "<i8", "<f4", "|b1", ...
  at::Tensor values;  ///< int64 (whole numbers, booleans) or float64, contiguous, outermost dimension first
};

/// True if the bytes begin with NumPy's mark.
bool looks_like_npy(std::span<const std::byte> bytes);

/// Throws InputError naming the file for a header that is no such dictionary, for objects (which only a pickle could
/// give), texts, complex and big-endian numbers, unsigned numbers beyond int64, empty arrays, and where shape and bytes disagree.
/// Nothing is allocated before they agree.
NpyArray parse_npy(const FileBytes& file);

}  // namespace ropescope
