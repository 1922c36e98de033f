#!/usr/bin/env bash
# The wheel of a build folder, into its folder wheel/: what `pip install .` builds, but of the objects that are there. Nothing
# is made, with the reason, where the folder has no module; the test python/wheel is then skipped.
#
#   tests/python/make_wheel.sh [build]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "${1:-$root/build}" && pwd)
python=$(sed -n 's/^ROPESCOPE_MODULE_PYTHON:INTERNAL=//p' "$build/CMakeCache.txt")
if [ -z "$python" ] || ! "$python" -c 'import nanobind, scikit_build_core' 2>/dev/null; then
  echo "no wheel: the Python module is not built (a Python 3.11 or later with headers and cmake/requirements-module.txt)" >&2
  exit 0
fi
rm -rf "$build/wheel"
# The build folder keeps its settings; SKBUILD is pip's word for "into this Python's environment".
tests=$(sed -n 's/^ROPESCOPE_BUILD_TESTS:[A-Z]*=//p' "$build/CMakeCache.txt")
"$python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --no-cache-dir \
  -C "build-dir=$build" -C "cmake.define.ROPESCOPE_BUILD_TESTS=${tests:-ON}" --wheel-dir "$build/wheel" "$root"
ls "$build/wheel"
