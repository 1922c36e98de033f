# Finds LibTorch and offers it as the imported target LibTorch::LibTorch.
#
# TorchConfig.cmake of a CUDA wheel probes nvcc with flags that CMake 3.25 cannot serve, so this module reads the
# folders itself. It accepts, in this order:
#   -DLIBTORCH_ROOT=... or CMAKE_PREFIX_PATH   a LibTorch zip, or a torch package folder
#   an active Python environment ($VIRTUAL_ENV, $CONDA_PREFIX) or python3 with torch
#   .venv/ in the source tree (made by cmake/bootstrap.sh)
# pip, which builds for the Python that it installs into, takes that Python's torch before all but the first.
# Result variables: LibTorch_FOUND, LibTorch_VERSION, LibTorch_CUDA (TRUE when linked against torch_cuda),
# LibTorch_LIBRARY_DIRS (the run path of what is installed).

set(_libtorch_hints ${LIBTORCH_ROOT})
foreach(_prefix IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND _libtorch_hints "${_prefix}" "${_prefix}/torch" "${_prefix}/libtorch" "${_prefix}/../..")
endforeach()
if(SKBUILD AND Python_EXECUTABLE)
  execute_process(COMMAND "${Python_EXECUTABLE}" -c "import sysconfig; print(sysconfig.get_path('platlib'))"
                  OUTPUT_VARIABLE _platlib OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  list(APPEND _libtorch_hints "${_platlib}/torch")
endif()
foreach(_env VIRTUAL_ENV CONDA_PREFIX)
  if(DEFINED ENV{${_env}})
    file(GLOB _found LIST_DIRECTORIES TRUE "$ENV{${_env}}/lib/python3*/site-packages/torch")
    list(APPEND _libtorch_hints ${_found})
  endif()
endforeach()
file(GLOB _found LIST_DIRECTORIES TRUE "${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch"
     "${PROJECT_SOURCE_DIR}/.venv/libtorch/torch")
list(APPEND _libtorch_hints ${_found})

find_path(LibTorch_ROOT_DIR NAMES include/ATen/core/Tensor.h HINTS ${_libtorch_hints} NO_DEFAULT_PATH)
if(NOT LibTorch_ROOT_DIR)
  find_package(Python3 QUIET COMPONENTS Interpreter)
  if(Python3_FOUND)
    execute_process(
      COMMAND "${Python3_EXECUTABLE}" -c
              "import importlib.util as u; s=u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE _torch_of_python OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    find_path(LibTorch_ROOT_DIR NAMES include/ATen/core/Tensor.h HINTS ${_torch_of_python})
  endif()
endif()
mark_as_advanced(LibTorch_ROOT_DIR)

if(LibTorch_ROOT_DIR)
  set(_inc "${LibTorch_ROOT_DIR}/include")
  if(EXISTS "${_inc}/torch/headeronly/version.h")
    set(_version_header "${_inc}/torch/headeronly/version.h")
  else()
    set(_version_header "${_inc}/torch/csrc/api/include/torch/version.h")
  endif()
  if(EXISTS "${_version_header}")
    file(STRINGS "${_version_header}" _lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
    string(REGEX MATCHALL "[0-9]+" LibTorch_VERSION "${_lines}")
    list(JOIN LibTorch_VERSION "." LibTorch_VERSION)
  endif()
  find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS "${LibTorch_ROOT_DIR}/lib" NO_DEFAULT_PATH)
  find_library(LibTorch_C10_LIBRARY c10 HINTS "${LibTorch_ROOT_DIR}/lib" NO_DEFAULT_PATH)
  find_library(LibTorch_CUDA_LIBRARY torch_cuda HINTS "${LibTorch_ROOT_DIR}/lib" NO_DEFAULT_PATH)
  find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda HINTS "${LibTorch_ROOT_DIR}/lib" NO_DEFAULT_PATH)
  mark_as_advanced(LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_CUDA_LIBRARY LibTorch_C10_CUDA_LIBRARY)
endif()

# The wheel carries torch_cuda even in the CPU-only install, but its CUDA libraries (cuBLAS, ...) only come with the
# full install (bootstrap --cuda); linking torch_cuda without them fails at start-up.
set(LibTorch_CUDA FALSE)
if(LibTorch_CUDA_LIBRARY AND LibTorch_C10_CUDA_LIBRARY)
  file(GLOB _cublas "${LibTorch_ROOT_DIR}/../nvidia/*/lib/libcublas.so*" "${LibTorch_ROOT_DIR}/lib/libcublas*.so*")
  if(_cublas)
    set(LibTorch_CUDA TRUE)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch
  REQUIRED_VARS LibTorch_ROOT_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE
    "Run cmake/bootstrap.sh, or point CMAKE_PREFIX_PATH at a LibTorch zip or a Python environment's torch folder. For pip install: pip install torch==2.15.0 first.")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  # The wheel's include folder carries other projects' headers too (fmt 12, ...), which would hide the system's and break
  # spdlog; -idirafter puts it last.
  target_compile_options(LibTorch::LibTorch INTERFACE "SHELL:-idirafter \"${_inc}\""
                                                      "SHELL:-idirafter \"${_inc}/torch/csrc/api/include\"")
  set(_rpath "${LibTorch_ROOT_DIR}/lib")
  file(GLOB _nvidia LIST_DIRECTORIES TRUE "${LibTorch_ROOT_DIR}/../nvidia/*/lib")
  list(APPEND _rpath ${_nvidia})
  set(_libs "${LibTorch_CPU_LIBRARY}" "${LibTorch_C10_LIBRARY}")
  if(LibTorch_CUDA)
    # Nothing of ours names a symbol of torch_cuda: it registers its kernels when it is loaded.
    set(_libs "-Wl,--no-as-needed" "${LibTorch_CUDA_LIBRARY}" "${LibTorch_C10_CUDA_LIBRARY}" ${_libs}
              "-Wl,--as-needed")
  endif()
  set_property(TARGET LibTorch::LibTorch PROPERTY INTERFACE_LINK_LIBRARIES "${_libs}")
  set(LibTorch_LIBRARY_DIRS ${_rpath})
  # libcudart and libcupti are needed by libtorch_cpu itself and lie outside torch/lib.
  # What is moved into a Python environment (property ROPESCOPE_MOVES) has run paths that CMake rewrites when it installs.
  foreach(_dir IN LISTS _rpath)
    set_property(TARGET LibTorch::LibTorch APPEND
                 PROPERTY INTERFACE_LINK_OPTIONS "$<$<NOT:$<BOOL:$<TARGET_PROPERTY:ROPESCOPE_MOVES>>>:-Wl,-rpath,${_dir}>"
                          "-Wl,-rpath-link,${_dir}")
  endforeach()
endif()
