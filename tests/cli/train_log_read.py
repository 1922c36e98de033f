"""Reads what `train --log tensorboard,jsonl` wrote, as its viewers do.

usage: train_log_read.py tensorboard|trackio|wandb RUN STEPS

Exit code 77, with the reason, where the package is missing.
"""
import csv
import json
import math
import os
import pathlib
import sys
import tempfile

viewer, run, steps = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
scratch = tempfile.TemporaryDirectory()
os.environ.update(TRACKIO_DIR=scratch.name, HF_HOME=scratch.name, WANDB_DIR=scratch.name, WANDB_MODE="offline",
                  WANDB_SILENT="true", HF_HUB_OFFLINE="1")
NAMES = ["train/loss", "train/learning_rate", "train/grad_norm", "train/tokens_per_second"]
curves = list(csv.DictReader(open(run / "curves.csv")))
losses = [float(row["loss"]) for row in curves]
assert len(losses) == steps, len(losses)


def near(a, b):
    return math.isclose(a, b, rel_tol=1e-6)


def lines():
    return [json.loads(line) for line in open(run / "log.jsonl")]


def tensorboard():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(NAMES), events.Tags()
    for name in NAMES:
        assert [event.step for event in events.Scalars(name)] == list(range(1, steps + 1)), name
    assert all(near(event.value, loss) for event, loss in zip(events.Scalars("train/loss"), losses))
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    assert '"coherent": true' in texts["run/criteria/text_summary"], texts
    assert '"learning-rate"' in texts["run/config/text_summary"], texts
    assert "train" in texts["run/run/text_summary"], texts
    for picture in sorted((run / "maps").glob("*.png")) if (run / "maps").is_dir() else []:
        step = int(picture.stem.removeprefix("step-"))
        kept = [image for image in events.Images("attention/map") if image.step == step]
        assert len(kept) == 1 and kept[0].encoded_image_string == picture.read_bytes(), picture
        assert kept[0].width > 0 and kept[0].height > 0


def trackio():
    import trackio

    # What docs/training.md says: curves.csv, and the lines one by one.
    trackio.import_csv(str(run / "curves.csv"), project="curves")
    logged = trackio.init(project="lines", name="run")
    for line in lines():
        trackio.log(line, step=line["step"])
    trackio.finish()
    from trackio.sqlite_storage import SQLiteStorage

    for project, name in [("curves", "loss"), ("lines", "train/loss")]:
        runs = SQLiteStorage.get_runs(project)
        found = SQLiteStorage.get_logs(project, runs[0])
        assert [row["step"] for row in found] == list(range(1, steps + 1)), found
        assert all(near(float(row[name]), loss) for row, loss in zip(found, losses)), project


def wandb():
    import wandb

    logged = wandb.init(project="p", config=json.load(open(run / "log_header.json")))
    for line in lines():
        logged.log(line, step=line["step"])
    logged.finish()
    wandb.teardown()  # waits for the process that writes
    # What waits to be synchronised: the numbers as JSON, among other things.
    (kept,) = pathlib.Path(scratch.name).glob("wandb/offline-run*/*.wandb")
    kept = kept.read_bytes()
    for line in lines():
        assert json.dumps(line["train/loss"]).encode() in kept, line


try:
    {"tensorboard": tensorboard, "trackio": trackio, "wandb": wandb}[viewer]()
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
print("read")
