#!/usr/bin/env bash
# What a build costs beside the build before: builds two commits in turn, each in an empty folder without a compiler cache,
# and prints CPU seconds, wall time and their ratios, for what a user needs (the executable) and for everything with tests.
#
#   bench/build/run.sh [--base COMMIT] [--head COMMIT] [--rounds N] [--jobs N] [--keep DIR] [--edit-only]
#
#   --base       the commit to compare with; default 5f1420f, the last one before unity builds
#   --head       the commit that is judged; default HEAD (commit first: the working tree does not count)
#   --rounds     how often both are built, in turn; default 1 (medians are printed)
#   --jobs       compile processes; default: all cores
#   --keep       where to build (kept afterwards); default: a temporary folder
#   --edit-only  only what an edit costs: one .cpp of each of four folders, compiled by itself (the preset `dev`)
#
# CPU seconds (user + system of all compilers and linkers) hardly depend on what else the machine is doing; wall time does.
# LibTorch must be there (cmake/bootstrap.sh --no-build); nothing is downloaded.
set -euo pipefail
script=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/run.sh
root=$(cd "$(dirname "$script")/../.." && pwd)
base=5f1420f head=HEAD rounds=1 jobs=$(nproc) keep='' edit_only=0
while [ $# -gt 0 ]; do
  case $1 in
    --base) base=${2:?--base needs a commit}; shift 2 ;;
    --head) head=${2:?--head needs a commit}; shift 2 ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift 2 ;;
    --jobs) jobs=${2:?--jobs needs a number}; shift 2 ;;
    --keep) keep=${2:?--keep needs a folder}; shift 2 ;;
    --edit-only) edit_only=1; shift ;;
    --help) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$script"; exit 0 ;;
    *) echo "bench/build/run.sh: unknown flag \"$1\" (--help lists them)" >&2; exit 2 ;;
  esac
done
cd "$root"
# Resolved now: the branch may move while the builds run.
base=$(git rev-parse --short "$base") head=$(git rev-parse --short "$head")
"$root/cmake/bootstrap.sh" --no-build
folder=${keep:-$(mktemp -d)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
results=$folder/seconds.txt
: >"$results"
finish() {
  for name in base head; do git worktree remove --force "$folder/$name" 2>/dev/null || true; done
  [ -n "$keep" ] || rm -rf "$folder"
}
trap finish EXIT
export CCACHE_DISABLE=1
TIMEFORMAT='%R %U %S'

# timed <commit> <what> <command...>: one line "commit what wall cpu" in the results.
timed() {
  local name=$1 what=$2 seconds
  shift 2
  printf '== %s: %s\n' "$name" "$what" >&2
  seconds=$({ time "$@" >"$folder/$name-$what.log" 2>&1; } 2>&1) ||
    { tail -n 30 "$folder/$name-$what.log" >&2; echo "bench/build/run.sh: $name: $what failed" >&2; exit 1; }
  # shellcheck disable=SC2086
  set -- $seconds
  awk -v n="$name" -v w="$what" -v r="$1" -v u="$2" -v s="$3" 'BEGIN {printf "%s %s %.1f %.1f\n", n, w, r, u + s}' |
    tee -a "$results" >&2
}

configure() {  # <commit name> <build folder> <flags...>
  local tree=$folder/$1 build=$2
  shift 2
  cmake -S "$tree" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER_LAUNCHER= \
    -DCCACHE_PROGRAM= "$@" >"$build.configure.log" 2>&1 || { tail -n 20 "$build.configure.log" >&2; exit 1; }
}

# One .cpp each of a kernel, a scheme, a decoder and a command: compiled once, then again after an edit of that file alone.
edited=(src/ropescope/analysis/statistics.cpp src/ropescope/rope/schemes/v2pe.cpp src/ropescope/models/decoder.cpp apps/compare.cpp)
edits() {
  local name=$1 build=$folder/$1-dev objects=() file
  rm -rf "$build"
  configure "$name" "$build" -DROPESCOPE_UNITY=OFF -DROPESCOPE_BUILD_TESTS=OFF
  for file in "${edited[@]}"; do
    objects+=("$(ninja -C "$build" -t query "$folder/$name/$file" 2>/dev/null | grep -o '[^ ]*\.o$' | head -n 1)")
  done
  ninja -C "$build" "${objects[@]}" >"$build.log" 2>&1 || { tail -n 20 "$build.log" >&2; exit 1; }
  for file in "${edited[@]}"; do printf '\n// edited\n' >>"$folder/$name/$file"; done
  timed "$name" edit-of-four-files ninja -C "$build" -j 1 "${objects[@]}"
  git -C "$folder/$name" checkout -q -- .
}

for name in base head; do
  git worktree remove --force "$folder/$name" 2>/dev/null || true
  git worktree add --force --detach "$folder/$name" "${!name}" >/dev/null 2>&1
  ln -sfn "$root/.venv" "$folder/$name/.venv"
done
for ((round = 1; round <= rounds; ++round)); do
  for name in base head; do
    if [ "$edit_only" = 0 ]; then
      build=$folder/$name-build
      rm -rf "$build"
      configure "$name" "$build" -DROPESCOPE_BUILD_TESTS=OFF
      timed "$name" executable ninja -C "$build" -j "$jobs" ropescope
      configure "$name" "$build" -DROPESCOPE_BUILD_TESTS=ON
      timed "$name" tests ninja -C "$build" -j "$jobs"
    fi
    edits "$name"
  done
done

python3 - "$results" "$base" "$head" "$jobs" <<'EOF'
import collections, statistics, sys
wall, cpu = (collections.defaultdict(list) for _ in range(2))
for line in open(sys.argv[1]):
    name, what, seconds, work = line.split()
    wall[name, what].append(float(seconds))
    cpu[name, what].append(float(work))
for table in (wall, cpu):  # with tests: both parts of a round together
    for name in ("base", "head"):
        if (name, "tests") in table:
            table[name, "executable and tests"] = [a + b for a, b in zip(table[name, "executable"], table[name, "tests"])]
print(f"\nbase {sys.argv[2]}, head {sys.argv[3]}, {sys.argv[4]} compile processes, no compiler cache\n")
print(f"{'what':<24}{'rounds':>7}{'base CPU s':>12}{'head CPU s':>12}{'ratio':>7}{'base wall':>11}{'head wall':>11}{'ratio':>7}")
for what in ("executable", "executable and tests", "edit-of-four-files"):
    if ("base", what) not in cpu: continue
    m = {(k, t): statistics.median(d[k, what]) for k in ("base", "head") for t, d in (("cpu", cpu), ("wall", wall))}
    print(f"{what:<24}{len(cpu['base', what]):>7}{m['base','cpu']:>12.1f}{m['head','cpu']:>12.1f}{m['head','cpu'] / m['base','cpu']:>7.2f}"
          f"{m['base','wall']:>11.1f}{m['head','wall']:>11.1f}{m['head','wall'] / m['base','wall']:>7.2f}")
EOF
