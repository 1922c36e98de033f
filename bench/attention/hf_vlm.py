#!/usr/bin/env python3
"""One forward pass of a vision-language model with transformers; the attention rows of some queries to HDF5 where it shows them.

Prints JSON: seconds of the decoder and of tower and merger, peak resident bytes, and resident bytes with the model loaded. The tower
runs under sdpa either way: its maps are not asked for.
"""

import argparse
import json
import os
import resource
import sys
import time

import h5py
import numpy as np
import torch
from transformers import Qwen2_5_VLModel


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def inputs_of(model, tokens, pixels):
    with open(tokens, encoding="utf-8") as file:
        ids = torch.tensor(json.load(file)["input_ids"])
    with h5py.File(pixels) as file:
        group = file["image/0"]
        values, grid = torch.from_numpy(group["pixel_values"][:]), torch.from_numpy(group["image_grid_thw"][:].astype(np.int64))
    kinds = (ids == model.config.image_token_id).int()
    return dict(input_ids=ids, pixel_values=values, image_grid_thw=grid, mm_token_type_ids=kinds, use_cache=False)


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--attention", choices=("eager", "sdpa"), required=True)
    parser.add_argument("--tokens", nargs=2, required=True, help="of a small prompt to warm up with, and of the measured one")
    parser.add_argument("--pixels", nargs=2, required=True, help="likewise, as `ropescope preprocess` writes them")
    parser.add_argument("--queries", type=int, required=True, help="the last N tokens")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = Qwen2_5_VLModel.from_pretrained(
        args.model, dtype=torch.float32, attn_implementation={"text_config": args.attention, "vision_config": "sdpa"}).eval()
    seeing, see = [0.0], model.visual.forward

    def timed(*positional, **named):
        start = time.perf_counter()
        result = see(*positional, **named)
        seeing[0] += time.perf_counter() - start
        return result

    model.visual.forward = timed
    shows = args.attention == "eager"
    model(**inputs_of(model, args.tokens[0], args.pixels[0]), output_attentions=shows)  # warm-up, and every weight read
    inputs = inputs_of(model, args.tokens[1], args.pixels[1])
    loaded, seeing[0] = resident_bytes(), 0.0
    start = time.perf_counter()
    shown = model(**inputs, output_attentions=shows)
    rows = np.stack([layer[0, :, -args.queries:].numpy() for layer in shown.attentions]) if shows else None
    seconds = time.perf_counter() - start
    if shows:
        with h5py.File(args.output, "w") as file:
            file["rows"] = rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump({"seconds": seconds - seeing[0], "vision_seconds": seeing[0], "peak_bytes": peak, "loaded_bytes": loaded}, sys.stdout)


if __name__ == "__main__":
    main()
