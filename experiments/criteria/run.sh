#!/usr/bin/env bash
# The three criteria of arXiv 2510.23095 over all schemes, on an image, a video and two anyres pictures (layouts.json),
# what ID-Align's resize rules get wrong, and pictures of where tokens sit, from a fresh machine: installs and builds
# what is missing.
#
#   experiments/criteria/run.sh [--output DIR]
#
# DIR (results/criteria unless given) gets criteria.md, criteria.csv, misalignment.md, criteria.h5 (every coordinate,
# rotary table and number; `ropescope plot` redraws from such files), and the pictures id-align.png, three-axes.png,
# video.png.
set -euo pipefail
script=${BASH_SOURCE[0]}
. "$(dirname "$script")/../common.sh"
read_flags "$@"
prepare

circle='circlerope:move_to_origin=true,radius=10,alpha=0.5'
schemes="vanilla;v2pe;v2pe:delta=0.25;cca;pype:interval=4;alibi;mrope;mrope-interleave;mrope-interleave:spatial_reset=true"
schemes+=";mhrope:spatial_reset=true;videorope;hope:temporal_stride=1;$circle;omnirope;omnirope:text_spatial_zero=true"
schemes+=";ilrope;ilrope:text_spatial_zero=true;mmrope;grape;grape:frequency_allocation=interleaved;dipe"
# The papers' ablations are settings, and ID-Align goes with any scheme.
schemes+=";mrope:diagonal=true;mrope:modality_interval=8;mrope/interleaved"
schemes+=";id-align;id-align+v2pe:delta=0.5;id-align+mrope;id-align+mrope-interleave;id-align+dipe;id-align:resize=bilinear"
positions=("$ropescope" positions --quiet --force --layout-file "$folder/layouts.json" --scheme "$schemes")

"${positions[@]}" --criteria --markdown --output "$output/criteria.h5" >"$output/criteria.md"
"${positions[@]}" --criteria --csv >"$output/criteria.csv"
aligned='vanilla;mrope;id-align;id-align:resize=nearest-exact;id-align:resize=bilinear;id-align+mrope;id-align+v2pe:delta=0.5'
"$ropescope" positions --quiet --layout-file "$folder/layouts.json" --scheme "$aligned" --misalignment --markdown |
  awk 'NR <= 2 || /anyres/' >"$output/misalignment.md"
"$ropescope" positions --quiet --force --anyres 24x24+48x48 --scheme 'vanilla;id-align;id-align:resize=bilinear' \
  --plot "$output/id-align.png" >/dev/null
"$ropescope" positions --quiet --force --anyres 24x24+48x48 --scheme 'mrope;id-align+mrope-interleave' \
  --plot "$output/three-axes.png" >/dev/null
"$ropescope" positions --quiet --force --layout text:10,video:3x6x5,text:5 --scheme "mrope;videorope;$circle" \
  --plot "$output/video.png" >/dev/null

cat "$output/criteria.md"
echo
cat "$output/misalignment.md"
printf '\nwritten:\n'
printf '  %s\n' "$output"/{criteria.md,criteria.csv,misalignment.md,criteria.h5} "$output"/*.png
