#!/usr/bin/env bash
# transformers 5.24.0: a Llama tokenizer that was made from a SentencePiece file with "legacy": true gives other ids after save_pretrained and
# from_pretrained.
#
#   findings/llama-tokenizer-save-load.sh
#
# Seen with transformers 5.24.0, tokenizers 0.23.3, sentencepiece 0.2.1, Python 3.11:
# - The folder with tokenizer.model and "legacy": true cuts "<s>hello</s>" as <s> ▁hello </s>: a word behind a special token begins with a space piece.
# - save_pretrained writes a tokenizer.json whose pre_tokenizer says "prepend_scheme": "always" (the same rule), and a tokenizer_config.json without
#   "legacy".
# - from_pretrained of that folder takes "legacy" for false and puts "first" in place of the file's "always": <s> he llo </s>.
# Whoever compares a model's numbers between the published folder and a copy that transformers 5 saved compares two prompts wherever text follows a
# special token (chat templates). ropescope goes by "legacy", true where it is not said, so both folders give the first cut.
#
# Ends with 0 if the behaviour is as described, with 1 if it has changed. Needs Python 3 with venv and PyPI; nothing of it is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0 tokenizers==0.23.3 sentencepiece==0.2.1 protobuf
cat >"$folder/look.py" <<'PY'
import json, os, sys
import sentencepiece
from transformers import AutoTokenizer

folder = sys.argv[1]
words = ["the river had risen higher than anyone could remember", "hello world hello there", "a bridge over the river"]
with open(folder + "/corpus.txt", "w") as corpus:
    corpus.write("\n".join(words * 20))
published = folder + "/published"
os.mkdir(published)
sentencepiece.SentencePieceTrainer.train(
    input=folder + "/corpus.txt", model_prefix=published + "/tokenizer", vocab_size=60, model_type="bpe", minloglevel=2)
with open(published + "/tokenizer_config.json", "w") as config:
    json.dump({"tokenizer_class": "LlamaTokenizer", "legacy": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
               "add_bos_token": False}, config)


def pieces(tokenizer):
    return tokenizer.convert_ids_to_tokens(tokenizer("<s>hello</s>", add_special_tokens=False)["input_ids"])


first = AutoTokenizer.from_pretrained(published)
first.save_pretrained(folder + "/saved")
saved_config = json.load(open(folder + "/saved/tokenizer_config.json"))
scheme = json.load(open(folder + "/saved/tokenizer.json"))["pre_tokenizer"]["prepend_scheme"]
before, after = pieces(first), pieces(AutoTokenizer.from_pretrained(folder + "/saved"))
print("as published:", before)
print("saved: prepend_scheme", scheme, "in tokenizer.json; legacy", saved_config.get("legacy", "not written"), "in tokenizer_config.json")
print("loaded again:", after)
as_described = (before == ["<s>", "▁hello", "</s>"] and after == ["<s>", "he", "llo", "</s>"] and scheme == "always"
                and "legacy" not in saved_config)
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PY
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>"$folder/stderr" || { code=$?; tail -n 5 "$folder/stderr" >&2; exit $code; }
