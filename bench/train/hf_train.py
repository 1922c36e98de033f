#!/usr/bin/env python3
"""Fine-tuning with transformers and PyTorch's fused AdamW: what `ropescope train` does, as one would write it there.

Prints JSON: losses, gradient norms and seconds of each step, and peak resident bytes.
"""

import argparse
import json
import math
import os
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a .gguf file, or a folder")
    parser.add_argument("--batches", required=True, help="JSON: steps x micro-batches x rows x tokens")
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    where = {"pretrained_model_name_or_path": args.model}
    if args.model.endswith(".gguf"):
        folder, name = os.path.split(args.model)
        where = {"pretrained_model_name_or_path": folder, "gguf_file": name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, attn_implementation="sdpa")
    model.train()
    with open(args.batches, encoding="utf-8") as file:
        steps = [[torch.tensor(rows) for rows in step] for step in json.load(file)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.0, fused=True)
    cosine = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * step / len(steps)))
    )
    losses, norms, seconds = [], [], []
    for micro in steps:
        start = time.perf_counter()
        total = 0.0
        for ids in micro:
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss / len(micro)
            loss.backward()
            total += loss.item()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        cosine.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump({"losses": losses, "norms": norms, "seconds": seconds, "peak_bytes": peak}, sys.stdout)


if __name__ == "__main__":
    main()
