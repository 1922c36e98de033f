#!/usr/bin/env python3
"""Writes a model folder of a known model's shape with random weights: what a run costs depends on shapes only.

  make_model.py --form vicuna-7b --layers 6 --container safetensors --output DIR

Containers: safetensors (float16, shards of 2 GB), bin (PyTorch shards, float16), gguf (Q4_K and Q6_K blocks as llama.cpp's
Q4_K_M mixes them; random blocks with small scales). The tokenizer is that of the tests' tiny models.
"""

import argparse
import json
import os
import shutil

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TINY = os.path.join(ROOT, "tests", "golden", "language")

FORMS = {
    "vicuna-7b": dict(model_type="llama", hidden_size=4096, intermediate_size=11008, num_attention_heads=32,
                      num_key_value_heads=32, num_hidden_layers=32, vocab_size=32000, rms_norm_eps=1e-5,
                      rope_theta=10000.0, max_position_embeddings=4096),
    "qwen2.5-7b": dict(model_type="qwen2", hidden_size=3584, intermediate_size=18944, num_attention_heads=28,
                       num_key_value_heads=4, num_hidden_layers=28, vocab_size=152064, rms_norm_eps=1e-6,
                       rope_theta=1000000.0, max_position_embeddings=32768),
}
FORMS["llava-7b"] = FORMS["vicuna-7b"]  # the decoder of LLaVA-NeXT-Vicuna-7B; its tower is CLIP ViT-L/14 at 336 pixels
TOWER = dict(model_type="clip_vision_model", hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
             num_attention_heads=16, image_size=336, patch_size=14, projection_dim=768)
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
SHARD_BYTES = 2 << 30


def shapes(config):
    """(name, shape, scale); scale 0: ones."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = hidden // config["num_attention_heads"]
    keys = config["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden), 1.0
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (hidden,), 0
        for name, out in (("q", hidden), ("k", keys), ("v", keys)):
            yield at + f"self_attn.{name}_proj.weight", (out, hidden), hidden**-0.5
            if config["model_type"] == "qwen2":
                yield at + f"self_attn.{name}_proj.bias", (out,), 0.1
        yield at + "self_attn.o_proj.weight", (hidden, hidden), hidden**-0.5
        yield at + "post_attention_layernorm.weight", (hidden,), 0
        for name in ("gate", "up"):
            yield at + f"mlp.{name}_proj.weight", (inner, hidden), hidden**-0.5
        yield at + "mlp.down_proj.weight", (hidden, inner), inner**-0.5
    yield "model.norm.weight", (hidden,), 0
    yield "lm_head.weight", (config["vocab_size"], hidden), hidden**-0.5


def tower_shapes(hidden):
    """The same for tower, projector and newline in the names of the hub's folders."""
    c, inner, at = TOWER["hidden_size"], TOWER["intermediate_size"], "vision_tower.vision_model."
    patches = (TOWER["image_size"] // TOWER["patch_size"]) ** 2
    yield at + "embeddings.class_embedding", (c,), 0.02
    yield at + "embeddings.patch_embedding.weight", (c, 3, TOWER["patch_size"], TOWER["patch_size"]), 0.02
    yield at + "embeddings.position_embedding.weight", (patches + 1, c), 0.02

    def affine(name, out, size, scale):
        yield name + ".weight", (out, size) if size else (out,), scale
        yield name + ".bias", (out,), 0.01

    yield from affine(at + "pre_layrnorm", c, None, 0)
    for layer in range(TOWER["num_hidden_layers"]):
        here = at + f"encoder.layers.{layer}."
        for norm in ("layer_norm1", "layer_norm2"):
            yield from affine(here + norm, c, None, 0)
        for name in ("q", "k", "v", "out"):
            yield from affine(here + f"self_attn.{name}_proj", c, c, c**-0.5)
        yield from affine(here + "mlp.fc1", inner, c, c**-0.5)
        yield from affine(here + "mlp.fc2", c, inner, inner**-0.5)
    yield from affine(at + "post_layernorm", c, None, 0)
    yield from affine("multi_modal_projector.linear_1", hidden, c, c**-0.5)
    yield from affine("multi_modal_projector.linear_2", hidden, hidden, hidden**-0.5)
    yield "image_newline", (hidden,), 0.02


def all_shapes(config, form):
    sees = form == "llava-7b"
    for name, shape, scale in shapes(config):
        yield ("language_model." + name if sees else name), shape, scale
    if sees:
        yield from tower_shapes(config["hidden_size"])


class Numbers:
    """Gaussian numbers of one block, taken again from another place each time: making billions afresh takes minutes."""

    def __init__(self):
        self.block = np.random.default_rng(0).standard_normal(1 << 24, dtype=np.float32)
        self.scaled = {}
        self.at = 0

    def take(self, shape, scale):
        if scale == 0:
            return np.ones(shape, np.float16)
        if scale not in self.scaled:
            self.scaled[scale] = (self.block * scale).astype(np.float16)
        numbers, count = self.scaled[scale], int(np.prod(shape))
        self.at = (self.at + 7919) % (1 << 20)
        start = numbers[self.at : self.at + count]
        return (start if len(start) == count else np.resize(np.roll(numbers, -self.at), count)).reshape(shape)


def write_folder(config, args, save, suffix, index_name):
    numbers, shard, size, where, files = Numbers(), {}, 0, {}, 0

    def flush():
        nonlocal shard, size, files
        if shard:
            files += 1
            name = f"model-{files:05d}{suffix}"
            save(shard, os.path.join(args.output, name))
            where.update({tensor: name for tensor in shard})
        shard, size = {}, 0

    for name, shape, scale in all_shapes(config, args.form):
        shard[name] = numbers.take(shape, scale)
        size += shard[name].nbytes
        if size > SHARD_BYTES:
            flush()
    flush()
    with open(os.path.join(args.output, index_name), "w", encoding="utf-8") as file:
        json.dump({"metadata": {}, "weight_map": where}, file)
    architecture = "LlamaForCausalLM" if config["model_type"] == "llama" else "Qwen2ForCausalLM"
    settings = {**config, "architectures": [architecture], "hidden_act": "silu", "tie_word_embeddings": False,
                "torch_dtype": "float16", "bos_token_id": 1, "eos_token_id": 2}
    if args.form == "llava-7b":
        settings = {"architectures": ["LlavaNextForConditionalGeneration"], "model_type": "llava_next", "ignore_index": -100,
                    "image_token_index": config["vocab_size"] - 1, "image_grid_pinpoints": PINPOINTS,
                    "projector_hidden_act": "gelu", "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
                    "use_image_newline_parameter": True, "tie_word_embeddings": False, "torch_dtype": "float16",
                    "vision_config": TOWER, "text_config": settings}
    with open(os.path.join(args.output, "config.json"), "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=1)
    if args.form == "llava-7b":
        tiny = os.path.join(TINY, "../vision/conversations/llama-tiny")
    else:
        tiny = os.path.join(TINY, "llama-tiny/safetensors-fp32" if config["model_type"] == "llama"
                            else "qwen2-tiny/safetensors-bf16-tied")
    for name in os.listdir(tiny):
        if name.startswith(("tokenizer", "vocab", "merges", "special")):
            shutil.copy(os.path.join(tiny, name), args.output)


def save_bin(tensors, path):
    import torch

    torch.save({name: torch.from_numpy(values) for name, values in tensors.items()}, path)


def save_safetensors(tensors, path):
    from safetensors.numpy import save_file

    save_file(tensors, path, metadata={"format": "pt"})


def random_blocks(rng, shape, kind):
    """Raw Q4_K or Q6_K blocks of 256 numbers: any bytes are valid, but scales have to be small."""
    from gguf import GGML_QUANT_SIZES

    numbers, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (int(np.prod(shape)) // numbers, size), dtype=np.uint8)
    small = np.frombuffer(np.float16(2e-4).tobytes(), np.uint8)
    if kind.name == "Q4_K":
        blocks[:, 0:2], blocks[:, 2:4] = small, small  # d, dmin
    else:
        blocks[:, -2:] = small
    return blocks.reshape(shape[0], -1)


def write_gguf(config, args):
    import gguf

    arch = config["model_type"]
    path = os.path.join(args.output, "model-Q4_K_M.gguf")
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    tiny = "llama-tiny" if arch == "llama" else "qwen2-tiny"
    source = gguf.GGUFReader(os.path.join(TINY, tiny, "gguf", f"{tiny}-Q8_0.gguf"))
    for key, field in source.fields.items():
        if key.startswith("tokenizer."):
            sub_type = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), field.types[0], sub_type)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA if arch == "llama" else gguf.MODEL_ARCH.QWEN2, config["num_hidden_layers"])
    rng, kinds = np.random.default_rng(0), gguf.GGMLQuantizationType
    cache = {}
    for name, shape, scale in shapes(config):
        stem, end = name.rsplit(".", 1)
        target = names.get_name(stem) + "." + end
        if len(shape) == 1:
            values = np.ones(shape, np.float32) if scale == 0 else rng.standard_normal(shape).astype(np.float32) * scale
            writer.add_tensor(target, values)
            continue
        kind = kinds.Q6_K if name.endswith(("v_proj.weight", "down_proj.weight", "lm_head.weight")) else kinds.Q4_K
        if (shape, kind) not in cache:
            cache[shape, kind] = random_blocks(rng, shape, kind)
        writer.add_tensor(target, cache[shape, kind], raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=FORMS, default="vicuna-7b")
    parser.add_argument("--layers", type=int, help="fewer than the model has")
    parser.add_argument("--container", choices=("safetensors", "bin", "gguf"), default="safetensors")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    config = dict(FORMS[args.form])
    config["num_hidden_layers"] = args.layers or config["num_hidden_layers"]
    os.makedirs(args.output, exist_ok=True)
    if args.container == "gguf" and args.form == "llava-7b":
        parser.error("--container gguf: expected a form without a vision tower")
    if args.container == "gguf":
        write_gguf(config, args)
    elif args.container == "bin":
        write_folder(config, args, save_bin, ".bin", "pytorch_model.bin.index.json")
    else:
        write_folder(config, args, save_safetensors, ".safetensors", "model.safetensors.index.json")


if __name__ == "__main__":
    main()
