#!/usr/bin/env bash
# Revisiting Multimodal Positional Encoding (arXiv 2510.23095): the position encodings that the paper compares, under its
# optimiser settings. Its models read pictures at their own size with the tower of Qwen2.5-VL, and its data are not
# published; here it is LLaVA-NeXT with SigLIP-400M on public data, so its tables' differences can be expected, not its
# figures.
#   experiments/mhrope/qwen2.5-7b-siglip.sh --dry-run
#
set -euo pipefail
script=${BASH_SOURCE[0]}
decoder=Qwen/Qwen2.5-7B-Instruct tower=google/siglip-so400m-patch14-384 template=qwen max_length=32768
finetune_data=llava_next_raw_format_processed.json
finetune_from=https://huggingface.co/datasets/lmms-lab/LLaVA-NeXT-Data
# Sections divide the 64 channel pairs of a head (mhrope: the 4 key/value heads).
schemes=(vanilla mrope:sections=16/24/24 videorope:sections=16/24/24 hope:sections=16/24/24 v2pe:delta=0.25
  mhrope:sections=2/1/1,spatial_reset=true mrope-interleave:sections=24/20/20,spatial_reset=true)
. "$(dirname "$script")/../recipe.sh"
recipe "$@"
