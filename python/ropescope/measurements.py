"""What reads models and samples: each function is a command of the executable, run as it is, and gives its result file opened.

Every flag of the command is an argument, with _ for -: `ropescope help decay` lists them. Without `output` the file lies in a
temporary folder and goes when the result does. Same seed, same bits, here as on the command line.
"""

import json
import shutil
import tempfile
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from ropescope._arrays import numpy_of
from ropescope.command import run
from ropescope.errors import UsageError, of_exit_code
from ropescope.prompts import REAL, WHOLE
from ropescope.results import Result

File = str | PathLike[str]

_RECORDED = ("attention_mask", "cu_seqlens", "image_grid_thw", "video_grid_thw", "second_per_grid_ts")  # what audit reads beside input_ids


def _result(command: str, output: File | None, flags: dict[str, Any]) -> Result:
    flags.setdefault("quiet", True)
    if output is not None:
        run(command, **flags, output=output)
        return Result(output)
    folder = tempfile.mkdtemp(prefix="ropescope-")
    try:
        path = Path(folder) / f"{command}.h5"
        run(command, **flags, output=path)
        return Result(path, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sample(model: File, texts: File, *, output: File, **flags: Any) -> Result:
    """Queries and keys of real text, before rotation: /pairs, with moments=True /moments (docs/commands.md).

    model: a folder in Hugging Face form or a .gguf file; texts: .txt, .jsonl, a folder, ... Also max_texts, max_tokens, layers,
    seed, device, dtype. Raises UsageError, InputError, EnvironmentError.
    """
    return _result("sample", output, {"model": model, "texts": texts, **flags})


def decay(samples: File | None = None, *, output: File | None = None, **flags: Any) -> Result:
    """How the expected logit falls with distance under each base: /decay/{distance, theta, mean, ci95_low, ci95_high, ...}.

    samples: a file of `sample`; theta=[1e4, 1e6] (bases), max_distance (tokens), source="moments", by="tokens". Intervals are
    95%, over texts. Products are plain q.k, not divided by sqrt(head_dim). Source: arXiv 2104.09864, section 3.4.3.
    """
    return _result("decay", output, {"samples": samples, **flags})


def locality(samples: File, *, lengths: Any, theta: Any = None, output: File | None = None, **flags: Any) -> Result:
    """How long a context must be for near keys to lose their preference, and two keys their order: /locality/... by length.

    lengths: tokens; theta: bases (the checkpoint's). Shares in 0..1 with 95% intervals over texts.
    """
    return _result("locality", output, {"samples": samples, "lengths": lengths, "theta": theta, **flags})


def prior(samples: File, layout: str, schemes: Any, *, output: File | None = None, **flags: Any) -> Result:
    """Where heads would look in a layout before they see any content: /prior/... of each scheme.

    schemes: a list of texts, or one text with ";" between them; query="last" or a token's index; text_lengths (tokens).
    """
    listed = schemes if isinstance(schemes, str) else ";".join(schemes)
    return _result("prior", output, {"samples": samples, "layout": layout, "schemes": listed, **flags})


def attention(*, output: File, **flags: Any) -> Result:
    """Where heads look in a picture and a question under each scheme: /attention/<scheme>/... (docs/attention.md).

    model (or decoder), image, prompt, schemes="vanilla;id-align", queries, region, word, layers, heads.
    """
    return _result("attention", output, flags)


def audit(
    model: File,
    ids: Any,
    *,
    input_ids: Any = None,
    **flags: Any,
) -> dict[str, Any]:
    """Are recorded position ids those of the model's own rule, and which known mistake do they look like? (docs/audit.md)

    model: a folder (weights are not read). ids: [tokens], [rows, tokens] or [axes, rows, tokens], an array or a file. input_ids:
    the prompt's, [rows, tokens], an array or a file; beside an array attention_mask, cu_seqlens, image_grid_thw, video_grid_thw,
    second_per_grid_ts as the processor gives them, while a file holds them itself (what else a processor gives is not needed).
    Flags of the command go by their names (segments, first, ...). The dictionary is the object of `ropescope audit --json`:
    verdict "equal" or "different", first_difference, looks_like, warnings. Raises UsageError, InputError.
    """
    given = {name: flags.pop(name, None) for name in {*_RECORDED, *WHOLE, *REAL}}
    tensors = {name: given[name] for name in _RECORDED if given[name] is not None}
    if tensors and (input_ids is None or isinstance(input_ids, (str, PathLike))):
        found = "none" if input_ids is None else f"the file {fspath(input_ids)}"
        raise UsageError(
            f"audit: expected input_ids as an array beside {', '.join(tensors)}, found {found}. Try: the array, or a file that holds "
            "input_ids and the others"
        )
    with tempfile.TemporaryDirectory(prefix="ropescope-") as folder:
        if not isinstance(ids, (str, PathLike)):
            np.save(Path(folder) / "ids.npy", numpy_of(ids, "ids"))
            ids = Path(folder) / "ids.npy"
        if input_ids is not None and not isinstance(input_ids, (str, PathLike)):
            lists = {name: numpy_of(value, name).tolist() for name, value in {"input_ids": input_ids, **tensors}.items()}
            input_ids = Path(folder) / "prompt.json"
            input_ids.write_text(json.dumps(lists), encoding="utf-8")
        done = run("audit", accept=(0, 1), model=fspath(model), ids=ids, input_ids=input_ids, json=True, quiet=True, **flags)
    if not done.stdout.startswith("{"):  # exit code 1 is also that of a fault
        raise of_exit_code(done.returncode, done.stderr.strip())
    return json.loads(done.stdout)
