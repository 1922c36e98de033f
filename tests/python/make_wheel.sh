#!/usr/bin/env bash
# The wheel of a build folder, into its folder wheel/: what `pip install .` builds, but of the objects that are there. Nothing
# is made, with the reason, where the folder has no module; the test python/wheel is then skipped.
#
#   tests/python/make_wheel.sh [build]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "${1:-$root/build}" && pwd)
setting() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
python=$(setting ROPESCOPE_MODULE_PYTHON) module=$(setting ROPESCOPE_MODULE)
if [ -z "$python" ] || [ "$module" = OFF ] || ! "$python" -c 'import nanobind, scikit_build_core' 2>/dev/null; then
  echo "no wheel: the Python module is not built (a Python 3.11 or later with headers and cmake/requirements-module.txt)" >&2
  exit 0
fi
rm -rf "$build/wheel"
# The build folder gets its settings back: those that pip leaves there (SKBUILD is its word for "into this Python's environment",
# with folders that are gone by then) would be taken for the user's when the folder is next configured.
cp "$build/CMakeCache.txt" "$build/CMakeCache.kept.txt"
restore() { mv "$build/CMakeCache.kept.txt" "$build/CMakeCache.txt" && cmake -U 'SKBUILD*' "$build" >/dev/null; }
trap restore EXIT
tests=$(setting ROPESCOPE_BUILD_TESTS)
"$python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --no-cache-dir \
  -C "build-dir=$build" -C "cmake.define.ROPESCOPE_BUILD_TESTS=${tests:-ON}" -C "cmake.define.ROPESCOPE_MODULE=${module:-AUTO}" --wheel-dir "$build/wheel" "$root"
ls "$build/wheel"
