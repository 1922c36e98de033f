#!/usr/bin/env bash
# mlx-lm 0.32.2: gpt-oss's nine middle channel pairs turn up to 1.76 times as fast as its config.json says, since yarn's "truncate" is not read.
#
#   findings/mlx-lm-gpt-oss-yarn-truncate.sh
#
# Seen with mlx-lm 0.32.2 and mlx 0.32.4 (CPU), Python 3.11: for the rope_scaling of the published gpt-oss-20b and -120b (YaRN by 32, "truncate": false) the
# rotations are those of "truncate": true, to the last bit, without a warning: the ramp goes from channel pair 8 to 18 in place of 8.09 to 17.40. Pairs 9 to 17
# of 32 turn faster than they were trained to, pair 17 by 1.76, which at distance 1,000 is 0.23 in place of 0.13 radians; so a decay curve or a probe of
# that model under MLX is of other positions than one under transformers or vLLM, which read the field. ropescope reads it.
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Linux, Python 3 with venv and PyPI; nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'mlx[cpu]==0.32.4' mlx-lm==0.32.2
cat >"$folder/look.py" <<'PY'
import math
import sys

from mlx_lm.models.rope_utils import initialize_rope

# gpt-oss-20b and -120b, config.json
dim, base = 64, 150000
published = {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
             "original_max_position_embeddings": 4096, "truncate": False}


def found_periods(settings):
    """Tokens to a radian, of each channel pair, as mlx-lm turns them."""
    rope = initialize_rope(dim, base, traditional=False, scaling_config=settings, max_position_embeddings=131072)
    return [float(period) for period in rope._freqs]


def wanted_periods(settings):
    """The same by the paper's formula, and the ends of its ramp."""
    def pair(turns):
        return dim * math.log(settings["original_max_position_embeddings"] / (turns * 2 * math.pi)) / (2 * math.log(base))
    low, high = pair(settings["beta_fast"]), pair(settings["beta_slow"])
    if settings["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    periods = []
    for i in range(dim // 2):
        plain = base ** (-2 * i / dim)
        slowed = min(max((i - low) / (high - low), 0.0), 1.0)
        periods.append(1 / (plain * (1 - slowed) + plain / settings["factor"] * slowed))
    return low, high, periods


truncated = {**published, "truncate": True}
found = found_periods(published)
ignored = found == found_periods(truncated)
is_truncated = all(abs(a / b - 1) < 1e-5 for a, b in zip(found, wanted_periods(truncated)[2]))
low, high, wanted = wanted_periods(published)
faster = [b / a for a, b in zip(found, wanted)]
off = [i for i, ratio in enumerate(faster) if abs(ratio - 1) > 1e-4]
worst = max(range(dim // 2), key=lambda i: abs(math.log(faster[i])))
print("truncate false and true give the same rotations:", ignored)
print("they are the formula's with truncate true:", is_truncated)
print(f"the file's ramp: channel pair {low:.2f} to {high:.2f}; pairs that turn otherwise than it says: {off}")
print(f"farthest off: pair {worst}, {faster[worst]:.2f} times as fast")
as_described = ignored and is_truncated and off == list(range(9, 18)) and worst == 17 and round(faster[worst], 2) == 1.76
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PY
"$folder/venv/bin/python" "$folder/look.py"
