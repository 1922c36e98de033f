# Flags that our own code is compiled with, and the functions that declare its targets.
# A folder is one target; its sources are the folder's *.cpp, so adding a file needs no edit here.

add_library(ropescope_flags INTERFACE)
target_compile_options(ropescope_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
                                                 $<$<BOOL:${ROPESCOPE_WERROR}>:-Werror>)
target_include_directories(ropescope_flags INTERFACE "${PROJECT_SOURCE_DIR}/src")
# The Python module is a shared library of the same objects, so all of them may lie anywhere in memory. Nothing of ours is
# meant to be replaced by a symbol of another library, and so functions are inlined as they are in an executable.
target_compile_options(ropescope_flags INTERFACE -fPIC -fno-semantic-interposition)
# The frames of shared LibTorch headers are hidden, ours keep full debug lines only where a debugger is meant to be used.
target_compile_options(ropescope_flags INTERFACE $<$<CONFIG:RelWithDebInfo>:-g1>)
# at::parallel_for is serial in code that is compiled without OpenMP. -fopenmp rather than FindOpenMP's library path: the
# loader then takes the one libgomp that LibTorch brings. (clang would need libomp, a second runtime: fuzzing is serial.)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(ropescope_flags INTERFACE -fopenmp)
  target_link_options(ropescope_flags INTERFACE -fopenmp)
endif()
# A batch of files needs a gigabyte anyway; collecting garbage earlier than that costs a tenth of the compile time.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(ropescope_flags INTERFACE "SHELL:--param ggc-min-heapsize=700000")
endif()
if(ROPESCOPE_SANITIZE)
  target_compile_options(ropescope_flags INTERFACE -fsanitize=${ROPESCOPE_SANITIZE} -fno-omit-frame-pointer
                                                   -fno-sanitize-recover=undefined)
  target_link_options(ropescope_flags INTERFACE -fsanitize=${ROPESCOPE_SANITIZE})
endif()
if(ROPESCOPE_BUILD_FUZZ)
  # Coverage of our own libraries guides the fuzzer; its main comes with the targets of tests/fuzz.
  target_compile_options(ropescope_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# rs_unity(<target> <sources...>): with ROPESCOPE_UNITY, the sources are compiled some dozen at a time, which saves most of
# the work: parsing LibTorch's headers costs far more than our own lines do. A batch is bounded by its size, so that many
# cores still find work. Files that include autograd or c10d headers (15 s of parsing) share one batch of their own, files
# with options of their own stay apart. Batches are not stable when files come and go: the `dev` preset does without them.
set(ROPESCOPE_UNITY_BYTES 140000)
function(rs_unity target)
  if(NOT ROPESCOPE_UNITY)
    return()
  endif()
  cmake_parse_arguments(ARG "ACROSS_FOLDERS" "" "" ${ARGN})
  set(batch 0)
  set(bytes 0)
  set(last_folder "")
  foreach(source IN LISTS ARG_UNPARSED_ARGUMENTS)
    file(STRINGS "${source}" heavy REGEX "#include .*(core/autograd|train/collectives)\\.h" LIMIT_COUNT 1)
    if(heavy)
      set(group autograd)
    else()
      # Names must not clash within a folder; nothing is asked of two folders, except with ACROSS_FOLDERS.
      get_filename_component(folder "${source}" DIRECTORY)
      if(ARG_ACROSS_FOLDERS)
        set(folder "")
      endif()
      file(SIZE "${source}" size)
      math(EXPR bytes "${bytes} + ${size}")
      if(bytes GREATER ROPESCOPE_UNITY_BYTES OR NOT folder STREQUAL last_folder)
        math(EXPR batch "${batch} + 1")
        set(bytes ${size})
        set(last_folder "${folder}")
      endif()
      set(group ${batch})
    endif()
    set_source_files_properties("${source}" PROPERTIES UNITY_GROUP "${target}_${group}")
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()

# The headers that nearly every file includes take most of its compile time (an ATen operation alone: 4 s), so they are
# compiled once for all libraries with inner loops, once for code that waits for them, and once for all tests.
set(ROPESCOPE_COMMON_HEADERS
    <algorithm> <cmath> <cstdint> <filesystem> <functional> <map> <memory> <optional> <random> <sstream> <string>
    <vector> <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp> <ATen/core/Tensor.h> <ATen/ops/arange.h>
    <ATen/ops/empty.h>)

# rs_precompile(<target> <owner> [headers...]): <target> takes the precompiled headers of <owner>; if they are the same
# target, it owns them, with more headers perhaps.
function(rs_precompile target owner)
  if(NOT ROPESCOPE_PCH OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    return()
  endif()
  # What the compiler cache needs to look through a precompiled header. GCC no longer knows then which lines are the
  # standard library's, and its flow analysis reports false positives there that it otherwise keeps to itself.
  target_compile_options(${target} PRIVATE -fpch-preprocess -Wno-array-bounds -Wno-stringop-overflow
                                           -Wno-stringop-overread -Wno-restrict -Wno-maybe-uninitialized)
  if(target STREQUAL owner)
    target_precompile_headers(${target} PRIVATE ${ROPESCOPE_COMMON_HEADERS} ${ARGN})
  else()
    target_precompile_headers(${target} REUSE_FROM ${owner})
  endif()
endfunction()

# rs_glue(<target>): <target> has no inner loops of its own, its time passes in LibTorch and in the libraries of `core` to
# `analysis`. -O1 compiles it a quarter faster.
function(rs_glue target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
  rs_precompile(${target} ropescope_io)
endfunction()

# rs_add_library(<folder> [GLUE] DEPENDS <folders and libraries>): the library of src/ropescope/<folder>.
function(rs_add_library folder)
  cmake_parse_arguments(ARG "GLUE" "" "DEPENDS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp"
       "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*/*.cpp")
  add_library(ropescope_${folder} STATIC ${sources})
  add_library(ropescope::${folder} ALIAS ropescope_${folder})
  target_link_libraries(ropescope_${folder} PUBLIC ropescope_flags LibTorch::LibTorch ${ARG_DEPENDS})
  if(ARG_GLUE)
    rs_glue(ropescope_${folder})
  else()
    rs_precompile(ropescope_${folder} ropescope_core)
  endif()
  rs_unity(ropescope_${folder} ${sources})
endfunction()

# rs_add_tests(<folder> DEPENDS ... [SHARDS n]): one GoogleTest executable from tests/<folder>/*_test.cpp.
# Loading LibTorch takes longer than most tests do, so tests share a process: n processes a folder, which ctest runs side by
# side. `test_<folder> --gtest_filter=...` runs some of them.
function(rs_add_tests folder)
  cmake_parse_arguments(ARG "" "SHARDS" "DEPENDS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp")
  if(NOT sources)
    return()
  endif()
  add_executable(test_${folder} ${sources})
  target_link_libraries(test_${folder} PRIVATE ropescope_test_support ${ARG_DEPENDS} GTest::gmock GTest::gtest_main)
  # The code under test is optimised, the tests need not be: it halves their compile time.
  target_compile_options(test_${folder} PRIVATE -O0)
  rs_precompile(test_${folder} ropescope_test_support)
  rs_unity(test_${folder} ${sources})
  rs_run_tests(test_${folder} ${folder} ${ARG_SHARDS})
endfunction()

# rs_run_tests(<target> <label> [n]): the tests of a GoogleTest executable, in n processes. They run side by side, so threads
# that wait give their core away, and the executable need not start itself a second time to do so (apps/passive_waiting.cpp).
function(rs_run_tests target label)
  set(shards 2)
  if(ARGC GREATER 2)
    set(shards ${ARGV2})
  endif()
  math(EXPR last "${shards} - 1")
  foreach(shard RANGE ${last})
    math(EXPR number "${shard} + 1")
    add_test(NAME ${label}/${number}-of-${shards} COMMAND ${target})
    set_tests_properties(
      ${label}/${number}-of-${shards}
      PROPERTIES ENVIRONMENT "OMP_WAIT_POLICY=passive;GTEST_BRIEF=1;GTEST_TOTAL_SHARDS=${shards};GTEST_SHARD_INDEX=${shard}" LABELS ${label} TIMEOUT 1200)
  endforeach()
endfunction()
