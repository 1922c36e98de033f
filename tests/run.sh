#!/usr/bin/env bash
# Installs, builds and runs every test. Arguments go to ctest: tests/run.sh -R rope
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/cmake/bootstrap.sh" --notebooks --tests
# One test starts its processes with torchrun, which comes with the full torch wheel (bench/setup-venv.sh installs it).
torchrun=$root/bench/.venv-hf/bin/torchrun
[ -z "${ROPESCOPE_TORCHRUN:-}" ] && [ -x "$torchrun" ] && export ROPESCOPE_TORCHRUN=$torchrun
# The wheel, of the objects that are built (a few seconds): the test python/wheel installs it into a clean environment.
"$root/tests/python/make_wheel.sh" "$root/build"
cd "$root/build"
exec ctest --output-on-failure -j "$(nproc)" "$@"
