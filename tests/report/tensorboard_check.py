#!/usr/bin/env python3
"""Trains a few steps with `log: {tensorboard: true}` and reads the event files with TensorBoard itself.

usage: tensorboard_check.py MARA SOURCE_FOLDER
Exit code 77: the tensorboard package is not there.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

try:
    from tensorboard.backend.event_processing import event_accumulator, event_file_loader
except ImportError:
    print("the tensorboard package is not installed")
    sys.exit(77)


def train(mara, recipe, folder, steps, *more):
    settings = [f"train.steps={steps}", "schedule.kind=constant", "log.tensorboard=true", "checkpoint.every=3",
                "eval.every=3", "eval.examples=8", "eval.test_examples=8"]
    command = [mara, "train", recipe, "--out", str(folder), *more]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def tensorboard_scalars(folder):
    accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance={event_accumulator.SCALARS: 0})
    accumulator.Reload()
    return {tag: {event.step: event.value for event in accumulator.Scalars(tag)}
            for tag in accumulator.Tags()["scalars"]}


def metrics_scalars(folder):
    out = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        prefix = entry["split"] + "/" if "split" in entry else ""
        for key in ("loss", "lr", "grad_norm", "tokens_per_second", "memory", "accuracy", "bits_per_byte"):
            if key in entry:
                out.setdefault(prefix + key, {})[entry["step"]] = entry[key]
    return out


def compare(folder):
    ours, theirs = metrics_scalars(folder), tensorboard_scalars(folder)
    assert ours.keys() == theirs.keys(), (ours.keys(), theirs.keys())
    for tag, values in ours.items():
        assert values.keys() == theirs[tag].keys(), (tag, values.keys(), theirs[tag].keys())
        tolerance = 1 if tag == "tokens_per_second" else 0  # rounded in metrics.jsonl
        for step, value in values.items():
            got = theirs[tag][step]
            assert abs(got - value) <= tolerance + 1e-6 * abs(value), (tag, step, value, got)
    return sum(len(values) for values in ours.values())


def check_cut(folder):
    """Whatever a kill leaves of a file is readable up to its last complete event."""
    file = next(folder.glob("events.out.tfevents.*"))
    content = file.read_bytes()
    whole = len(list(event_file_loader.LegacyEventFileLoader(str(file)).Load()))
    cut = folder / "cut"
    for length in (len(content) - 1, len(content) // 2, 30):
        cut.write_bytes(content[:length])
        events = len(list(event_file_loader.LegacyEventFileLoader(str(cut)).Load()))
        assert events < whole, (length, events, whole)
        assert length < 100 or events > 2, (length, events)
    cut.unlink()


def main():
    mara, recipe = sys.argv[1], sys.argv[2] + "/recipes/tests/hyena.yaml"
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "run"
        train(mara, recipe, folder, 8)
        print(compare(folder), "values of one run are the same in TensorBoard")
        check_cut(folder)
        # From the first checkpoint: TensorBoard must drop what the first run did beyond it, as metrics.jsonl does.
        train(mara, recipe, folder, 7, "--resume", str(sorted((folder / "checkpoints").iterdir())[0]))
        assert len(list(folder.glob("events.out.tfevents.*"))) == 2
        print(compare(folder), "values of the resumed run are the same in TensorBoard")


main()
