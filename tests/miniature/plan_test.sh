#!/usr/bin/env bash
# Every open question trains what its plan counts, each run once. With a miniature that only notes what it is
# asked, in a copy of the scripts, so nothing is built or trained.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/tree/experiments"
cp -r "$root"/experiments/{common.sh,open-questions,miniature} "$scratch/tree/experiments/"
cat >"$scratch/miniature" <<'END'
#!/usr/bin/env bash
[ "$1" = train ] || exit 0
while [ $# -gt 0 ]; do
  case $1 in --schemes) schemes=$2 ;; --output) output=$2 ;; esac
  shift
done
# One line a run: the file that it would write.
while IFS= read -r scheme; do printf '%s\n' "${output/\{scheme\}/$scheme}"; done < <(tr ';' '\n' <<<"${schemes:?}") >>"$ASKED"
END
chmod +x "$scratch/miniature"
export ASKED=$scratch/asked ROPESCOPE_MINIATURE=$scratch/miniature ROPESCOPE=/bin/true
run=$scratch/tree/experiments/open-questions/run.sh
# They are the cases that run.sh knows.
questions=$(sed -n 's/^  \([a-z][a-z-]*\))$/\1/p' "$run" | tr '\n' ' ')
[ "$(wc -w <<<"$questions")" -ge 5 ] || { echo "expected five questions or more as cases of the script, found \"$questions\"" >&2 && exit 1; }
for question in $questions; do
  : >"$ASKED"
  planned=$("$run" "$question" --plan --seeds 0,1 | sed -n 's/.* \([0-9]*\) in all.*/\1/p')
  "$run" "$question" --seeds 0,1 --output "$scratch/$question" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2 && exit 1; }
  asked=$(wc -l <"$ASKED") once=$(sort -u "$ASKED" | wc -l)
  if [ "$asked" != "$planned" ] || [ "$once" != "$asked" ] || [ "$asked" = 0 ]; then
    echo "$question: the plan counts $planned runs, $asked were asked for, $once of them different" >&2 && exit 1
  fi
  echo "$question: $asked runs"
done
