#!/usr/bin/env bash
# mlx-vlm 0.7.10: LLaVA-NeXT's decoder gets the tiles one after the other and then as many copies of the newline as they have tokens; half of the picture is newlines.
#
#   findings/mlx-vlm-llava-next-newlines.sh
#
# Seen with mlx-vlm 0.7.10 and mlx 0.32.4 (CPU), Python 3.11. LLaVA-NeXT lays its tiles out as one map, cuts the padding off and puts a newline token after each row of
# the map; its processor makes as many placeholders. Here a picture of 2x2 tiles and a thumbnail, of 2x2 patches each, has 4 + 16 + 4 placeholders, and what goes into the
# decoder is 40 tokens: the five tiles as they are, then 20 times the newline. Of the published sizes that is 5,760 tokens in place of 2,928, of which 2,880 are newlines,
# and the rows of the picture are torn apart, so that positions of thumbnail, tiles and text are none of the model's (and ID-Align's neighbours are other ones). Nothing warns.
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Linux, Python 3 with venv and PyPI; nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'mlx[cpu]==0.32.4' mlx-vlm==0.7.10
cat >"$folder/look.py" <<'PY'
import sys

import mlx.core as mx
from mlx_vlm.models.llava_next.config import ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.llava_next.llava_next import Model

IMAGE = 39
mx.random.seed(1)
text = TextConfig(model_type="llama", hidden_size=32, num_hidden_layers=1, intermediate_size=32, num_attention_heads=2,
                  num_key_value_heads=2, vocab_size=40, rope_theta=10000.0)
vision = VisionConfig(model_type="clip_vision_model", num_hidden_layers=2, hidden_size=32, intermediate_size=32,
                      num_attention_heads=2, image_size=28, patch_size=14)
model = Model(ModelConfig(text_config=text, vision_config=vision, model_type="llava_next", image_token_index=IMAGE))
pixels = mx.random.normal((1, 5, 3, 28, 28))  # thumbnail and 2 x 2 tiles, each of 2 x 2 patches
placeholders = 4 + 4 * (4 + 1)  # thumbnail; four rows of four patches and a newline
before, behind = [1, 2], [3, 4]
tokens = model.get_input_embeddings(mx.array([before + [IMAGE] * placeholders + behind]), pixels).inputs_embeds[0]
picture = tokens[len(before):-len(behind)]

hidden = model.vision_tower(pixels[0].transpose(0, 2, 3, 1), output_hidden_states=True)[-1]
tiles = model.multi_modal_projector(hidden[model.vision_feature_layer][:, 1:]).reshape(-1, 32)


def equal(a, b):
    return (mx.abs(a - b).max(axis=-1) < 1e-5).tolist()


newlines = equal(picture, model.image_newline)
in_tile_order = all(equal(picture[:20], tiles))
print("placeholders:", placeholders, "- tokens of the picture in the decoder:", picture.shape[0])
print("newlines among them:", sum(newlines), "all behind the tiles:", not any(newlines[:20]) and all(newlines[20:]))
print("the first twenty are the five tiles, one after the other:", in_tile_order)
as_described = placeholders == 24 and picture.shape[0] == 40 and not any(newlines[:20]) and all(newlines[20:]) and in_tile_order
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PY
"$folder/venv/bin/python" "$folder/look.py"
