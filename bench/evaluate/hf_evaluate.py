#!/usr/bin/env python3
"""Answers of SmolLM2 with transformers' generate: what `ropescope evaluate` does, as one would write it there.

Reads JSON lines with `prompt`; prints JSON: answers, seconds from the first prompt's tokens to the last answer's text
(loading the model is left out), and peak resident bytes. --batch 1 asks one question at a time, as harnesses do; above, the
questions are sorted by length and padded on the left.
"""

import argparse
import json
import os
import resource
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "decay"))
import torch
from hf_decay import load_model, load_tokenizer
from transformers import AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a .gguf file")
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--max-new-tokens", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = load_tokenizer(args.model)
    model = load_model(args.model, AutoModelForCausalLM)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    how = {"do_sample": False, "num_beams": 1, "use_cache": True, "max_new_tokens": args.max_new_tokens}
    how |= {"eos_token_id": end, "pad_token_id": end}
    with open(args.prompts, encoding="utf-8") as file:
        prompts = [json.loads(line)["prompt"] for line in file]
    tokenizer.pad_token_id, tokenizer.padding_side = end, "left"
    with torch.inference_mode():
        model.generate(**tokenizer(prompts[:1], return_tensors="pt", add_special_tokens=False), **how)  # warm-up
        start = time.perf_counter()
        answers = [None] * len(prompts)
        order = range(len(prompts))
        if args.batch > 1:
            lengths = [len(ids) for ids in tokenizer(prompts, add_special_tokens=False).input_ids]
            order = sorted(order, key=lambda i: -lengths[i])
        for first in range(0, len(prompts), args.batch):
            rows = order[first : first + args.batch]
            inputs = tokenizer([prompts[i] for i in rows], return_tensors="pt", padding=True, add_special_tokens=False)
            ids = model.generate(**inputs, **how)[:, inputs.input_ids.shape[1] :]
            for i, text in zip(rows, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True):
                answers[i] = text
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump({"answers": answers, "seconds": seconds, "peak_bytes": peak}, sys.stdout)


if __name__ == "__main__":
    main()
