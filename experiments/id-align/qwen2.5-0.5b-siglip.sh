#!/usr/bin/env bash
# ID-Align (arXiv 2505.21465), Table 3: Qwen2.5-0.5B-Instruct with SigLIP-400M under vanilla RoPE, V2PE (0.5), MRoPE (8, 12,
# 12 channel pairs) and ID-Align.
#   experiments/id-align/qwen2.5-0.5b-siglip.sh --dry-run
#
set -euo pipefail
script=${BASH_SOURCE[0]}
decoder=Qwen/Qwen2.5-0.5B-Instruct tower=google/siglip-so400m-patch14-384 template=qwen max_length=32768
finetune_data=llava_next_raw_format_processed.json
finetune_from=https://huggingface.co/datasets/lmms-lab/LLaVA-NeXT-Data
schemes=(vanilla v2pe:delta=0.5 mrope:sections=8/12/12 id-align)
. "$(dirname "$script")/../recipe.sh"
recipe "$@"
