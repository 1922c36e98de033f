#!/usr/bin/env bash
# transformers 5.24.0: HunYuan-VL's XD-RoPE gives the two channels of a pair different coordinates, so that pictures are not rotated.
#
#   findings/hunyuan-vl-xd-rope.sh
#
# Seen with transformers 5.24.0, torch 2.15.0, Python 3.11:
# - HunYuanVLRotaryEmbedding writes each coordinate's cos and sin twice (for the two halves of a head) and then cuts that table of head_dim columns into
#   len(sections) parts of 2 x section. With sections 16/16/16/16 of a head of 128, column j of the first half follows coordinate j / 32, its partner
#   j + 64 coordinate 2 + j / 32: all 64 pairs follow two coordinates. Cut by the list of sections twice over (16,16,16,16,16,16,16,16), as vLLM and the
#   first code of HunyuanOCR do, both halves agree.
# - Text has four equal coordinates and is not touched. At a picture's tokens the result is no rotation: a vector of ones changes its length, and the product
#   of a query and a key changes when both move by the same amount.
# Whoever measures attention or decay of HunYuan-VL in transformers measures another encoding than vLLM runs and the model's first code had. ropescope's
# xd-rope gives both channels of a pair one coordinate.
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Python 3.11 with venv and PyPI (4 GB); nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.15.0
cat >"$folder/look.py" <<'PY'
import sys

import torch
from transformers.models.hunyuan_vl.configuration_hunyuan_vl import HunYuanVLTextConfig
from transformers.models.hunyuan_vl.modeling_hunyuan_vl import HunYuanVLRotaryEmbedding, apply_rotary_pos_emb

sections = [16, 16, 16, 16]
config = HunYuanVLTextConfig(hidden_size=256, num_attention_heads=2, num_key_value_heads=2, head_dim=128,
                             rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections})
rotary = HunYuanVLRotaryEmbedding(config)


def turned(x, place):
    """x [128] at the coordinates of `place`."""
    cos, sin = rotary(torch.zeros(1), torch.tensor(place).view(4, 1, 1))
    both = x.view(1, 1, 1, 128)
    return apply_rotary_pos_emb(both, both, cos, sin)[0].flatten().double()


# One coordinate after the other is 1000 and the others 0: which columns of the cosine notice?
follows = torch.full((128,), -1)
for row in range(4):
    place = [1000 * int(row == other) for other in range(4)]
    cos, _ = rotary(torch.zeros(1), torch.tensor(place).view(4, 1, 1))
    follows[cos.flatten() != 1] = row
apart = int((follows[:64] != follows[64:]).sum())
print("coordinates of columns 0, 16, 32, 48 and of their partners:", follows[0:64:16].tolist(), follows[64:128:16].tolist())
print("pairs whose two columns follow different coordinates:", apart, "of 64")
torch.manual_seed(0)
q, k, ones = torch.randn(128), torch.randn(128), torch.ones(128)
text, picture = [40, 40, 40, 40], [40, 3, 7, 0]
lengths = [float(turned(ones, place).norm()) for place in (text, picture)]
print("length of a vector of ones (11.3137): as text %.4f, at a picture's cell %.4f" % tuple(lengths))


def product(shift):
    return float(turned(q, [at + shift for at in picture]) @ turned(k, [at + shift for at in (35, 1, 2, 0)]))


print("q k at two cells %.4f, and with every coordinate of both 9 larger %.4f" % (product(0), product(9)))
as_described = (apart == 64 and abs(lengths[0] - 128**0.5) < 1e-3 and abs(lengths[1] - 128**0.5) > 0.05
                and abs(product(0) - product(9)) > 0.05)
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PY
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" "$folder/look.py" 2>"$folder/stderr" || { code=$?; tail -n 5 "$folder/stderr" >&2; exit $code; }
