# ruff: noqa: E402
"""A training that is killed at any moment goes on as if nothing had been."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")

from safetensors.torch import load_file

from training import train

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_torch_thread")]

MODELS = Path(__file__).parents[1] / "models"
STEPS = 30
KILLED_TWICE = """
import os, signal, sys
from pathlib import Path
from training import train

save = train.save_file

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_halfway(tensors, path, **options):
    save(tensors, path, **options)
    os.truncate(path, os.path.getsize(path) // 2)
    die()

folder = Path(sys.argv[-1])
for name, fatal in (("save_file", die_halfway), ("os.fsync", die)):
    content = (folder / "checkpoint.safetensors").read_bytes()
    child = os.fork()
    if child == 0:
        if name == "save_file":
            train.save_file = fatal
        else:
            os.fsync = fatal
        train.main()
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, name
    assert (folder / "checkpoint.safetensors").read_bytes() == content, name
    assert len(list(folder.glob(".*.part"))) == 1, name
train.main()
"""
"""Two children die of the first checkpoint they write, half of it or all but its name; the parent goes on."""


@pytest.fixture
def data(sample, tmp_path):
    """A data folder with one small source."""
    folder = tmp_path / "data"
    (folder / "eurosat-l2a-testset").mkdir(parents=True)
    x10, x20 = (
        part.astype(np.uint16)[None, :, : 64 * f, : 64 * f] for part, f in zip(sample, (2, 1), strict=True)
    )
    np.savez(folder / "eurosat-l2a-testset/train_0.npz", x10=x10, x20=x20)
    return folder


@pytest.fixture
def options(data):
    return ["edsr_1x8", "--data", data, "--steps", STEPS, "--batch", 1, "--every", 1, "--threads", 1]


def start(output, options, *interpreter):
    command = [sys.executable, *interpreter, *options, "--output", output]
    return subprocess.Popen(
        [*map(str, command)], cwd=MODELS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def lines_until_the_first_step(process):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("{"):
            break
    return lines


def test_killed_training_ends_with_the_same_weights(options, tmp_path, monkeypatch):
    """SIGKILL at a random moment, with half a checkpoint written, and with a whole one not yet renamed."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    monkeypatch.setattr(sys, "argv", ["train", *map(str, options), "--output", str(undisturbed)])
    train.main()

    process = start(killed, options, "-m", "training.train")
    lines = lines_until_the_first_step(process)
    time.sleep(random.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "".join(lines)

    process = start(killed, options, "-c", KILLED_TWICE)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count("resumed from") == 3
    assert sorted(path.name for path in killed.iterdir()) == ["checkpoint.safetensors", "log.jsonl"]
    ours, theirs = (load_file(folder / "checkpoint.safetensors") for folder in (killed, undisturbed))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    steps = [json.loads(line)["step"] for line in (killed / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS


def test_stopped_by_the_keyboard(options, tmp_path, monkeypatch, capsys):
    """One line that says how to go on, no traceback."""

    def interrupted(_training):
        raise KeyboardInterrupt

    monkeypatch.setattr(train.Training, "advance", interrupted)
    monkeypatch.setattr(sys, "argv", ["train", *map(str, options), "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        train.main()
    assert stopped.value.code == 130
    assert capsys.readouterr().err.startswith("stopped; the same command goes on from")
