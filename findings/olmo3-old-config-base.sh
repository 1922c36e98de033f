#!/usr/bin/env bash
# transformers 5.24.0: an OLMo 3 config.json in the spelling of transformers 4 loses its rope_theta in the sliding layers.
#
#   findings/olmo3-old-config-base.sh
#
# Seen with transformers 5.24.0, Python 3.11: of {"model_type": "olmo3", "rope_theta": 20000, "rope_scaling": {"rope_type": "yarn", ...}} the full layers get
# base 20,000 and the sliding ones 500,000, the class's default, without a warning. The spelling has one base for both (transformers 4.57 turns all layers
# with it), and the same file read as a text model without kinds of layers (olmo2) keeps it. The published files say 500,000, so they are not touched; a θ sweep
# over copies of such a file moves one layer in four. ropescope gives both kinds the file's base.
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Python 3 with venv and PyPI; nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0
cat >"$folder/look.py" <<'PY'
import json, os, sys
from transformers import AutoConfig

folder = sys.argv[1]
sizes = {"hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 96,
         "max_position_embeddings": 8192}


def rope_of(config):
    os.makedirs(folder + "/model", exist_ok=True)
    with open(folder + "/model/config.json", "w") as file:
        json.dump({**sizes, **config}, file)
    return AutoConfig.from_pretrained(folder + "/model").rope_parameters


yarn = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 1024}
olmo3 = rope_of({"model_type": "olmo3", "architectures": ["Olmo3ForCausalLM"], "rope_theta": 20000.0, "rope_scaling": yarn, "sliding_window": 13})
olmo2 = rope_of({"model_type": "olmo2", "architectures": ["Olmo2ForCausalLM"], "rope_theta": 20000.0})
bases = {kind: settings["rope_theta"] for kind, settings in olmo3.items()}
print("olmo3, rope_theta 20000:", bases)
print("olmo2, rope_theta 20000:", olmo2["rope_theta"])
as_described = bases == {"full_attention": 20000.0, "sliding_attention": 500000.0} and olmo2["rope_theta"] == 20000.0
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PY
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>"$folder/stderr" || { code=$?; tail -n 5 "$folder/stderr" >&2; exit $code; }
