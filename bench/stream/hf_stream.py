#!/usr/bin/env python3
"""The peer of bench/stream: queries and keys of given tokens with transformers and accelerate's disk offload.

Written as a careful user would: the decoder without its head, weights that stay on the disk until a layer runs
(`device_map="auto"` under a memory limit, `offload_folder`), sdpa attention, inference mode, no cache, picks taken inside
hooks on q_proj and k_proj. Prints JSON: seconds of loading and of the passes.
"""

import argparse
import csv
import json
import os
import resource
import sys
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch
import transformers
from transformers import AutoModel

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder")
    parser.add_argument("--ids", required=True, help="JSON lines with `ids`, all of one length")
    parser.add_argument("--picks", required=True, help="CSV of pairs")
    parser.add_argument("--memory-gib", type=float, required=True, help="for weights that stay in memory")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", required=True, help=".npz with q and k")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with open(args.ids, encoding="utf-8") as lines:
        texts = torch.tensor([json.loads(line)["ids"] for line in lines])
    with open(args.picks, newline="", encoding="utf-8") as lines:
        picks = torch.tensor([[int(v) for v in row.values()] for row in csv.DictReader(lines)])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as offload:
        model = AutoModel.from_pretrained(
            args.model,
            dtype=getattr(torch, args.dtype),
            attn_implementation="sdpa",
            device_map="auto",
            max_memory={"cpu": int(args.memory_gib * 2**30)},
            offload_folder=offload,
        ).eval()
        loaded = time.perf_counter()
        head_dim = model.config.hidden_size // model.config.num_attention_heads
        group = model.config.num_attention_heads // model.config.num_key_value_heads
        found = {"q": torch.empty(len(picks), head_dim), "k": torch.empty(len(picks), head_dim)}
        first = 0

        def hook(layer, name, column, heads):
            def take(_module, _inputs, output):
                rows = picks[:, 0] - first
                chosen = torch.nonzero((picks[:, 1] == layer) & (rows >= 0) & (rows < output.shape[0])).squeeze(1)
                of = picks[chosen]
                values = output.unflatten(-1, (-1, head_dim))[rows[chosen], of[:, column], of[:, 2] // heads]
                found[name][chosen] = values.float()

            return take

        for index, layer in enumerate(model.layers):
            layer.self_attn.q_proj.register_forward_hook(hook(index, "q", 3, 1))
            layer.self_attn.k_proj.register_forward_hook(hook(index, "k", 4, group))
        step = max(1, args.batch_tokens // texts.shape[1])
        with torch.inference_mode():
            for first in range(0, len(texts), step):
                model(input_ids=texts[first : first + step], use_cache=False)
        done = time.perf_counter()
        np.savez(args.output, q=found["q"].numpy(), k=found["k"].numpy())
        placed = {str(device): list(model.hf_device_map.values()).count(device) for device in set(model.hf_device_map.values())}
    json.dump({"load_s": loaded - start, "forward_s": done - loaded, "placed": placed,
               "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}, sys.stdout)


if __name__ == "__main__":
    main()
