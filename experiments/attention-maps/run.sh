#!/usr/bin/env bash
# Attention maps (Fig. 4 of the ID-Align paper): from a marked region of a photograph, and from a word of the question,
# onto the thumbnail, with plain positions and with ID-Align; numbers over several photographs; attention on the image as
# real text grows between it and the question. From a fresh machine: installs and builds what is missing.
#
#   experiments/attention-maps/run.sh [--cuda] [--model M] [--image F --region x,y,w,h --word W --prompt P] [--texts F]
#                                     [--lengths list] [--output DIR] [--seed N]
#
# M is a LLaVA-NeXT folder. Without it SmolLM2 looks at patches of the photograph through a fixed random projection:
# untrained features, from which only effects of position may be read. Run again, it does only what is not there yet.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
image='' region=205,80,55,70 word=astronaut prompt='Who is the astronaut in this picture?' lengths=0,512,1024,4096
own_flag() {
  case $1 in
    --image) image=$(from_caller "$2") ;;
    --region) region=$2 ;;
    --word) word=$2 ;;
    --prompt) prompt=$2 ;;
    --lengths) lengths=$2 ;;
    *) taken=0 ;;
  esac
}
read_flags "$@"
bootstrap+=(--photos)
seeing=$model
prepare
[ -d "$(compgen -G "$root/.venv/lib/python3*/site-packages/skimage/data")" ] || cmake/bootstrap.sh --photos --no-build
photos=$(ls -d "$root"/.venv/lib/python3*/site-packages/skimage/data)
[ -n "$image" ] || image=$photos/astronaut.png
several=$photos/astronaut.png,$photos/chelsea.png,$photos/coffee.png,$photos/rocket.jpg,$photos/motorcycle_left.png

# (the template of the figures in docs/vision.md)
eyes=(--decoder "$model" --template qwen)
[ -z "$seeing" ] || eyes=(--model "$seeing")
common=("$ropescope" attention "${eyes[@]}" --seed "$seed" --device "$device" --force --markdown)

do_once "$output/maps.h5" "${common[@]}" --image "$image" --prompt "$prompt" --region "$region" --word "$word" \
  --schemes 'vanilla;id-align' --plot "$output" --output "$output/maps.h5" >/dev/null
table_of "$output/table.md" "$output/table.h5" "${common[@]}" --quiet --image "$several" --queries text --keep numbers \
  --prompt 'What is shown in this image?' --schemes 'vanilla;id-align;mrope;dipe' --output "$output/table.h5"
table_of "$output/fading.md" "$output/fading.h5" "${common[@]}" --quiet --image "$image" --queries text --keep numbers \
  --prompt "$prompt" --schemes 'vanilla;id-align;dipe' --distractor "$texts" --text-lengths "$lengths" \
  --output "$output/fading.h5"
for extension in png svg; do
  do_once "$output/fading.$extension" "$ropescope" plot "$output/fading.h5" --kind attention-fading --force \
    --output "$output/fading.$extension" >/dev/null
  do_once "$output/by-layer.$extension" "$ropescope" plot "$output/table.h5" --kind attention-layers --force \
    --output "$output/by-layer.$extension" >/dev/null
done

cat "$output/table.md"
echo
cat "$output/fading.md"
printf '\nwritten:\n'
printf '  %s\n' "$output"/{maps,table,fading}.h5 "$output"/*.png
