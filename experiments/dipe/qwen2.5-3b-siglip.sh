#!/usr/bin/env bash
# DIPE (arXiv 2603.10863): Qwen2.5-3B under vanilla RoPE, MRoPE (16, 24, 24), MRoPE-Interleave and each of them with DIPE.
# The paper reads pictures at their own size with SigLIP2-So400m (NaFlex); here it is LLaVA-NeXT with SigLIP-400M, so its
# tables' differences can be expected, not its figures. The optimiser settings are those of its published scripts.
#   experiments/dipe/qwen2.5-3b-siglip.sh --dry-run
#
set -euo pipefail
script=${BASH_SOURCE[0]}
decoder=Qwen/Qwen2.5-3B tower=google/siglip-so400m-patch14-384 template=qwen max_length=8192
finetune_data=llava_next_raw_format_processed.json
finetune_from=https://huggingface.co/datasets/lmms-lab/LLaVA-NeXT-Data
schemes=(vanilla mrope:sections=16/24/24 mrope-interleave:sections=24/20/20 dipe dipe+mrope:sections=16/24/24
  dipe+mrope-interleave:sections=24/20/20)
. "$(dirname "$script")/../recipe.sh"
recipe "$@"
