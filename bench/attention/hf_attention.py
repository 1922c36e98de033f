#!/usr/bin/env python3
"""One forward pass of a decoder with transformers; the attention rows of the last query to HDF5 where it shows them.

Prints JSON: seconds of the pass, peak resident bytes, and resident bytes with the model loaded.
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
from transformers import AutoModel


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a .gguf file, or a folder")
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--attention", choices=("eager", "sdpa"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    where = {"pretrained_model_name_or_path": args.model}
    if args.model.endswith(".gguf"):
        folder, name = os.path.split(args.model)
        where = {"pretrained_model_name_or_path": folder, "gguf_file": name}
    model = AutoModel.from_pretrained(**where, dtype=torch.float32, attn_implementation=args.attention).eval()
    with open(args.tokens, encoding="utf-8") as file:
        ids = torch.tensor(json.load(file)["input_ids"])
    model(ids[:, :16])  # warm-up, and every weight read
    loaded = resident_bytes()
    start = time.perf_counter()
    shown = model(ids, use_cache=False, output_attentions=args.attention == "eager")
    if args.attention == "eager":
        rows = np.stack([layer[0, :, -1:].numpy() for layer in shown.attentions])
        with h5py.File(args.output, "w") as file:
            file["rows"] = rows
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump({"seconds": seconds, "peak_bytes": peak, "loaded_bytes": loaded}, sys.stdout)


if __name__ == "__main__":
    main()
