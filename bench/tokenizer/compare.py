#!/usr/bin/env python3
"""ropescope's byte-level BPE against the Hugging Face fast tokenizer: same vocabulary, same documents, one thread.

    compare.py TOKENIZER_SPEED MODEL.gguf CORPUS_STEM [REPEATS]

Both encode document by document; times are CPU seconds, so that a busy machine disturbs little. The ids are compared
by a checksum. CORPUS_STEM is a dictd dictionary without its endings.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "decay"))

import gguf  # noqa: E402
import tokenizers  # noqa: E402
from corpus import dictd_entries  # noqa: E402
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers  # noqa: E402


def fast_tokenizer(path):
    """The fast tokenizer of a GGUF file whose pre-tokenizer is smollm."""
    fields = gguf.GGUFReader(path).fields
    value = lambda key: fields["tokenizer.ggml." + key].contents()
    if value("pre") != "smollm":
        raise SystemExit(f"{path}: expected tokenizer.ggml.pre smollm")
    tokens = value("tokens")
    merges = [tuple(m.split(" ")) for m in value("merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    special = [t for t, kind in zip(tokens, value("token_type")) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    return tokenizer


def measure(tokenizer, texts, repeats):
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        # The fast form leaves out character offsets, which ropescope does not make either.
        ids = [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        seconds.append(time.process_time() - start)
    checksum = 0
    for text_ids in ids:
        for i in text_ids:
            checksum = (checksum * 31 + i) % 2**64
    return sum(map(len, ids)), checksum, seconds


def main():
    program, model, stem = sys.argv[1:4]
    repeats = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    ours = json.loads(subprocess.run([program, model, stem, str(repeats)], check=True, capture_output=True).stdout)
    start = time.process_time()
    tokenizer = fast_tokenizer(model)
    load = time.process_time() - start
    tokens, checksum, seconds = measure(tokenizer, dictd_entries(stem), repeats)
    if (tokens, checksum) != (ours["tokens"], ours["checksum"]):
        raise SystemExit(f"ids differ: {ours['tokens']} and {tokens} tokens")
    print(f"{ours['texts']} documents, {ours['bytes'] / 1e6:.2f} MB, {tokens} tokens; ids equal; {repeats} repeats, one thread")
    print(f"{'':<24}{'M tokens/s':>12}{'(worst)':>10}{'MB/s':>8}{'load s':>9}")
    for name, times, loading in (("ropescope", ours["seconds"], ours["load_seconds"]),
                                 (f"tokenizers {tokenizers.__version__}", seconds, load)):
        middle = statistics.median(times)
        print(f"{name:<24}{tokens / middle / 1e6:>12.2f}{tokens / max(times) / 1e6:>10.2f}"
              f"{ours['bytes'] / middle / 1e6:>8.1f}{loading:>9.2f}")
    print(f"ratio {statistics.median(seconds) / statistics.median(ours['seconds']):.1f}")


main()
