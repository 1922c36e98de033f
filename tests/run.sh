#!/usr/bin/env bash
# Installs, builds and runs every test. Arguments go to ctest: tests/run.sh -R rope
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/cmake/bootstrap.sh" --notebooks
cd "$root/build"
exec ctest --output-on-failure -j "$(nproc)" "$@"
