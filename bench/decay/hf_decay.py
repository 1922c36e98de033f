#!/usr/bin/env python3
"""Long-range decay with Hugging Face transformers: the peer of `ropescope decay` in bench/decay.

Written as a careful user would: LlamaModel without the language-model head, sdpa attention, inference mode, no cache,
texts batched by length, query and key vectors picked inside hooks on q_proj and k_proj, so that nothing else is kept.

  job     GGUF file + texts + picks -> curves in an HDF5 file (timed from outside, as a whole process)
  stages  times of loading, forward passes and curves inside one process, as JSON on stdout
  export  writes the same weights as a safetensors folder
"""

import argparse
import csv
import json
import os
import resource
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")

import h5py
import numpy as np
import torch
import transformers
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def load_model(path, kind=AutoModel):
    """float32 decoder from a GGUF file or a folder, without head unless `kind` has one."""
    where = {"pretrained_model_name_or_path": path}
    if path.endswith(".gguf"):
        folder, name = os.path.split(path)
        where = {"pretrained_model_name_or_path": folder, "gguf_file": name}
    return kind.from_pretrained(**where, dtype=torch.float32, attn_implementation="sdpa").eval()


def is_smollm(path):
    return "smollm" in os.path.basename(path).lower()


def load_tokenizer(path):
    folder, name = os.path.split(path)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    if not is_smollm(path):
        return tokenizer
    # The tokenizer that transformers makes from a GGUF file leaves out the first step of SmolLM2's pre-tokeniser
    # (each digit by itself); with it, ids are those of the model's own tokenizer.json.
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def read_token_ids(tokenizer, path, max_tokens):
    with open(path, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    # SmolLM2's file asks for no start token; Gemma's does.
    special = "gemma" in type(tokenizer).__name__.lower()
    return [ids[:max_tokens] for ids in tokenizer(texts, add_special_tokens=special).input_ids]


def read_picks(path):
    """int64 columns text, layer, head, query, key."""
    with open(path, newline="", encoding="utf-8") as lines:
        rows = [[int(row[c]) for c in ("text", "layer", "head", "query", "key")] for row in csv.DictReader(lines)]
    return torch.tensor(rows, dtype=torch.int64)


def make_batches(texts, batch_tokens):
    """Groups of text numbers, sorted by length so that little is padded; a group holds at most batch_tokens with padding."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    batches, group = [], []
    for i in order:
        if group and (len(group) + 1) * len(texts[group[0]]) > batch_tokens:
            batches.append(group)
            group = []
        group.append(i)
    return batches + [group]


def pad_batch(texts, group, pad):
    """(input_ids, attention_mask or None) of a group, padded on the right."""
    longest = max(len(texts[i]) for i in group)
    ids = torch.full((len(group), longest), pad, dtype=torch.int64)
    mask = torch.zeros((len(group), longest), dtype=torch.int64)
    for row, i in enumerate(group):
        ids[row, : len(texts[i])] = torch.tensor(texts[i])
        mask[row, : len(texts[i])] = 1
    return ids, None if bool(mask.all()) else mask


class PairHooks:
    """Picks query and key vectors out of each layer's projections, before rotation."""

    def __init__(self, model, picks):
        self.picks = picks
        config = model.config
        self.head_dim = config.head_dim
        self.group = config.num_attention_heads // config.num_key_value_heads
        self.q = torch.empty(len(picks), self.head_dim)
        self.k = torch.empty(len(picks), self.head_dim)
        self.current = []
        self.handles = []
        for index, layer in enumerate(model.layers):
            attention = layer.self_attn
            # A norm of queries and keys comes before the rotation, on [batch, heads, tokens, head_dim].
            normed = hasattr(attention, "q_norm")
            q, k = (attention.q_norm, attention.k_norm) if normed else (attention.q_proj, attention.k_proj)
            self.handles.append(q.register_forward_hook(self._hook(index, self.q, 3, 1, normed)))
            self.handles.append(k.register_forward_hook(self._hook(index, self.k, 4, self.group, normed)))

    def select(self, group, layers):
        """Prepares the picks of the texts of the coming pass."""
        self.current = []
        row_of = torch.full((int(self.picks[:, 0].max()) + 1,), -1)
        row_of[torch.tensor(group)] = torch.arange(len(group))
        rows = row_of[self.picks[:, 0]]
        for layer in range(layers):
            chosen = torch.nonzero((rows >= 0) & (self.picks[:, 1] == layer)).squeeze(1)
            self.current.append((chosen, rows[chosen]))

    def _hook(self, layer, target, token_column, heads_per_vector, normed):
        def hook(_module, _inputs, output):
            chosen, rows = self.current[layer]
            picks = self.picks[chosen]
            heads = picks[:, 2] // heads_per_vector
            by_token = output.transpose(1, 2) if normed else output.unflatten(-1, (-1, self.head_dim))
            target[chosen] = by_token[rows, picks[:, token_column], heads]

        return hook

    def remove(self):
        for handle in self.handles:
            handle.remove()


@torch.inference_mode()
def forward_all(model, texts, groups, hooks):
    for group in groups:
        ids, mask = pad_batch(texts, group, 0)
        hooks.select(group, len(model.layers))
        model(input_ids=ids, attention_mask=mask, use_cache=False)


def inverse_frequencies(theta, head_dim):
    return theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)


@torch.inference_mode()
def curve_by_rotation(q, k, distances, theta, chunk=8):
    """Mean inner product at each distance: the query of every pair is rotated to every distance (causal sign)."""
    half = q.shape[1] // 2
    angle = distances.double()[:, None] * inverse_frequencies(theta, q.shape[1])
    cos, sin = angle.cos().float(), angle.sin().float()
    q1, q2 = q[:, :half], q[:, half:]
    mean = torch.empty(len(distances), dtype=torch.float64)
    for start in range(0, len(distances), chunk):
        c, s = cos[start : start + chunk, None, :], sin[start : start + chunk, None, :]
        rotated = torch.cat((q1 * c - q2 * s, q2 * c + q1 * s), dim=-1)  # [chunk, N, head_dim]
        mean[start : start + chunk] = torch.einsum("mnd,nd->mn", rotated, k).double().mean(dim=1)
    return mean


@torch.inference_mode()
def curve_by_coefficients(q, k, distances, theta):
    """The same from the averages of A = q1 k1 + q2 k2 and B = q2 k1 - q1 k2."""
    q, k = q.double(), k.double()
    half = q.shape[1] // 2
    q1, q2, k1, k2 = q[:, :half], q[:, half:], k[:, :half], k[:, half:]
    a, b = (q1 * k1 + q2 * k2).mean(dim=0), (q2 * k1 - q1 * k2).mean(dim=0)
    angle = distances.double()[:, None] * inverse_frequencies(theta, q.shape[1])
    return angle.cos() @ a - angle.sin() @ b


def job(args):
    tokenizer = load_tokenizer(args.model)
    model = load_model(args.model)
    texts = read_token_ids(tokenizer, args.texts, args.max_tokens)
    hooks = PairHooks(model, read_picks(args.picks))
    forward_all(model, texts, make_batches(texts, args.batch_tokens), hooks)
    distances = torch.arange(args.max_distance + 1)
    curve = curve_by_rotation if args.curve == "rotate" else curve_by_coefficients
    means = [curve(hooks.q, hooks.k, distances, theta) for theta in args.theta]
    with h5py.File(args.output, "w") as file:
        file["decay/distance"] = distances.numpy()
        file["decay/theta"] = np.array(args.theta)
        file["decay/mean"] = torch.stack(means).numpy()
        file["pairs/q"], file["pairs/k"] = hooks.q.numpy(), hooks.k.numpy()
        file["texts/tokens"] = np.array([len(text) for text in texts])


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


@torch.inference_mode()
def touch(model):
    """Reads every weight once: a lazily mapped file is not loaded before that."""
    return sum(float(parameter.sum()) for parameter in model.parameters())


def stages(args):
    report = {}
    seconds, model = timed(load_model, args.model)
    report["load_gguf_s"] = seconds
    report["load_gguf_touch_s"] = seconds + timed(touch, model)[0]
    texts = read_token_ids(load_tokenizer(args.model), args.texts, args.max_tokens)[: args.stage_texts]
    del model
    seconds, model = timed(load_model, args.safetensors)
    report["load_safetensors_s"] = seconds
    report["load_safetensors_touch_s"] = seconds + timed(touch, model)[0]

    picks = read_picks(args.picks)
    hooks = PairHooks(model, picks)
    single = [[i] for i in range(len(texts))]
    many = make_batches(texts, args.batch_tokens)
    forward_all(model, texts, single[:2], hooks)  # warm-up
    report["forward_tokens"] = sum(len(text) for text in texts)
    report["forward_single_s"] = timed(forward_all, model, texts, single, hooks)[0]
    report["forward_many_s"] = timed(forward_all, model, texts, many, hooks)[0]
    hooks.remove()

    with h5py.File(args.pairs, "r") as file:
        q, k = torch.from_numpy(file["pairs/q"][:]), torch.from_numpy(file["pairs/k"][:])
    distances = torch.arange(args.curve_distances)
    curve_by_rotation(q, k, distances[:8], args.theta[0])
    report["curve_rotate_s"], curve = timed(curve_by_rotation, q, k, distances, args.theta[0])
    report["curve"] = curve.tolist()
    report["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump(report, sys.stdout)


def export(args):
    # With head, since tensor names are those of the whole model. The weights are plain float32 by now, but transformers
    # remembers the GGUF file and would not save them.
    model = load_model(args.model, AutoModelForCausalLM)
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(args.output)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function in (job, stages, export):
        command = commands.add_parser(function.__name__)
        command.set_defaults(function=function)
        command.add_argument("--model", required=True, help="a .gguf file")
        command.add_argument("--threads", type=int, default=os.cpu_count())
        if function is not stages:
            command.add_argument("--output", required=True)
        if function is export:
            continue
        command.add_argument("--texts", required=True, help="JSON lines with `text`")
        command.add_argument("--picks", required=True, help="CSV with text,layer,head,query,key")
        command.add_argument("--max-tokens", type=int, default=512)
        command.add_argument("--batch-tokens", type=int, default=2048, help="padded tokens of one pass")
        command.add_argument("--theta", type=lambda text: [float(x) for x in text.split(",")], default=[1e4])
        if function is job:
            command.add_argument("--max-distance", type=int, default=4096)
            command.add_argument("--curve", choices=("coefficients", "rotate"), default="coefficients")
        else:
            command.add_argument("--safetensors", required=True, help="folder that `export` wrote")
            command.add_argument("--pairs", required=True, help="HDF5 file with /pairs/{q,k}")
            command.add_argument("--stage-texts", type=int, default=20)
            command.add_argument("--curve-distances", type=int, default=256)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.function(args)


if __name__ == "__main__":
    main()
