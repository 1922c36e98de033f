#!/usr/bin/env python3
"""Live models of transformers under a scheme, against the executable's own decoder on the golden tiny models.

Exit code 77 (skipped, for CTest): this Python has no transformers.
"""

import importlib.machinery
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

other = Path(os.environ.get("ROPESCOPE_HF_PYTHON") or Path(__file__).resolve().parents[2] / "bench/.venv-hf/bin/python")
if importlib.util.find_spec("transformers") is None and other.exists() and "ROPESCOPE_TEST_PYTHON" not in os.environ:
    os.execve(other, [str(other), *sys.argv], {**os.environ, "ROPESCOPE_TEST_PYTHON": str(other)})
missing = [name for name in ("torch", "transformers", "safetensors") if importlib.util.find_spec(name) is None]
if missing:
    print(f"skipped: no Python package {', '.join(missing)}; bench/setup-venv.sh installs them (or ROPESCOPE_HF_PYTHON names a Python)")
    sys.exit(77)
folder = Path(importlib.util.find_spec("ropescope").submodule_search_locations[0])
if not any((folder / f"_core{suffix}").exists() for suffix in importlib.machinery.EXTENSION_SUFFIXES):
    print("skipped: ropescope's module is built for another Python than the one with transformers")
    sys.exit(77)

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoConfig, AutoModelForImageTextToText  # noqa: E402

import ropescope  # noqa: E402
import ropescope.transformers  # noqa: E402
from support import GOLDEN, Case, printed  # noqa: E402

TOLERANCE = 2e-4  # of logits between two implementations of these models (tests/golden/vlm/README.md)
PROCESSOR = ("pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw", "second_per_grid_ts", "image_sizes", "batch_num_images", "mm_token_type_ids")

# Schemes that move ids alone, that divide channels otherwise, whose heads differ, whose layers differ.
MODELS = {
    "vision/llava-next-tiny-clip-llama": (["one_image", "two_images"], ["vanilla", "id-align", "id-align+mrope-interleave", "v2pe:delta=0.25", "mhrope:sections=1/1/2"]),
    "vision/llava-next-tiny-siglip-qwen2": (["one_image"], ["id-align", "mrope"]),
    "vlm/internvl": (["one_image", "square_two_by_two", "single_tile"], ["vanilla", "id-align", "id-align+mrope-interleave"]),
    "vlm/llava_onevision": (["one_image"], ["id-align", "mrope"]),
    "vlm/llava": (["one_image"], ["mrope-interleave", "circlerope"]),
    "vlm/qwen2_vl": (["one_image", "image_video"], ["mrope:sections=2/3/3", "vanilla"]),
    "vlm/qwen2_5_vl": (["two_images", "image_video"], ["vanilla", "mrope:sections=2/3/3", "mrope-interleave:sections=2/3/3", "videorope:sections=2/3/3", "circlerope:sections=2/3/3,age=alternate", "v2pe:delta=0.5"]),
    "vlm/qwen3_vl": (["one_image", "image_video"], ["vanilla", "mrope-interleave:sections=4/2/2", "mrope:sections=2/3/3", "circlerope:sections=2/3/3,age=alternate", "xd-rope"]),
}


class Live(Case):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        cls.scratch = tempfile.TemporaryDirectory()
        cls.models, cls.tensors = {}, {}
        for name in MODELS:
            folder = GOLDEN / name
            cls.models[name] = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
            cls.tensors[name] = load_file(folder / "expected.safetensors")

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def inputs(self, name, case):
        """What the processor gives: tensors of a model's call."""
        tensors = self.tensors[name]
        given = {"input_ids": tensors[f"{case}.input_ids"].view(1, -1)}
        for key in PROCESSOR:
            if f"{case}.{key}" in tensors:
                given[key] = tensors[f"{case}.{key}"]
        if f"{case}.image_sizes_hw" in tensors:
            given["image_sizes"] = tensors[f"{case}.image_sizes_hw"]
        if "mm_token_type_ids" in given:
            given["mm_token_type_ids"] = given["mm_token_type_ids"].view(1, -1)
        return given

    def trace(self, name, inputs, scheme, *flags):
        """The same by ropescope's decoder."""
        folder = Path(self.scratch.name)
        (folder / "tokens.json").write_text(json.dumps({"input_ids": inputs["input_ids"].tolist()}))
        pixels = {key: value.contiguous() for key, value in inputs.items() if key not in ("input_ids", "mm_token_type_ids")}
        if str(name).startswith("vision/"):
            pixels["image_sizes_hw"] = pixels.pop("image_sizes")
        save_file(pixels, folder / "pixels.safetensors")
        printed("trace", "--model", GOLDEN / name, "--tokens", folder / "tokens.json", "--pixels", folder / "pixels.safetensors", "--scheme", scheme,
                "--dump", "logits", *flags, "--output", folder / "trace.h5", "--force", "--quiet", "--threads", 1)
        return ropescope.open(folder / "trace.h5")

    def test_logits_are_those_of_our_decoder(self):
        compared, moved = 0, 0
        for name, (cases, schemes) in MODELS.items():
            model = self.models[name]
            for case in cases:
                inputs = self.inputs(name, case)
                with torch.no_grad():
                    before = model(**inputs).logits
                for scheme in schemes:
                    with self.subTest(f"{name} {case} {scheme}"):
                        expected = torch.from_numpy(self.trace(name, inputs, scheme)["/trace/logits"])
                        with torch.no_grad(), ropescope.transformers.use(model, scheme):
                            found = model(**inputs).logits
                        difference = float((found - expected).abs().max())
                        self.assertLess(difference, TOLERANCE)
                        moved += float((found - before).abs().max()) > 10 * TOLERANCE
                        compared += 1
                with torch.no_grad():
                    self.assertTrue(torch.equal(model(**inputs).logits, before), "the block leaves something behind")
        self.assertGreater(compared, 35)
        self.assertGreater(moved, compared // 2)  # else nothing was proven

    def test_generation_goes_on_where_the_scheme_does(self):
        for name, case, scheme in (
            ("vision/llava-next-tiny-clip-llama", "one_image", "id-align"),
            ("vlm/internvl", "one_image", "id-align+mrope-interleave"),
            ("vlm/qwen2_5_vl", "image_video", "v2pe:delta=0.5"),
            ("vision/llava-next-tiny-clip-llama", "one_image", "mhrope:sections=1/1/2"),
            ("vlm/qwen3_vl", "one_image", "mrope:sections=2/3/3"),
            ("vlm/qwen2_5_vl", "two_images", "circlerope:sections=2/3/3,age=alternate"),
        ):
            with self.subTest(f"{name} {scheme}"):
                inputs = self.inputs(name, case)
                expected = self.trace(name, inputs, scheme, "--generate", 8)["/trace/generated"][0]
                model = self.models[name]
                model.generation_config.eos_token_id = None
                with torch.no_grad(), ropescope.transformers.use(model, scheme):
                    found = model.generate(**inputs, max_new_tokens=8, do_sample=False, pad_token_id=0)[0, inputs["input_ids"].shape[1] :]
                self.assertEqual(found.tolist(), expected.tolist()[-8:])

    def test_beams_are_rows_of_one_prompt(self):
        name = "vlm/qwen2_5_vl"
        model, inputs = self.models[name], self.inputs(name, "one_image")
        model.generation_config.eos_token_id = None
        settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
        with torch.no_grad(), ropescope.transformers.use(model, "v2pe:delta=0.5"):
            alone = model.generate(**inputs, **settings)
            twice = model.generate(**inputs, **settings, num_beams=2, num_return_sequences=2)
            with self.assertRaises(ropescope.Error):
                model(input_ids=inputs["input_ids"])  # what one call was given is not the next one's
        self.assertEqual(twice.shape, (2, alone.shape[1]))
        self.assertNotIn("generate", vars(model))

        def likelihood(answer):
            with torch.no_grad(), ropescope.transformers.use(model, "v2pe:delta=0.5"):
                longer = {**inputs, "input_ids": answer[None]}
                if "mm_token_type_ids" in inputs:
                    longer["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, 4))
                rows = model(**longer).logits[0, -5:-1].log_softmax(-1)
            return float(rows.gather(1, answer[-4:, None]).sum())

        # By the whole passes of the same scheme: the best beam is no worse than the greedy answer.
        self.assertGreaterEqual(likelihood(twice[0]), likelihood(alone[0]) - 1e-3)

    def test_padding_moves_nothing(self):
        name, scheme = "vlm/qwen2_5_vl", "mrope-interleave:sections=2/3/3"
        model, inputs = self.models[name], self.inputs(name, "one_image")
        ids, pad = inputs["input_ids"], 4
        padded = torch.cat([torch.zeros(1, pad, dtype=ids.dtype), ids], 1)
        mask = (torch.arange(padded.shape[1]) >= pad).long()[None]
        given = {**inputs, "input_ids": padded, "attention_mask": mask}
        if "mm_token_type_ids" in given:
            given["mm_token_type_ids"] = torch.cat([torch.zeros(1, pad, dtype=torch.long), given["mm_token_type_ids"].long()], 1)
        with torch.no_grad(), ropescope.transformers.use(model, scheme):
            alone, found = model(**inputs).logits, model(**given).logits
        self.assertLess(float((found[:, pad:] - alone).abs().max()), TOLERANCE)

    def random_model(self, family, config, weight_scale):
        """A model of random weights, each times what `weight_scale` gives for its name, and its folder: (folder, model, inputs)."""
        source, folder = GOLDEN / family, Path(self.scratch.name) / f"{family}-{config.text_config.model_type}".replace("/", "-")
        torch.manual_seed(1)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.mul_(weight_scale(name))
        model.save_pretrained(folder)
        for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(source / name, folder)
        return folder, model, self.inputs(family, "one_image")

    def assert_turned_as_by_trace(self, folder, model, inputs, scheme):
        """Under the scheme the logits are our own decoder's, and others than without."""
        expected = torch.from_numpy(self.trace(folder, inputs, scheme)["/trace/logits"])
        with torch.no_grad():
            before = model(**inputs).logits
            with ropescope.transformers.use(model, scheme, folder=folder):
                found = model(**inputs).logits
        size = float(expected.abs().max())
        self.assertLess(float((found - expected).abs().max()), TOLERANCE * max(1, size))
        self.assertGreater(float((before - expected).abs().max()), 0.01 * size)

    def test_heads_that_differ_behind_a_norm_and_in_groups(self):
        """Qwen3-VL norms queries and keys before they turn; two query heads share each of four key heads."""
        config = AutoConfig.from_pretrained(GOLDEN / "vlm/qwen3_vl")
        config.text_config.num_attention_heads, config.text_config.num_key_value_heads = 8, 4
        model = self.random_model("vlm/qwen3_vl", config, lambda name: 3 if "norm" in name and "language" in name else 5 if "proj" in name else 1)
        self.assert_turned_as_by_trace(*model, "mhrope:sections=1/1/2")

    def llava_with(self, decoder):
        """A random LLaVA whose text model is of another family: (folder, model, inputs)."""
        config = AutoConfig.from_pretrained(GOLDEN / "vlm/llava")
        text = json.loads((GOLDEN / "architectures" / decoder / "config.json").read_text(encoding="utf-8"))
        config.text_config = AutoConfig.for_model(**{**text, "vocab_size": config.text_config.vocab_size, "pad_token_id": 0})
        return self.random_model("vlm/llava", config, lambda name: 5 if "proj" in name else 1)

    def test_layers_without_rotation_and_projections_of_other_names(self):
        """SmolLM3 has layers that do not rotate, Phi-3 one projection for queries, keys and values."""
        for decoder in ("smollm3", "phi3-short"):
            with self.subTest(decoder):
                self.assert_turned_as_by_trace(*self.llava_with(decoder), "mrope-interleave:sections=2/2/2")

    def test_text_models_that_cannot_be_turned_are_refused_and_left_as_they_were(self):
        folder, model, _ = self.llava_with("glm4")
        self.sentence(ropescope.UsageError, lambda: ropescope.transformers.use(model, "id-align", folder=folder).__enter__(), "pairs neighbours")
        folder, model, inputs = self.llava_with("phi3-short")
        with torch.no_grad():
            before = model(**inputs).logits
            hooks = lambda: sum(len(part._forward_pre_hooks) + len(part._forward_hooks) for part in model.modules())  # noqa: E731
            own = hooks()  # transformers has some of its own
            self.sentence(ropescope.UsageError, lambda: ropescope.transformers.use(model, "mhrope:sections=1/1/1", folder=folder).__enter__(), "q_proj")
            self.assertEqual(hooks(), own)
            self.assertTrue(torch.equal(model(**inputs).logits, before))

    def test_projections_are_hooked_where_heads_differ(self):
        model = self.models["vision/llava-next-tiny-clip-llama"]
        projection = model.get_decoder().layers[0].self_attn.q_proj
        for scheme, hooks in (("id-align", 0), ("mhrope:sections=1/1/2", 1)):
            with ropescope.transformers.use(model, scheme):
                self.assertEqual(len(projection._forward_hooks), hooks)
        self.assertEqual(len(projection._forward_hooks), 0)

    def test_arguments_by_place(self):
        name = "vision/llava-next-tiny-clip-llama"
        model, inputs = self.models[name], self.inputs(name, "one_image")
        with torch.no_grad(), ropescope.transformers.use(model, "id-align"):
            expected = model(**inputs).logits
            found = model(inputs["input_ids"], inputs["pixel_values"], inputs["image_sizes"]).logits
        self.assertTrue(torch.equal(found, expected))

    def test_half_precision_stays_half_precision(self):
        name = "vision/llava-next-tiny-clip-llama"
        model = AutoModelForImageTextToText.from_pretrained(GOLDEN / name, dtype=torch.bfloat16).eval()
        inputs = self.inputs(name, "one_image")
        inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
        with torch.no_grad(), ropescope.transformers.use(model, "mhrope:sections=1/1/2"):
            found = model(**inputs).logits
        self.assertEqual(found.dtype, torch.bfloat16)
        self.assertTrue(bool(found.isfinite().all()))

    def test_what_cannot_be_done_from_outside_says_so(self):
        model = self.models["vlm/qwen2_5_vl"]
        for scheme in ("dipe", "cca", "pype:interval=1", "alibi"):
            self.sentence(ropescope.UsageError, lambda: ropescope.transformers.use(model, scheme).__enter__(), scheme, "outside", "ropescope generate")

    def test_misuse_is_refused_in_a_sentence(self):
        name = "vlm/qwen2_5_vl"
        model, inputs = self.models[name], self.inputs(name, "one_image")
        with ropescope.transformers.use(model, "vanilla"):
            self.sentence(ropescope.UsageError, lambda: ropescope.transformers.use(model, "mrope").__enter__(), "another block")
            with torch.no_grad():
                embedded = model.get_input_embeddings()(inputs["input_ids"])
                self.sentence(ropescope.UsageError, lambda: model(inputs_embeds=embedded), "input_ids")
                self.sentence(ropescope.InputError, lambda: model(input_ids=inputs["input_ids"]), "image_grid_thw")
        with torch.no_grad():
            cache = model(**inputs, use_cache=True).past_key_values
            with ropescope.transformers.use(model, "vanilla"):
                self.sentence(ropescope.UsageError, lambda: model(input_ids=inputs["input_ids"][:, :1], past_key_values=cache), "empty cache")
        text = {"input_ids": inputs["input_ids"][:, :3]}
        with torch.no_grad(), ropescope.transformers.use(model, "v2pe:delta=0.5"):
            longer, shorter = model(**inputs, use_cache=True).past_key_values, model(**text, use_cache=True).past_key_values
            following = {"input_ids": inputs["input_ids"][:, :1]}
            self.sentence(ropescope.UsageError, lambda: model(**following, past_key_values=longer), "empty cache")  # of the prompt before
            model(**following, past_key_values=shorter)
            model(**inputs, use_cache=True)
            self.sentence(ropescope.UsageError, lambda: model(**following, past_key_values=shorter), "empty cache")
        self.sentence(ropescope.UsageError, lambda: ropescope.transformers.use(Bare(), "vanilla").__enter__(), "expected one of llava_next", "gpt2")


class Bare:
    class config:  # noqa: N801
        model_type = "gpt2"


if __name__ == "__main__":
    unittest.main()
