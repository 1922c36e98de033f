"""What does a position encoding do to attention in a language or vision-language model?

    import ropescope
    ids = ropescope.position_ids("id-align", "text:35,anyres:24x24+48x48,text:20")     # [axes, batch, length]
    ropescope.criteria("mrope", "text:35,image:24x24,text:20")                          # what the papers ask for, in numbers
    decay = ropescope.decay("samples.h5", theta=[1e4, 1e6])                             # a result, as the command writes it
    decay["/decay/mean"], decay.provenance.command

Arrays come as NumPy's and are taken from whatever has DLPack or is an array; torch's C++ interface never crosses the border.
Positions, tables, criteria and misalignment are computed here, with the executable's own code; what reads models and samples
runs the executable that is installed beside the module.
"""

from ropescope import torch_check as _torch_check

_torch_check.load()

from ropescope._core import commit as _commit  # noqa: E402  (after the check: it loads LibTorch)
from ropescope._core import version as _version  # noqa: E402
from ropescope.command import run  # noqa: E402
from ropescope.errors import EnvironmentError, Error, InputError, NumericsError, UsageError  # noqa: A004, E402
from ropescope.measurements import attention, audit, decay, locality, prior, sample  # noqa: E402
from ropescope.positions import (  # noqa: E402
    Positions,
    RotaryTables,
    budget,
    criteria,
    layout_text,
    misalignment,
    position_ids,
    positions,
    rotary_tables,
    schemes,
)
from ropescope.results import Provenance, Result, open  # noqa: A004, E402

__version__: str = _version()
__commit__: str = _commit()

# Without EnvironmentError and open, which Python has itself: they are ropescope.open and ropescope.EnvironmentError.
__all__ = [
    "Error",
    "InputError",
    "NumericsError",
    "Positions",
    "Provenance",
    "Result",
    "RotaryTables",
    "UsageError",
    "attention",
    "audit",
    "budget",
    "criteria",
    "decay",
    "layout_text",
    "locality",
    "misalignment",
    "position_ids",
    "positions",
    "prior",
    "rotary_tables",
    "run",
    "sample",
    "schemes",
]
