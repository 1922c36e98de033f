#!/usr/bin/env python3
"""The wheel in an environment of its own: the command, the README's lines of Python, and every notebook.

The environment has the wheel, LibTorch as the build had it, and the notebooks' packages; it sees nothing of the build folder.
Exit code 77 (skipped, for CTest): tests/run.sh has made no wheel, or the notebooks' packages are not installed.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("nbclient", "ipykernel", "h5py", "matplotlib", "anywidget", "pip")
FIGURES = {"decay": 3, "schemes": 4, "attention": 2}


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def run(call, **settings):
    done = subprocess.run([str(word) for word in call], capture_output=True, text=True, **settings)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, call))}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def lines_of_readme():
    """The Python block of README.md that follows a line <!-- run -->."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- run -->\n```python\n(.*?)\n```", text, re.S)
    if not found:
        sys.exit("README.md: expected a block of Python after <!-- run -->, found none")
    lines = [line for line in found.group(1).split("\n") if line.strip() and not line.startswith("#")]
    if len(lines) > 10:
        sys.exit(f"README.md: expected the module in ten lines, found {len(lines)}")
    return found.group(1)


def make_environment(folder, wheel):
    """Its Python. LibTorch lies in it as pip would lay it; other packages come from the Python that runs this."""
    run([sys.executable, "-m", "venv", "--without-pip", folder])
    python = folder / "bin" / "python"
    packages = next((folder / "lib").glob("python3*/site-packages"))
    import importlib.metadata as metadata

    torch = Path(metadata.distribution("torch").locate_file("torch")).resolve()
    for there in [torch, torch.parent / "nvidia", *torch.parent.glob("torch-*.dist-info")]:
        if there.exists():
            (packages / there.name).symlink_to(there)
    others = {str(Path(place)) for place in sys.path if place.endswith("site-packages")}
    (packages / "others.pth").write_text("\n".join(sorted(others)) + "\n")
    run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel])
    return python, packages


def main():
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        skip(f"no Python package {', '.join(missing)}; cmake/bootstrap.sh --notebooks installs them")
    build = Path(os.environ.get("ROPESCOPE_BUILD", ROOT / "build"))
    wheels = sorted((build / "wheel").glob("ropescope-*.whl"))
    if not wheels:
        skip(f"no wheel in {build}/wheel; tests/python/make_wheel.sh makes one")
    # Making the wheel has left the folder's settings as they were.
    if "SKBUILD" in (build / "CMakeCache.txt").read_text(encoding="utf-8"):
        sys.exit(f"{build}/CMakeCache.txt: expected no settings of pip's, found SKBUILD")
    with zipfile.ZipFile(wheels[-1]) as archive:
        names = archive.namelist()
    for wanted in ("ropescope/bin/ropescope", "ropescope/py.typed", "ropescope/_core.pyi", "ropescope/widget.js", "ropescope/share/ropescope/paper_tables.json"):
        if wanted not in names:
            sys.exit(f"{wheels[-1].name}: expected {wanted}, found none")

    with tempfile.TemporaryDirectory(prefix="ropescope-wheel-") as name:
        scratch = Path(name)
        python, packages = make_environment(scratch / "env", wheels[-1])
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "ROPESCOPE", "VIRTUAL_ENV")}
        settings = {"env": environment, "cwd": scratch}
        command = python.parent / "ropescope"
        if "LibTorch" not in run([command, "--version"], **settings):
            sys.exit("ropescope --version: says nothing of LibTorch")
        # Both take the environment's own torch, not the build's.
        for library in [packages / "ropescope/bin/ropescope", *packages.glob("ropescope/_core*.so")]:
            found = re.search(r"libtorch_cpu\.so => (\S+)", run(["ldd", library], **settings))
            if not found or not found.group(1).startswith(str(packages)):
                sys.exit(f"{library.name}: expected torch of {packages}, found {found and found.group(1)}")
        where = run([python, "-c", "import ropescope; print(ropescope.__file__, ropescope.__version__)"], **settings)
        if not where.startswith(str(packages)):
            sys.exit(f"import ropescope: expected that of {packages}, found {where}")
        (scratch / "tests").symlink_to(ROOT / "tests")
        run([python, "-W", "error::DeprecationWarning:ropescope", "-c", lines_of_readme()], **settings)
        for notebook, figures in FIGURES.items():
            said = run([python, ROOT / "tests/notebooks/run_notebook.py", "--ropescope", command, "--figures", figures, ROOT / f"notebooks/{notebook}.ipynb"],
                       env={**environment, "ROPESCOPE_NOTEBOOK_PYTHON": str(python)}, cwd=scratch)
            print(said.strip())


if __name__ == "__main__":
    main()
