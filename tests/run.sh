#!/usr/bin/env bash
# Installs, builds and runs every test. Arguments go to ctest: tests/run.sh -R rope
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/cmake/bootstrap.sh" --notebooks --tests
# One test starts its processes with torchrun, which comes with the full torch wheel (bench/setup-venv.sh installs it).
torchrun=$root/bench/.venv-hf/bin/torchrun
[ -z "${ROPESCOPE_TORCHRUN:-}" ] && [ -x "$torchrun" ] && export ROPESCOPE_TORCHRUN=$torchrun
cd "$root/build"
# The wheel, of the objects that are built, where the test is chosen that installs it into a clean environment.
if ctest -N "$@" 2>/dev/null | grep ' python/wheel$' >/dev/null; then "$root/tests/python/make_wheel.sh" "$root/build"; fi
exec ctest --output-on-failure -j "$(nproc)" "$@"
