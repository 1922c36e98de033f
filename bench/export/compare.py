"""Loads exported models with transformers and compares their logits with ropescope's."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlavaNextForConditionalGeneration

TOLERANCE = 1e-4
VOCABULARY = 704  # of the tokenizer that the tiny LLaVA models are given


def run(program, *arguments):
    subprocess.run([str(program), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def llava_folder(golden, name, tokenizer, folder):
    """A golden LLaVA-NeXT model with a vocabulary that a tokenizer fits."""
    source = golden / "vision" / name
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    text = config.get("text_config", config)
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    for key, value in tensors.items():
        if value.dim() == 2 and value.shape[0] == text["vocab_size"]:
            more = torch.randn(VOCABULARY, value.shape[1], generator=generator) * value.std()
            more[: value.shape[0]] = value
            tensors[key] = more
    save_file(tensors, folder / "model.safetensors")
    text["vocab_size"] = VOCABULARY
    if "image_token_index" in config:
        config["image_token_index"] = VOCABULARY - 1
    (folder / "config.json").write_text(json.dumps(config))
    for file in (golden / "vision" / "conversations" / tokenizer).iterdir():
        if file.name != "probe.json":
            shutil.copy(file, folder)


def train(program, work, model, images):
    """A few steps, so that what is exported is not what was there before."""
    if images is not None:
        rows = [{"id": str(i), "image": name,
                 "conversations": [{"from": "human", "value": "<image>\nWhat is this?"},
                                   {"from": "gpt", "value": f"Number {i}."}]}
                for i, name in enumerate(("gray_37x53.png", "cmyk_40x31.jpg", "rgba_64x41.png"))]
        data = work / "data.json"
        data.write_text(json.dumps(rows))
        more = ["--image-folder", images]
    else:
        data = work / "texts.jsonl"
        data.write_text("\n".join(json.dumps({"text": f"Text number {i * 37} of a small corpus."}) for i in range(8)))
        more = []
    run(program, "train", "--model", model, "--data", data, "--learning-rate", "1e-3", "--max-steps", "3",
        "--output", work / "run", *more)
    run(program, "export", "--checkpoint", work / "run", "--output", work / "exported")
    return work / "exported"


def trace(program, work, model, ids, pixels):
    """ropescope's logits of one row."""
    tokens, output = work / "tokens.json", work / "trace.h5"
    tokens.write_text(json.dumps({"input_ids": [ids]}))
    more = ["--pixels", pixels] if pixels is not None else []
    run(program, "trace", "--model", model, "--tokens", tokens, "--dump", "logits", "--output", output, "--force", *more)
    with h5py.File(output) as file:
        return torch.from_numpy(numpy.asarray(file["trace/logits"][0]))


def load(kind, folder):
    model, report = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32, attn_implementation="eager")
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[what], f"{folder}: {what}: {sorted(report[what])[:8]}"
    return model.eval()


def compare(name, found, expected):
    worst = (found - expected).abs().max().item()
    spread = expected.std().item()
    print(f"{name:<38} logits {tuple(expected.shape)}, spread {spread:.3f}, worst difference {worst:.2e}")
    assert worst < TOLERANCE, f"{name}: {worst}"


def check_text(program, work, golden, source):
    exported = train(program, work, golden / "language" / source, None)
    model = load(AutoModelForCausalLM, exported)
    ids = [(17 * i + 5) % 300 for i in range(24)]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    compare(source, trace(program, work, exported, ids, None), logits)


def check_llava(program, work, golden, source, tokenizer):
    folder = work / "model"
    llava_folder(golden, source, tokenizer, folder)
    images = golden / "vision" / "preprocess" / "synthetic"
    exported = train(program, work, folder, images)
    model = load(LlavaNextForConditionalGeneration, exported)
    with torch.no_grad():
        text = [(13 * i + 7) % 300 for i in range(20)]
        logits = model(input_ids=torch.tensor([text])).logits[0]
        compare(source + ", text", trace(program, work, exported, text, None), logits)
        golden_model = golden / "vision" / source.split("/")[0]
        expected = load_file(golden_model / "expected.safetensors")
        pixels, sizes = expected["one_image.pixel_values"], expected["one_image.image_sizes_hw"]
        file = work / "pixels.safetensors"
        save_file({"pixel_values": pixels.contiguous(), "image_sizes_hw": sizes.contiguous()}, file)
        original = expected["one_image.input_ids"].flatten().tolist()
        token = model.config.image_token_index if hasattr(model.config, "image_token_index") else model.config.image_token_id
        ids = [token if i == 180 else i for i in original]
        ids = torch.tensor([ids])
        logits = model(input_ids=ids, pixel_values=pixels, image_sizes=sizes,
                       attention_mask=torch.ones_like(ids)).logits[0]
        compare(source + ", image", trace(program, work, exported, ids[0].tolist(), file), logits)


def main():
    program, golden = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    for source in ("llama-tiny/safetensors-fp32", "qwen2-tiny/safetensors-bf16-tied"):
        with tempfile.TemporaryDirectory() as work:
            check_text(program, pathlib.Path(work), golden, source)
    for source, tokenizer in (("llava-next-tiny-clip-llama", "llama-tiny"),
                              ("llava-next-tiny-clip-llama/original", "llama-tiny"),
                              ("llava-next-tiny-siglip-qwen2", "qwen-tiny")):
        with tempfile.TemporaryDirectory() as work:
            check_llava(program, pathlib.Path(work), golden, source, tokenizer)


main()
