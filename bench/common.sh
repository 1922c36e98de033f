# What the benchmarks' scripts share; sourced, not run. A script sets `script` to its own path and `target` to what it
# needs built, calls `read_flags "$@"`, then `prepare`, and finds root, build and python set, and its own flags in arguments.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build='' arguments=()

# own_flag <flag> <value>: a script that reads flags itself overrides this; others are handed on word by word.
own_flag() { arguments+=("$1"); taken=1; }

read_flags() {
  while [ $# -gt 0 ]; do
    taken=2
    case $1 in
      # The script's own head, up to its first line of code, is its help.
      --help) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$script"; exit 0 ;;
      --build) build=$(cd "${2:?--build needs a value}" && pwd) ;;
      *) own_flag "$1" "${2:-}" ;;
    esac
    shift "$taken"
  done
}

# Builds $target into build-bench/ unless --build named a folder.
prepare() {
  [ -z "$build" ] || return 0
  "$root/cmake/bootstrap.sh" --no-build
  build=$root/build-bench
  # shellcheck disable=SC2086
  (cd "$root" && cmake --preset bench >&2 && cmake --build build-bench --target $target >&2)
}
