#!/usr/bin/env bash
# ID-Align (arXiv 2505.21465), Table 1, upper half: Vicuna-1.5-7B with CLIP-L/14-336, without and with ID-Align.
#   experiments/id-align/vicuna-7b-clip.sh --dry-run
#
set -euo pipefail
script=${BASH_SOURCE[0]}
decoder=lmsys/vicuna-7b-v1.5 tower=openai/clip-vit-large-patch14-336 template=vicuna_v1 max_length=4096
finetune_data=open-llava-next_instruct_mix1M.json
finetune_from=https://huggingface.co/datasets/Lin-Chen/Open-LLaVA-NeXT-mix1M
schemes=(vanilla id-align)
. "$(dirname "$script")/../recipe.sh"
recipe "$@"
