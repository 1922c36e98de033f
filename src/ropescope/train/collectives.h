// The headers of c10d, LibTorch's exchange of tensors between processes. They cost as much compile time as
// core/autograd.h and are treated alike: for .cpp files only, which the build compiles together.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
