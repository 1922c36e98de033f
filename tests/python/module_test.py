#!/usr/bin/env python3
"""The module's functions against the command line, bit for bit, and against golden numbers of other implementations."""

import json
import os
import tempfile
import unittest
from pathlib import Path

import numpy as np

import ropescope
from ropescope.command import flags_of
from support import GOLDEN, Case, golden_layouts, golden_records, printed

ANYRES = "text:5,anyres:3x4+6x8,text:7"
SCHEMES = [
    "vanilla",
    "id-align",
    "id-align+mrope-interleave",
    "mrope:sections=16/24/24",
    "mhrope:sections=2/3/3",
    "v2pe:delta=0.5",
    "circlerope:radius=auto",
    "videorope",
    "hope",
    "dipe",
    "rope-dhr",
    "xd-rope",
    "ppe:k=2",
]


def given_layout(text):
    return "text:5,image:4x6,video:3x4x6,text:7" if text.startswith(("circlerope", "xd-rope", "ppe")) else ANYRES


class Positions(Case):
    def test_positions_and_tables_are_the_commands(self):
        scaling = {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 64}
        cases = [(text, {}) for text in SCHEMES] + [("mrope:sections=8/12/12", {"rope_theta": 1e6, "rope_scaling": scaling, "head_dim": 64})]
        for text, settings in cases:
            layout = given_layout(text)
            flags = []
            for name, value in settings.items():
                flags += ["--" + name.replace("_", "-"), json.dumps(value) if isinstance(value, dict) else value]
            with self.subTest(text), tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "p.h5"
                printed("positions", "--scheme", text, "--layout", layout, *flags, "--output", path, "--quiet")
                found, tables = ropescope.positions(text, layout), ropescope.rotary_tables(text, layout, **settings)
                written = ropescope.open(path)
                for name in ("coordinates", "modality", "raster"):
                    self.same_bits(getattr(found, name), written[f"/positions/{name}"])
                self.assertEqual(found.rows, written["/positions/rows"])
                self.assertEqual(found.next, written.attributes("/positions")["next"])
                self.assertEqual(found.anchors is not None, "/positions/anchors" in written)
                if found.anchors is not None:
                    self.same_bits(found.anchors, written["/positions/anchors"])
                self.same_bits(tables.cos[0], written["/rotary/cos"])
                self.same_bits(tables.sin[0], written["/rotary/sin"])
                self.same_bits(tables.inv_freq, written["/rotary/inv_freq"])
                self.same_bits(tables.weights, written["/rotary/weights"])
                self.assertEqual(tables.axis is not None, "/rotary/axis" in written)
                if tables.axis is not None:
                    self.same_bits(tables.axis, written["/rotary/axis"])
                self.assertEqual(tables.attention_scale, written.attributes("/rotary")["attention_scale"])

    def test_criteria_misalignment_and_budget_are_the_commands(self):
        for text in SCHEMES:
            layout = given_layout(text)
            with self.subTest(text):
                line = json.loads(printed("positions", "--scheme", text, "--layout", layout, "--criteria", "--misalignment", "--context", 64, "--json"))
                self.assertEqual(ropescope.criteria(text, layout, context=64), line["criteria"])
                self.assertEqual(ropescope.misalignment(text, layout), {**line["misalignment"], "distances": line["distances"]})
                self.assertEqual(ropescope.budget(text, layout, context=64), line["budget"])

    def test_golden_positions(self):
        layouts, records = golden_layouts(), 0
        for text, name, record in golden_records():
            tolerance = 1e-4 if text.startswith(("v2pe", "circlerope")) else 0
            ids = ropescope.position_ids(text, layouts[name])
            expected = np.array(record["positions"], float)[: len(ids)]
            np.testing.assert_allclose(ids[:, 0], expected, rtol=0, atol=tolerance, err_msg=f"{text} on {name}")
            records += 1
        self.assertGreater(records, 500)

    def test_generated_ids_follow(self):
        ids = ropescope.position_ids("mrope", "text:2,image:2x3,text:2", generated=3)
        self.assertEqual(ids.dtype, np.int64)
        self.assertEqual(ids[:, 0, -5:].tolist(), [[5, 6, 7, 8, 9]] * 3)
        folder = GOLDEN / "language/llama-tiny/safetensors-fp32"
        for prompt in ({"layout": "text:5"}, {"input_ids": [1, 2, 3, 4, 5], "model": folder}):
            self.sentence(ropescope.UsageError, lambda: ropescope.position_ids("vanilla", generated=-3, **prompt), "generated", "-3")

    def test_tables_of_given_ids_take_any_array(self):
        layout = "text:3,image:2x3,text:2"
        ids = ropescope.position_ids("mrope", layout)
        whole = ropescope.rotary_tables("mrope", layout)
        for given in (ids, ids.astype(np.float32), ids.tolist(), OnlyDlpack(ids)):
            self.same_bits(ropescope.rotary_tables("mrope", ids=given).cos, whole.cos)
        rows = np.concatenate([ids, ids + 5], 1)  # [axes, batch 2, tokens]
        self.same_bits(ropescope.rotary_tables("mrope", ids=rows).sin[0], whole.sin[0])

    def test_forms_of_a_layout(self):
        listed = [{"text": 5}, {"anyres": {"h0": 3, "w0": 4, "h1": 6, "w1": 8, "newline": True}}, {"text": 7}]
        self.assertEqual(ropescope.layout_text(listed), ANYRES)
        self.assertEqual(ropescope.layout_text({"segments": listed, "name": "x"}), ANYRES)
        self.assertEqual({entry["name"] for entry in ropescope.schemes()} >= {"id-align", "mrope", "dipe"}, True)

    def test_errors_are_sentences(self):
        self.sentence(ropescope.UsageError, lambda: ropescope.positions("mropee", ANYRES), "mropee", "mrope")
        self.sentence(ropescope.UsageError, lambda: ropescope.positions("mrope", "text:x"), "text:x")
        self.sentence(ropescope.UsageError, lambda: ropescope.rotary_tables("mrope", ANYRES, head_dim=63), "head_dim", "63")
        self.sentence(ropescope.UsageError, lambda: ropescope.rotary_tables("mrope", ids=np.zeros((2, 1, 4))), "[3, batch, tokens]")
        self.sentence(ropescope.UsageError, lambda: ropescope.position_ids("mrope"), "layout and input_ids")
        self.sentence(ropescope.UsageError, lambda: ropescope.rotary_tables("mrope:sections=8/8/8", ANYRES, head_dim=128), "sections")


class OnlyDlpack:
    """An array of nobody's."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **settings):
        return self.array.__dlpack__(**settings)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Prompts(Case):
    """Position ids of prompts, against those that transformers made (tests/golden/vlm)."""

    def golden(self, family):
        folder = GOLDEN / "vlm" / family
        cases = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["cases"]
        tensors = read_safetensors(folder / "expected.safetensors")
        return folder, [case["name"] if isinstance(case, dict) else case for case in cases], tensors

    def test_native_ids_are_those_of_transformers(self):
        compared = 0
        for family, scheme in (("qwen2_vl", "mrope"), ("qwen2_5_vl", "mrope"), ("qwen3_vl", "mrope-interleave")):
            folder, cases, tensors = self.golden(family)
            for case in cases:
                given = {name: tensors.get(f"{case}.{name}") for name in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")}
                ids = tensors[f"{case}.input_ids"]
                expected = tensors.get(f"{case}.position_ids_transformers4", tensors[f"{case}.position_ids"])
                found = ropescope.position_ids(f"{scheme}:sections=2/3/3,temporal_stride=1", input_ids=ids, model=folder, **given)
                with self.subTest(f"{family} {case}"):
                    np.testing.assert_array_equal(found[:, 0], expected)
                compared += 1
        self.assertGreaterEqual(compared, 15)

    def test_a_folder_is_read_once_for_many_prompts(self):
        folder, _, tensors = self.golden("qwen2_5_vl")
        given = {"input_ids": tensors["one_image.input_ids"], "image_grid_thw": tensors["one_image.image_grid_thw"]}
        read = ropescope._core.ModelFolder(str(folder))
        for scheme in ("mrope:sections=2/3/3", "vanilla"):
            self.same_bits(ropescope.position_ids(scheme, model=read, **given), ropescope.position_ids(scheme, model=folder, **given))

    def test_a_clip_without_its_seconds_is_warned_of(self):
        """Qwen2.5-VL's ids count seconds; Qwen2-VL's do not, and the warning is none of its prompts'."""
        for family, warned in (("qwen2_5_vl", True), ("qwen2_vl", False)):
            folder, _, tensors = self.golden(family)
            given = {name: tensors[f"image_video.{name}"] for name in ("input_ids", "image_grid_thw", "video_grid_thw")}
            with self.subTest(family):
                _, said = stderr_of(lambda: ropescope.position_ids("mrope:sections=2/3/3", model=folder, **given))
                self.assertEqual("second_per_grid_ts" in said, warned, said)
                _, said = stderr_of(lambda: ropescope.position_ids("mrope:sections=2/3/3", model=folder, second_per_grid_ts=[1.0], **given))
                self.assertEqual(said, "")
        self.sentence(ropescope.InputError, lambda: ropescope.position_ids("mrope:sections=2/3/3", model=folder, second_per_grid_ts=[-1.0], **given),
                      "second_per_grid_ts", "above 0", "-1")

    def test_padding_takes_no_ids_and_moves_nothing(self):
        folder, _, tensors = self.golden("qwen2_5_vl")
        ids, grid = tensors["one_image.input_ids"], tensors["one_image.image_grid_thw"]
        alone = ropescope.position_ids("mrope:sections=2/3/3", input_ids=ids, model=folder, image_grid_thw=grid, generated=4)
        padded = np.concatenate([np.zeros(5, ids.dtype), ids])
        mask = (np.arange(len(padded)) >= 5).astype(int)
        found = ropescope.position_ids("mrope:sections=2/3/3", input_ids=padded, attention_mask=mask, model=folder, image_grid_thw=grid, generated=4)
        np.testing.assert_array_equal(found[:, 0, :5], 0)
        np.testing.assert_array_equal(found[:, 0, 5:], alone[:, 0])

    def test_pictures_of_a_model_that_sees_none_are_refused(self):
        """Or ids would be counted as those of text, without a word."""
        folder, grid = GOLDEN / "language/llama-tiny/safetensors-fp32", [[1, 4, 4]]
        self.sentence(ropescope.UsageError, lambda: ropescope.position_ids("vanilla", input_ids=[[5, 6, 7]], model=folder, image_grid_thw=grid),
                      "image_grid_thw", "vision tower", "Try")

    def test_a_prompt_without_its_grids_is_refused(self):
        folder, _, tensors = self.golden("qwen2_5_vl")
        ids = tensors["one_image.input_ids"]
        self.sentence(ropescope.InputError, lambda: ropescope.position_ids("mrope", input_ids=ids, model=folder), "image_grid_thw", "found none")
        tiles = GOLDEN / "vlm/internvl"
        shown = read_safetensors(tiles / "expected.safetensors")["one_image.input_ids"]
        self.sentence(ropescope.InputError, lambda: ropescope.position_ids("id-align", input_ids=shown, model=tiles), "pixel_values")
        self.sentence(ropescope.UsageError, lambda: ropescope.position_ids("mrope", input_ids=ids, model=folder, grid=1), "grid", "image_grid_thw")


def stderr_of(call):
    """What a call gives, and what the extension says meanwhile on stderr."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            result = call()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return result, file.read().decode()


def read_safetensors(path):
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
    header = json.loads(raw[8 : 8 + size])
    return {
        name: np.frombuffer(raw[8 + size + entry["data_offsets"][0] : 8 + size + entry["data_offsets"][1]], kinds[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] in kinds
    }


class Measurements(Case):
    """What runs the executable: the same file, opened."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.scratch = Path(cls.folder.name)
        texts = cls.scratch / "texts"
        texts.mkdir()
        for i in range(6):
            (texts / f"{i}.txt").write_text(f"Text {i}. " + "A query meets a key, and only the distance between them remains. " * (i % 3 + 1), encoding="utf-8")
        cls.model = GOLDEN / "language/llama-tiny/safetensors-fp32"
        cls.samples = cls.scratch / "samples.h5"
        ropescope.sample(cls.model, texts, max_tokens=64, moments=True, threads=2, output=cls.samples)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def same_file(self, found, *words):
        path = self.scratch / "by-command.h5"
        printed(*words, "--threads", 1, "--output", path, "--quiet", "--force")
        with ropescope.open(path) as written:
            self.assertEqual(list(found), list(written))
            for name in found:
                if isinstance(found[name], list):
                    self.assertEqual(found[name], written[name])
                else:
                    self.same_bits(found[name], written[name])

    def test_decay(self):
        found = ropescope.decay(self.samples, theta=[1e4, 1e6], max_distance=64, threads=1)
        self.same_file(found, "decay", "--samples", self.samples, "--theta", "1e4,1e6", "--max-distance", 64)
        self.assertEqual(found["/decay/mean"].shape, (2, 65) if found["/decay/mean"].shape[0] == 2 else (65, 2))
        self.assertIn("decay --samples", found.provenance.command)
        self.assertEqual([file.name for file in found.provenance.inputs], ["samples.h5"])
        self.assertNotEqual(found.description("/decay/mean"), "")

    def test_locality(self):
        found = ropescope.locality(self.samples, lengths=[32, 64], theta=[1e4], threads=1)
        self.same_file(found, "locality", "--samples", self.samples, "--lengths", "32,64", "--theta", "1e4")

    def test_prior(self):
        found = ropescope.prior(self.samples, ANYRES, ["vanilla", "id-align"], threads=1)
        self.same_file(found, "prior", "--samples", self.samples, "--layout", ANYRES, "--schemes", "vanilla;id-align")

    def test_audit(self):
        folder = GOLDEN / "vlm/qwen2_5_vl"
        tensors = read_safetensors(folder / "expected.safetensors")
        ids, grid = tensors["one_image.input_ids"], tensors["one_image.image_grid_thw"]
        right = ropescope.audit(folder, tensors["one_image.position_ids"], input_ids=ids, image_grid_thw=grid)
        self.assertEqual(right["verdict"], "equal")
        wrong = ropescope.audit(folder, np.broadcast_to(np.arange(len(ids)), (3, len(ids))), input_ids=ids, image_grid_thw=grid)
        self.assertEqual(wrong["verdict"], "different")
        self.assertEqual(wrong["looks_like"][0]["mistake"], "1-d-fallback")
        # What a processor gives besides is not needed.
        more = ropescope.audit(folder, tensors["one_image.position_ids"], input_ids=ids, image_grid_thw=grid, pixel_values=tensors["one_image.pixel_values"])
        self.assertEqual(more["verdict"], "equal")

    def test_an_audit_leaves_nothing_out_that_it_was_given(self):
        folder = GOLDEN / "language/llama-tiny/safetensors-fp32"
        mask, counted = np.array([[0, 0, 1, 1, 1]]), np.array([[0, 0, 0, 1, 2]])
        beside = ropescope.audit(folder, counted, input_ids=np.array([[0, 0, 5, 6, 7]]), attention_mask=mask)
        self.assertEqual(beside["verdict"], "equal")
        path = self.scratch / "prompt.json"
        path.write_text(json.dumps({"input_ids": [[0, 0, 5, 6, 7]]}), encoding="utf-8")
        self.sentence(ropescope.UsageError, lambda: ropescope.audit(folder, counted, attention_mask=mask), "attention_mask", "found none")
        self.sentence(ropescope.UsageError, lambda: ropescope.audit(folder, counted, input_ids=path, cu_seqlens=[0, 5]), "cu_seqlens", "prompt.json")

    def test_numbers_of_numpy_are_numbers(self):
        self.assertEqual(
            flags_of({"theta": np.float64(1e4), "thetas": np.array([1e4, 1e6]), "listed": [np.float32(0.5), np.int64(3)], "on": np.True_, "off": np.False_}),
            ["--theta", "10000.0", "--thetas", "10000.0,1000000.0", "--listed", "0.5,3", "--on"],
        )
        found = ropescope.decay(self.samples, theta=np.array([1e4, 1e6]), max_distance=np.int64(64), threads=1)
        self.same_file(found, "decay", "--samples", self.samples, "--theta", "1e4,1e6", "--max-distance", 64)

    def test_errors_are_the_commands(self):
        text = self.sentence(ropescope.InputError, lambda: ropescope.decay(self.scratch / "none.h5"), "none.h5")
        self.assertFalse(text.startswith("ropescope:"))
        self.sentence(ropescope.UsageError, lambda: ropescope.decay(self.samples, thetas=[1e4]), "thetas")
        self.sentence(ropescope.InputError, lambda: ropescope.open(self.scratch / "none.h5"), "none.h5")
        damaged = self.scratch / "damaged.h5"
        damaged.write_bytes(b"no HDF5")
        self.sentence(ropescope.InputError, lambda: ropescope.open(damaged), "damaged.h5", "HDF5")

    def test_names_of_a_result(self):
        with ropescope.decay(self.samples, theta=[1e4], max_distance=16, threads=1) as found:
            for name in ("/decay/mean", "decay/mean"):
                self.assertIn(name, found)
                self.same_bits(found[name], found["/decay/mean"])
            for name in ("/decay", "/decay/none", "/decay/mean/none", "", 3):
                self.assertNotIn(name, found)

    def test_a_star_leaves_pythons_names_alone(self):
        names = {}
        exec("from ropescope import *", names)
        self.assertNotIn("open", names)
        self.assertNotIn("EnvironmentError", names)
        self.assertIs(names["decay"], ropescope.decay)

    def test_a_result_without_a_name_goes_with_its_object(self):
        found = ropescope.decay(self.samples, theta=[1e4], max_distance=16, threads=1)
        path = found.path
        self.assertTrue(path.exists())
        found.close()
        self.assertFalse(path.exists())


class Version(Case):
    def test_another_torch_is_refused_in_one_sentence(self):
        import importlib.metadata as metadata

        from ropescope import torch_check

        known = metadata.version
        try:
            metadata.version = lambda name: "2.14.1+cu130"
            self.sentence(ImportError, torch_check.load, "expected torch 2.15", "found torch 2.14.1+cu130", "pip install")
            metadata.version = lambda name: "2.15.3"
            torch_check.load()

            def none(name):
                raise metadata.PackageNotFoundError(name)

            metadata.version = none  # LibTorch alone, where the build had it
            torch_check.load()
        finally:
            metadata.version = known


    def test_a_missing_torch_is_named(self):
        from ropescope import torch_check

        text = str(torch_check.explained(ImportError("libtorch_cpu.so: cannot open shared object file")))
        self.assertRegex(text, "expected torch 2.15.*found none.*pip install torch==2.15")
        other = ImportError("libsentencepiece.so.0: cannot open shared object file")
        self.assertIs(torch_check.explained(other), other)


if __name__ == "__main__":
    unittest.main()
