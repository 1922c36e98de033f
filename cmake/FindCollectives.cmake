# Which of LibTorch's communication libraries can be compiled in. Their code lies in LibTorch; what is needed here is
# headers: Debian's libgloo-dev for Gloo, the wheels nvidia-nccl and nvidia-cuda-runtime (bootstrap.sh --cuda) for NCCL.
#
# Result: Collectives_DEFINITIONS_GLOO, Collectives_DEFINITIONS_NCCL (empty where missing), Collectives_INCLUDES_NCCL.

find_path(GLOO_INCLUDE_DIR NAMES gloo/context.h)
mark_as_advanced(GLOO_INCLUDE_DIR)
set(Collectives_DEFINITIONS_GLOO "")
if(GLOO_INCLUDE_DIR)
  set(Collectives_DEFINITIONS_GLOO USE_C10D_GLOO)
endif()
if(NOT GLOO_INCLUDE_DIR)
  message(STATUS "Gloo's headers (libgloo-dev) are missing: training in one process only")
endif()

set(Collectives_DEFINITIONS_NCCL "")
set(Collectives_INCLUDES_NCCL "")
if(LibTorch_CUDA)
  file(GLOB _cuda "${LibTorch_ROOT_DIR}/../nvidia/*/include")
  find_path(NCCL_INCLUDE_DIR NAMES nccl.h HINTS ${_cuda})
  find_path(CUDA_RUNTIME_INCLUDE_DIR NAMES cuda_runtime_api.h HINTS ${_cuda} /usr/local/cuda/include)
  mark_as_advanced(NCCL_INCLUDE_DIR CUDA_RUNTIME_INCLUDE_DIR)
  if(NCCL_INCLUDE_DIR AND CUDA_RUNTIME_INCLUDE_DIR)
    set(Collectives_DEFINITIONS_NCCL USE_C10D_NCCL)
    set(Collectives_INCLUDES_NCCL "${NCCL_INCLUDE_DIR}" "${CUDA_RUNTIME_INCLUDE_DIR}")
  endif()
endif()
set(Collectives_FOUND TRUE)
