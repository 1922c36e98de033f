#!/usr/bin/env python3
"""Writes a folder of Qwen2.5-VL's shape with random weights, a picture of noise and a prompt: what a run costs depends on shapes only.

  make_vlm.py --output DIR [--layers 4] [--blocks 4] [--side 64]

Widths are those of Qwen2.5-VL-3B (hidden 2048, MLP 11008, 16 heads over 2, tower 1280 with MLP 3420); layers and the tower's blocks are
fewer, and so is the vocabulary. The last block of the tower sees whole pictures, the others windows. The picture becomes
side x side tokens. Tokenizer and processor are those of the tests' tiny model, but for sizes.
"""

import argparse
import json
import os
import shutil

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(os.path.dirname(os.path.dirname(HERE)), "tests", "golden", "vlm", "qwen2_5_vl")
HIDDEN, INNER, HEADS, KEYS = 2048, 11008, 16, 2
TOWER, TOWER_INNER, TOWER_HEADS, PATCH, MERGE = 1280, 3420, 16, 14, 2


def shapes(layers, blocks, vocabulary):
    """(name, shape, scale); scale 0: ones."""
    head = HIDDEN // HEADS
    yield "model.embed_tokens.weight", (vocabulary, HIDDEN), 1.0
    for layer in range(layers):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (HIDDEN,), 0
        for name, out in (("q", HIDDEN), ("k", KEYS * head), ("v", KEYS * head)):
            yield at + f"self_attn.{name}_proj.weight", (out, HIDDEN), HIDDEN**-0.5
            yield at + f"self_attn.{name}_proj.bias", (out,), 0.1
        yield at + "self_attn.o_proj.weight", (HIDDEN, HIDDEN), HIDDEN**-0.5
        yield at + "post_attention_layernorm.weight", (HIDDEN,), 0
        for name in ("gate", "up"):
            yield at + f"mlp.{name}_proj.weight", (INNER, HIDDEN), HIDDEN**-0.5
        yield at + "mlp.down_proj.weight", (HIDDEN, INNER), INNER**-0.5
    yield "model.norm.weight", (HIDDEN,), 0
    yield "lm_head.weight", (vocabulary, HIDDEN), HIDDEN**-0.5
    yield "visual.patch_embed.proj.weight", (TOWER, 3, 2, PATCH, PATCH), 0.02
    for block in range(blocks):
        at = f"visual.blocks.{block}."
        yield at + "norm1.weight", (TOWER,), 0
        yield at + "norm2.weight", (TOWER,), 0
        for name, out, size in (("attn.qkv", 3 * TOWER, TOWER), ("attn.proj", TOWER, TOWER), ("mlp.gate_proj", TOWER_INNER, TOWER),
                                ("mlp.up_proj", TOWER_INNER, TOWER), ("mlp.down_proj", TOWER, TOWER_INNER)):
            yield at + name + ".weight", (out, size), size**-0.5
            yield at + name + ".bias", (out,), 0.01
    yield "visual.merger.ln_q.weight", (TOWER,), 0
    merged = TOWER * MERGE * MERGE
    for name, out in (("mlp.0", merged), ("mlp.2", HIDDEN)):
        yield f"visual.merger.{name}.weight", (out, merged), merged**-0.5
        yield f"visual.merger.{name}.bias", (out,), 0.01


def settings_of(args):
    with open(os.path.join(TINY, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config["text_config"].update(hidden_size=HIDDEN, intermediate_size=INNER, num_attention_heads=HEADS, num_key_value_heads=KEYS,
                                 num_hidden_layers=args.layers, layer_types=["full_attention"] * args.layers,
                                 max_position_embeddings=32768)
    config["text_config"]["rope_parameters"]["mrope_section"] = [16, 24, 24]
    config["vision_config"].update(depth=args.blocks, hidden_size=TOWER, intermediate_size=TOWER_INNER, num_heads=TOWER_HEADS,
                                   out_hidden_size=HIDDEN, patch_size=PATCH, window_size=112, fullatt_block_indexes=[args.blocks - 1])
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--side", type=int, default=64, help="tokens a side of the picture")
    args = parser.parse_args()
    os.makedirs(args.output, exist_ok=True)
    config = settings_of(args)
    path = lambda name: os.path.join(args.output, name)
    with open(path("config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(TINY, name), args.output)
    with open(os.path.join(TINY, "processor_config.json"), encoding="utf-8") as file:
        processor = json.load(file)
    processor["image_processor"].update(patch_size=PATCH, size={"shortest_edge": (PATCH * MERGE) ** 2, "longest_edge": 1 << 24})
    processor["video_processor"].update(patch_size=PATCH)
    with open(path("processor_config.json"), "w", encoding="utf-8") as file:
        json.dump(processor, file, indent=1)
    rng, tensors = np.random.default_rng(0), {}
    for name, shape, scale in shapes(args.layers, args.blocks, config["text_config"]["vocab_size"]):
        tensors[name] = np.ones(shape, np.float32) if scale == 0 else rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
    save_file(tensors, path("model.safetensors"), metadata={"format": "pt"})
    side = args.side * PATCH * MERGE
    for name, pixels, tokens in (("picture", side, args.side**2), ("small", PATCH * MERGE, 1)):
        Image.fromarray(rng.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)).save(path(name + ".png"))
        ids = [5, config["vision_start_token_id"]] + [config["image_token_id"]] * tokens + [config["vision_end_token_id"]]
        ids += rng.integers(0, 200, 80).tolist()
        with open(path(name + ".json"), "w", encoding="utf-8") as file:
            json.dump({"input_ids": [ids]}, file)


if __name__ == "__main__":
    main()
