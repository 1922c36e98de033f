// a + b, 2 * a, a < b for tensors. LibTorch's own header pulls in every operator unless it is told not to.
#pragma once

#ifndef AT_PER_OPERATOR_HEADERS
#define AT_PER_OPERATOR_HEADERS
#endif
#include <ATen/TensorOperators.h>
