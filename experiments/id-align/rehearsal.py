#!/usr/bin/env python3
"""Writes what rehearsal.sh trains: Vicuna-7B's and CLIP-L/14-336's real widths with random weights and few decoder layers.

Only the standard library is needed. Weights are normal with standard deviation 0.02, drawn once and repeated with another
start in each tensor: a rehearsal asks for the machine's behaviour, not for the model's.
"""

import array
import json
import os
import random
import struct
import sys

HIDDEN, INNER, HEADS, VOCABULARY = 4096, 11008, 32, 32000
TOWER_HIDDEN, TOWER_INNER, TOWER_LAYERS, TOWER_HEADS, PATCH, SIDE = 1024, 4096, 24, 16, 14, 336
BLOCK = 1 << 20


def write_tensors(path, tensors):
    header, offset = {}, 0
    for name, shape in tensors:
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = random.Random(0)
    block = array.array("f", (rng.gauss(0.0, 0.02) for _ in range(BLOCK))).tobytes() * 2
    ones = array.array("f", [1.0]) * BLOCK
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, _ in tensors:
            left = header[name]["data_offsets"][1] - header[name]["data_offsets"][0]
            norm = "norm" in name and name.endswith("weight")
            while left > 0:
                piece = min(left, 4 * BLOCK)
                start = 4 * rng.randrange(BLOCK)
                file.write(ones.tobytes()[:piece] if norm else block[start : start + piece])
                left -= piece


def decoder(folder, layers):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER}
    config |= {"num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "hidden_act": "silu"}
    config |= {"vocab_size": VOCABULARY, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}
    config |= {"tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    tensors = [("model.embed_tokens.weight", [VOCABULARY, HIDDEN])]
    for layer in range(layers):
        start = f"model.layers.{layer}."
        tensors += [(start + f"self_attn.{name}_proj.weight", [HIDDEN, HIDDEN]) for name in "qkvo"]
        tensors += [(start + f"mlp.{name}_proj.weight", [INNER, HIDDEN]) for name in ("gate", "up")]
        tensors.append((start + "mlp.down_proj.weight", [HIDDEN, INNER]))
        tensors += [(start + f"{name}_layernorm.weight", [HIDDEN]) for name in ("input", "post_attention")]
    tensors += [("model.norm.weight", [HIDDEN]), ("lm_head.weight", [VOCABULARY, HIDDEN])]
    write_tensors(os.path.join(folder, "model.safetensors"), tensors)


def tower(folder):
    config = {"model_type": "clip_vision_model", "hidden_size": TOWER_HIDDEN, "intermediate_size": TOWER_INNER}
    config |= {"num_hidden_layers": TOWER_LAYERS, "num_attention_heads": TOWER_HEADS, "image_size": SIDE, "patch_size": PATCH}
    config |= {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_channels": 3, "projection_dim": 768}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    start, c = "vision_model.", TOWER_HIDDEN
    tokens = (SIDE // PATCH) ** 2 + 1
    tensors = [(start + "embeddings.class_embedding", [c])]
    tensors.append((start + "embeddings.patch_embedding.weight", [c, 3, PATCH, PATCH]))
    tensors.append((start + "embeddings.position_embedding.weight", [tokens, c]))
    tensors += [(start + f"pre_layrnorm.{part}", [c]) for part in ("weight", "bias")]
    for layer in range(TOWER_LAYERS):
        at = start + f"encoder.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            tensors += [(at + f"self_attn.{name}.weight", [c, c]), (at + f"self_attn.{name}.bias", [c])]
        for name in ("layer_norm1", "layer_norm2"):
            tensors += [(at + f"{name}.{part}", [c]) for part in ("weight", "bias")]
        tensors += [(at + "mlp.fc1.weight", [TOWER_INNER, c]), (at + "mlp.fc1.bias", [TOWER_INNER])]
        tensors += [(at + "mlp.fc2.weight", [c, TOWER_INNER]), (at + "mlp.fc2.bias", [c])]
    tensors += [(start + f"post_layernorm.{part}", [c]) for part in ("weight", "bias")]
    write_tensors(os.path.join(folder, "model.safetensors"), tensors)


def rows(folder, image, count):
    answer = "A rehearsal says nothing new. " * 8
    data = []
    for row in range(count):
        turns = [{"from": "human", "value": f"<image>\nWhat is on picture {row}?"}, {"from": "gpt", "value": answer}]
        data.append({"id": f"row-{row}", "image": image, "conversations": turns})
    with open(os.path.join(folder, "rows.json"), "w", encoding="utf-8") as file:
        json.dump(data, file)


def main():
    folder, layers, image, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    for name in ("decoder", "tower"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    decoder(os.path.join(folder, "decoder"), layers)
    tower(os.path.join(folder, "tower"))
    rows(folder, image, count)


if __name__ == "__main__":
    main()
