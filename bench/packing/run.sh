#!/usr/bin/env bash
# Tokens a second of processor time of forward and backward passes over rows with pictures of mixed lengths: padded to the longest, in groups
# that are padded below a fifth (what train does), and packed (train --packing). In turn, on a LLaVA-NeXT of random weights.
#
#   bench/packing/run.sh [--rounds N] [--rows N] [--threads N] [--build DIR]
#
# Needs a built tree (this script builds into build-bench/ unless --build names a folder).
set -euo pipefail
script=${BASH_SOURCE[0]} target='packed_speed'
. "$(dirname "$script")/../common.sh"
read_flags "$@"
prepare
exec "$build/packed_speed" --golden "$root/tests/golden/vision/llava-next-tiny-clip-llama" ${arguments[@]+"${arguments[@]}"}
