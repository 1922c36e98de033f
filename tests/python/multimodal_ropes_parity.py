#!/usr/bin/env python3
"""The twelve encodings of multimodal-ropes 0.1.0 against ropescope: ids, next id, cos and sin of its own golden file.

    git clone https://github.com/JJJYmmm/Multimodal-RoPEs /tmp/mmr
    PYTHONPATH=build/python python3 tests/python/multimodal_ropes_parity.py /tmp/mmr      # a Python with torch

Nothing of that package is kept here. Prints a line an encoding and ends with 1 where one differs.
"""

import sys
from pathlib import Path

import numpy as np

import ropescope

# Its canonical prompt: a picture of 2 x 2 tokens, then a clip whose two frames are blocks of their own.
LAYOUT = "text:6,image:2x2,text:5,video:1x2x2,text:4,video:1x2x2,text:2"
SCHEMES = {
    "vanilla-rope": "vanilla",
    "mrope": "mrope:sections=16/24/24,temporal_stride=2",
    "mrope-interleave": "mrope-interleave:sections=24/20/20,temporal_stride=1,spatial_reset=false",
    "mhrope": "mhrope:sections=2/3/3,temporal_stride=1,spatial_reset=true",
    "videorope": "videorope:sections=16/24/24,temporal_stride=2",
    "hope": "hope:sections=16/24/24",
    "circlerope": "circlerope:sections=16/24/24,temporal_stride=1,move_to_origin=true,dff_rate=true,method=circle,radius=10,alpha=0.5",
    "v2pe": "v2pe:visual_stride=16",
    "ilrope": "ilrope:sections=24/20/20,temporal_stride=1",
    "omnirope": "omnirope:sections=16/24/24,temporal_stride=1",
    "mmrope": "mmrope:sections=16/24/24,temporal_stride=1,position_scale=4/8/8",
    "grape": "grape",
}
TOLERANCE = {"v2pe": 1e-4, "circlerope": 1e-4}  # float32 sums there; ids of the others are equal
TABLES = 2e-5  # float32 angles there, float64 here


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    import torch

    golden = torch.load(Path(sys.argv[1]) / "tests/golden/qwen3vl_rope_hf4571.pt", weights_only=False)["expected"]
    if set(golden) != set(SCHEMES):
        sys.exit(f"expected the encodings {sorted(SCHEMES)}, found {sorted(golden)}")
    worst = 0
    for name, expected in golden.items():
        scheme, heads = SCHEMES[name], 8 if name == "mhrope" else None
        where = ropescope.positions(scheme, LAYOUT)
        tables = ropescope.rotary_tables(scheme, LAYOUT, head_dim=128, kv_heads=heads, rope_theta=5e6)
        ids = expected["position_ids"][:, 0].double().numpy()
        off = np.abs(np.broadcast_to(where.coordinates, ids.shape) - ids).max()
        after = abs(where.next - (float(expected["rope_deltas"][0, 0]) + ids.shape[1]))
        cos, sin = (expected[half].numpy().reshape(-1, ids.shape[1], 128)[..., :64] for half in ("cos", "sin"))
        turned = max(np.abs(tables.cos[0] - cos).max(), np.abs(tables.sin[0] - sin).max())
        fits = off <= TOLERANCE.get(name, 0) and after <= TOLERANCE.get(name, 0) and turned <= TABLES
        worst += not fits
        print(f"{name:18} ids {off:8.1e}  next {after:8.1e}  cos, sin {turned:8.1e}  {'equal' if fits else 'DIFFERS'}")
    sys.exit(1 if worst else 0)


if __name__ == "__main__":
    main()
