#!/usr/bin/env bash
# ID-Align (arXiv 2505.21465), Table 1, lower half: Qwen2.5-7B-Instruct with SigLIP-400M, without and with ID-Align.
#   experiments/id-align/qwen2.5-7b-siglip.sh --dry-run
#
set -euo pipefail
script=${BASH_SOURCE[0]}
decoder=Qwen/Qwen2.5-7B-Instruct tower=google/siglip-so400m-patch14-384 template=qwen max_length=32768
finetune_data=llava_next_raw_format_processed.json
finetune_from=https://huggingface.co/datasets/lmms-lab/LLaVA-NeXT-Data
schemes=(vanilla id-align)
. "$(dirname "$script")/../recipe.sh"
recipe "$@"
