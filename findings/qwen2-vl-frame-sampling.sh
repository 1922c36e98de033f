#!/usr/bin/env bash
# transformers 5.24.0: for some clips Qwen2-VL's and Qwen2.5-VL's frame sampling asks for a frame that the clip does not have.
#
#   findings/qwen2-vl-frame-sampling.sh
#
# Seen with transformers 5.24.0, torch 2.15.0, torchvision 0.29.2, Python 3.11:
# - Qwen2VLVideoProcessor.sample_frames steps through the clip by total / kept in floating point. Where rounding leaves the last step just below the
#   end, it gives one index more than it meant to: a clip of 367 frames at 24 frames a second, at 2 a second, gets 31 indices in place of 30, the last
#   being 367, one past the end (frames are counted from 0).
# - Of the clips of 30 to 1,999 frames at 24 frames a second, 21 are of this kind; an array of their frames, indexed so, ends with an IndexError, and
#   what does not fail has an odd number of frames where pairs are meant.
# Which clips fail looks like chance to whoever prepares a video benchmark: the same recording cut one frame shorter goes through. ropescope samples as the
# processor does and takes the last frame for an index behind it (src/ropescope/vision/frame_sampling.h).
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Python 3.11 with venv and PyPI (4 GB); nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.15.0 torchvision==0.29.2 numpy pillow
cat >"$folder/look.py" <<'PY'
import sys

import numpy as np
from transformers import Qwen2VLVideoProcessor
from transformers.video_utils import VideoMetadata

processor = Qwen2VLVideoProcessor()

def sampled(total, fps):
    return np.asarray(processor.sample_frames(VideoMetadata(total_num_frames=total, fps=fps, duration=total / fps), fps=2))

one = sampled(367, 24)
print("367 frames at 24 a second:", len(one), "indices, the last is", one[-1])
beyond = [total for total in range(30, 2000) if sampled(total, 24).max() >= total]
print("clips of 30 to 1,999 frames that get an index beyond their end:", len(beyond), "first", beyond[:6])
try:
    np.zeros((367, 2, 2, 3), np.uint8)[one]
    error = "none"
except IndexError as problem:
    error = str(problem)
print("indexing the frames:", error)
sys.exit(0 if len(one) == 31 and one[-1] == 367 and len(beyond) > 0 and error != "none" else 1)
PY
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" "$folder/look.py"
