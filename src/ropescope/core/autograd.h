// The headers of LibTorch's autograd that our own functions and nodes of a graph are made with. Whichever of
// them is included costs some 15 s of compile time, so the build compiles all files of a folder that include
// this header together (rs_unity in cmake/RopescopeTargets.cmake). For .cpp files only, in place of
// torch/csrc/autograd's headers.
#pragma once

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/autograd/variable.h>
