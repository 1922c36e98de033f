#!/usr/bin/env bash
# mlx-vlm 0.7.10: Qwen2.5-VL's clips have the time ids of Qwen2-VL, one a temporal patch, whatever the frame rate; tokens_per_second is never read.
#
#   findings/mlx-vlm-qwen25-vl-clip-time.sh
#
# Seen with mlx-vlm 0.7.10 and mlx 0.32.4 (CPU), Python 3.11. Qwen2.5-VL's time ids are seconds: second_per_grid_ts times tokens_per_second (2 in the published
# files) a temporal patch, so that at the processor's usual 2 frames a second they go up by two, and at half that rate by four. Here they go up by one at every rate:
# the function has no argument for the rate, and the configuration's field is not used anywhere in the model's folder. Text behind the clip begins earlier too (the
# rope delta is lower), so a clip of 8 frames sits where one of half as many seconds would. Positions recorded from MLX and from transformers are
# not comparable for clips; for pictures they are the same. ropescope's audit names such ids.
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Linux, Python 3 with venv and PyPI; nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'mlx[cpu]==0.32.4' mlx-vlm==0.7.10
cat >"$folder/look.py" <<'PY'
import inspect
import pathlib
import sys
from types import SimpleNamespace

import mlx.core as mx
from mlx_vlm.models import qwen2_5_vl
from mlx_vlm.models.qwen2_5_vl.language import LanguageModel

START, CLIP, END = 7, 6, 8
config = SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2, tokens_per_second=2), image_token_id=5,
                         video_token_id=CLIP, vision_start_token_id=START, vision_end_token_id=END)
t, h, w = 4, 4, 4  # eight frames, of two each; 2 x 2 tokens after merging
ids = [1, 2, START] + [CLIP] * (t * h * w // 4) + [END, 3]
positions, _ = LanguageModel.get_rope_index(SimpleNamespace(config=config), mx.array([ids]), None, mx.array([[t, h, w]]), None)
time = positions[0, 0].tolist()
print("time ids:", time)
clip, behind = time[3:-2:4], time[-2]
# At 2 frames a second a temporal patch lasts 1 s, that is 2 ids.
wanted = [3 + 2 * i for i in range(t)]
print("of the clip's temporal patches:", clip, "in place of", wanted, "- text goes on at", behind, "in place of", wanted[-1] + 1)
arguments = list(inspect.signature(LanguageModel.get_rope_index).parameters)
print("arguments:", arguments)
folder = pathlib.Path(qwen2_5_vl.__file__).parent
users = sorted(file.name for file in folder.glob("*.py") if "tokens_per_second" in file.read_text())
rates = sorted(file.name for file in folder.glob("*.py") if "second_per_grid" in file.read_text())
print("files that name tokens_per_second:", users, "; second_per_grid_ts:", rates)
as_described = clip == [3, 4, 5, 6] and behind == 7 and users == ["config.py"] and rates == []
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PY
"$folder/venv/bin/python" "$folder/look.py"
