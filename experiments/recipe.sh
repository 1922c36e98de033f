# What the papers' training recipes share; sourced, not run. A recipe sets `script`, `decoder`, `tower`, `template`,
# `max_length`, `finetune_data`, `finetune_from`, `schemes` (what its table compares) and calls `recipe "$@"`.
#
#   --models DIR       folder of the downloaded models            [models]
#   --data DIR         folder of the downloaded training data     [data/llava]
#   --output DIR       runs, one folder a scheme and stage        [results/<experiment>/<recipe>]
#   --scheme S         only this one of the recipe's schemes; may be given again
#   --stage S          pretrain, finetune or all                  [all]
#   --processes N      processes on this machine, one a GPU       [8]
#   --launcher CMD     starts the processes in place of torchrun, for example "srun" inside a Slurm job
#   --device D         cuda or cpu                                [cuda]
#   --tflops T         what a GPU sustains, for the time of the plan: about half its bfloat16 peak  [150: an A100]
#   --dry-run          check every input, print what is missing, the plan, steps, tokens, memory and time
#   -- FLAGS           more flags for every `ropescope train`

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
experiment=$(basename "$(cd "$(dirname "$script")" && pwd)")
name=$(basename "$script" .sh)

# need <path> <where it is published>: notes what is missing.
need() {
  if [ -e "$1" ]; then
    echo "  there    $1"
  else
    echo "  MISSING  $1   from $2"
    missing=$((missing + 1))
  fi
}

launch() {
  if [ -n "$launcher" ]; then
    $launcher "$@"
  elif [ "$processes" = 1 ]; then
    "$@"
  else
    torchrun --nproc-per-node "$processes" --no-python "$@"
  fi
}

# stage <name> <data> <scheme> <output> <template> <model flags...>
stage() {
  local which=$1 rows=$2 scheme=$3 to=$4 chat=$5
  shift 5
  echo "== $name, $scheme, $which"
  local flags=(--config "$root/experiments/$experiment/$which.cfg" --stage "$which" "$@" --data "$rows"
    --image-folder "$data/images" --scheme "$scheme" --template "$chat" --max-length "$max_length" --device "$device"
    --output "$to" ${more[@]+"${more[@]}"})
  if [ -n "$dry" ]; then
    "$ropescope" train "${flags[@]}" --dry-run --ranks "$processes" --tflops "$tflops"
  else
    launch "$ropescope" train "${flags[@]}" --resume auto
  fi
}

recipe() {
  models=$root/models data=$root/data/llava output=$root/results/$experiment/$name only=() which=all processes=8
  device=cuda tflops=150 dry='' more=() missing=0 launcher=''
  while [ $# -gt 0 ]; do
    case $1 in
      --models) models=${2:?--models needs a value} && shift 2 ;;
      --data) data=${2:?--data needs a value} && shift 2 ;;
      --output) output=${2:?--output needs a value} && shift 2 ;;
      --scheme) only+=("${2:?--scheme needs a value}") && shift 2 ;;
      --stage) which=${2:?--stage needs a value} && shift 2 ;;
      --processes) processes=${2:?--processes needs a value} && shift 2 ;;
      --launcher) launcher=${2:?--launcher needs a value} && shift 2 ;;
      --device) device=${2:?--device needs a value} && shift 2 ;;
      --tflops) tflops=${2:?--tflops needs a value} && shift 2 ;;
      --dry-run) dry=1 && shift ;;
      --) shift && more=("$@") && break ;;
      --help)
        sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$script"
        sed -n '4,/^$/{/^#/s/^# \{0,1\}//p}' "$root/experiments/recipe.sh"
        exit 0
        ;;
      *) echo "$name.sh: unknown flag \"$1\" (--help lists them)" >&2 && exit 2 ;;
    esac
  done
  case $which in pretrain | finetune | all) ;; *) echo "$name.sh: --stage: expected pretrain, finetune or all, found \"$which\"" >&2 && exit 2 ;; esac
  [ ${#only[@]} -gt 0 ] && schemes=("${only[@]}")
  ropescope=${ROPESCOPE:-$root/build/ropescope}
  echo "Inputs of $experiment/$name:"
  need "$ropescope" "cmake/bootstrap.sh --cuda"
  need "$models/$(basename "$decoder")/config.json" "https://huggingface.co/$decoder"
  need "$models/$(basename "$tower")/config.json" "https://huggingface.co/$tower"
  need "$data/blip_laion_cc_sbu_558k.json" "https://huggingface.co/datasets/liuhaotian/LLaVA-Pretrain (images.zip goes to $data/images)"
  need "$data/$finetune_data" "$finetune_from"
  need "$data/images" "the archives that the two data sets name"
  if [ "$missing" -gt 0 ]; then
    echo "$name: $missing inputs are missing; data/README.md says how to get them" >&2
    exit 3
  fi
  local scheme folder last
  local fresh=(--model "$models/$(basename "$decoder")" --vision-tower "$models/$(basename "$tower")")
  for scheme in "${schemes[@]}"; do
    folder=$output/$(printf %s "$scheme" | tr -c 'a-zA-Z0-9.-' '_')
    if [ "$which" != finetune ]; then
      stage pretrain "$data/blip_laion_cc_sbu_558k.json" "$scheme" "$folder/pretrain" plain "${fresh[@]}"
    fi
    [ "$which" != pretrain ] || continue
    last=$(ls -d "$folder"/pretrain/checkpoints/step-* 2>/dev/null | sort -V | tail -1 || true)
    local from=(--model "$last")
    if [ -z "$last" ]; then
      [ -n "$dry" ] || { echo "$name: $folder/pretrain has no checkpoint; run --stage pretrain first" >&2 && exit 3; }
      from=("${fresh[@]}")  # the plan is the same
    fi
    stage finetune "$data/$finetune_data" "$scheme" "$folder/finetune" "$template" "${from[@]}"
  done
}
