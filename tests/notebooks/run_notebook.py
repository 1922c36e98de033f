#!/usr/bin/env python3
"""Executes a notebook of notebooks/ on small result files that the executable has just made, and checks its figures.

Exit code 77 (skipped, for CTest): the Python that runs this and .venv's both lack nbclient, h5py or matplotlib, or the module
ropescope, which the notebooks use (PYTHONPATH=build/python, or installed), is not built.
"""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("nbclient", "nbformat", "ipykernel", "h5py", "matplotlib", "numpy", "ropescope._core")
TEXT = (
    "The quick brown fox jumps over the lazy dog while the five boxing wizards watch from a hill beyond the river. "
    "A query meets a key, both are turned by their positions, and only the distance between them remains. "
)


def there(name):
    """Whether a package can be imported here; of ropescope its extension, which is built for one Python."""
    folder = importlib.util.find_spec(name.split(".")[0])
    if folder is None or "." not in name:
        return folder is not None
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    return any((Path(place) / (name.split(".")[1] + suffix)).exists() for place in folder.submodule_search_locations for suffix in suffixes)


def require_packages():
    """Goes on in .venv's Python where this one lacks a package; skips the test if neither has them all."""
    missing = [name for name in NEEDED if not there(name)]
    if not missing:
        return
    python = ROOT / ".venv" / "bin" / "python"
    if python.exists() and "ROPESCOPE_NOTEBOOK_PYTHON" not in os.environ:
        environment = {**os.environ, "ROPESCOPE_NOTEBOOK_PYTHON": str(python)}
        os.execve(python, [str(python), *sys.argv], environment)
    print(f"skipped: no Python package {', '.join(missing)}; cmake/bootstrap.sh --notebooks installs them, and builds ropescope's module where Python has headers")
    sys.exit(SKIPPED)


def write_photo(path):
    """Two soft spots on a gradient, 300 x 200."""
    import numpy as np
    from matplotlib.image import imsave

    y, x = np.mgrid[0:200, 0:300] / 200
    spots = np.exp(-20 * ((x - 0.4) ** 2 + (y - 0.3) ** 2)) + np.exp(-30 * ((x - 1.1) ** 2 + (y - 0.7) ** 2))
    imsave(path, np.stack([spots, x / 1.5, y], -1).clip(0, 1))


def make_maps_of_vlm(ropescope, family, folder):
    """maps.h5 of a vision-language model of the tests; the second of its two pictures has more tokens."""
    golden = ROOT / "tests/golden/vlm"
    images = ",".join(str(golden / "images" / name) for name in ("rocket.png", "cat.png"))
    subprocess.run([ropescope, "attention", "--model", golden / family, "--image", images, "--template", "qwen",
                    "--prompt", "What is this?", "--region", "20,10,40,30", "--word", "this", "--schemes", "vanilla;mrope:sections=2/3/3",
                    "--output", folder / "maps.h5", "--quiet", "--threads", "2"], check=True, stdout=subprocess.DEVNULL)


def make_results(ropescope, model, folder):
    """decay.h5, simulation.h5, criteria.h5, last.h5 and maps.h5 in `folder`, named as the scripts in experiments/ name them."""
    texts = folder / "texts"
    texts.mkdir()
    for i in range(8):
        (texts / f"{i}.txt").write_text(f"Text {i}. {TEXT * (i % 3 + 1)}", encoding="utf-8")

    def run(*arguments):
        subprocess.run([ropescope, *map(str, arguments), "--quiet", "--threads", "2"], check=True, stdout=subprocess.DEVNULL)

    run("sample", "--model", model, "--texts", texts, "--max-tokens", 64, "--moments",
        "--output", folder / "samples.h5")
    run("decay", "--samples", folder / "samples.h5", "--theta", "1e4,1e6", "--max-distance", 256,
        "--output", folder / "decay.h5")
    run("simulate", "--dim", 16, "--mean", "0,1", "--trials", 100, "--theta", "1e4,1e7", "--max-distance", 256,
        "--output", folder / "simulation.h5")
    anyres = "text:4,anyres:4x4+8x6,text:5"
    layouts = folder / "layouts.json"
    block = {"anyres": {"h0": 4, "w0": 4, "h1": 8, "w1": 6, "newline": True}}
    layouts.write_text(json.dumps({"layouts": [{"name": "anyres", "segments": [{"text": 4}, block, {"text": 5}]}]}))
    run("positions", "--layout-file", layouts, "--scheme", "vanilla;id-align;mrope;id-align+mrope-interleave", "--criteria",
        "--output", folder / "criteria.h5")
    run("prior", "--samples", folder / "samples.h5", "--layout", anyres, "--schemes", "vanilla;id-align;dipe",
        "--text-lengths", "0,16,64", "--output", folder / "last.h5")
    photo = folder / "photo.png"
    write_photo(photo)
    run("attention", "--decoder", model, "--image", photo, "--region", "40,30,60,50", "--prompt", "What is shown?",
        "--schemes", "vanilla;id-align", "--output", folder / "maps.h5")


def execute(notebook, results, scratch, picture):
    """The executed notebook. Raises CellExecutionError with the cell's traceback."""
    import nbformat
    from nbclient import NotebookClient

    # Nothing is read from or left in the home folder.
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"):
        os.environ[variable] = str(scratch / variable.lower())
    os.environ["ROPESCOPE_RESULTS"] = str(results)
    document = nbformat.read(notebook, as_version=4)
    for cell in document.cells:
        if cell.get("outputs"):
            sys.exit(f"{notebook}: committed with outputs; clear them")
    if picture > 0:
        chosen = [cell for cell in document.cells if "\npicture = 0 " in cell.source]
        if len(chosen) != 1:
            sys.exit(f"{notebook}: expected one cell that sets picture = 0, found {len(chosen)}")
        chosen[0].source = chosen[0].source.replace("\npicture = 0 ", f"\npicture = {picture} ")
    client = NotebookClient(document, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(notebook.parent)}})
    return client.execute()


def save_figures(document, folder):
    """Writes every PNG among the outputs; gives their paths."""
    import base64

    paths = []
    for cell in document.cells:
        for output in cell.get("outputs", []):
            image = output.get("data", {}).get("image/png")
            if image:
                paths.append(folder / f"figure-{len(paths) + 1}.png")
                paths[-1].write_bytes(base64.b64decode(image))
    return paths


def drawn_share(path):
    """Share of pixels that are not the background's."""
    from matplotlib.image import imread

    pixels = imread(path)[..., :3]
    return float((abs(pixels - pixels[0, 0]).sum(axis=-1) > 0.05).mean())


def main():
    require_packages()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--figures", type=int, required=True, help="how many figures it must draw")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ropescope", help="executable that makes small result files")
    source.add_argument("--results", type=Path, help="folder with result files that are there already")
    parser.add_argument("--without", action="append", default=[], help="a result file that is not there: the notebook names it, and goes on")
    parser.add_argument("--model", type=Path, default=ROOT / "tests/golden/language/llama-tiny/safetensors-fp32")
    parser.add_argument("--vlm", help="in place of all these results: maps.h5 of this folder of tests/golden/vlm")
    parser.add_argument("--picture", type=int, default=0, help="which input of the file the attention notebook shows")
    parser.add_argument("--save", type=Path, help="keep the figures in this folder")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="ropescope-notebook-") as name:
        scratch = Path(name)
        results = args.results.resolve() if args.results else scratch
        if args.ropescope and args.vlm:
            make_maps_of_vlm(args.ropescope, args.vlm, scratch)
        elif args.ropescope:
            make_results(args.ropescope, args.model, scratch)
        for missing in args.without:
            (results / missing).unlink(missing_ok=True)
        document = execute(args.notebook.resolve(), results, scratch, args.picture)
        target = args.save or scratch
        target.mkdir(parents=True, exist_ok=True)
        figures = save_figures(document, target)
        said = "".join(output.get("text", "") for cell in document.cells for output in cell.get("outputs", []))
        blank = [path.name for path in figures if drawn_share(path) < 0.02]
    silent = [missing for missing in args.without if f"{missing} is not there: experiments/" not in said]
    if silent:
        sys.exit(f"{args.notebook}: does not say that {', '.join(silent)} is missing")
    if len(figures) != args.figures or blank:
        sys.exit(f"{args.notebook}: expected {args.figures} figures, found {len(figures)}, of them blank: {blank}")
    print(f"{args.notebook.name}: {len(figures)} figures, no errors")


if __name__ == "__main__":
    main()
