# ruff: noqa: E402
"""A training that is killed at any moment goes on as if nothing had been."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")

from safetensors.torch import load_file

from training import train

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_torch_thread")]

MODELS = Path(__file__).parents[1] / "models"
STEPS = 30
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from training import checkpoint, train

save = checkpoint.save_file
folder = Path(sys.argv[-1])
sources = train.training_sources(Path(sys.argv[3]))
train.training_sources = lambda _: sources
train.Training(train.Recipe(sys.argv[1], steps=1, batch=1), sources).advance()

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_halfway(tensors, path, **options):
    save(tensors, path, **options)
    os.truncate(path, os.path.getsize(path) // 2)
    die()

def at_random(child):
    while not (folder / "log.jsonl").exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "ended before its first step"
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)

if os.fork() == 0:
    sys.argv[-1] += "_not"
    train.main()
    os._exit(0)
assert os.wait()[1] == 0
for moment in ("any", "half written", "not yet renamed"):
    content = moment != "any" and (folder / "checkpoint.safetensors").read_bytes()
    child = os.fork()
    if child == 0:
        if moment == "half written":
            checkpoint.save_file = die_halfway
        elif moment == "not yet renamed":
            os.fsync = die
        train.main()
        os._exit(0)
    if moment == "any":
        at_random(child)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, moment
    if content:
        assert (folder / "checkpoint.safetensors").read_bytes() == content, moment
        assert len(list(folder.glob(".*.part"))) == 1, moment
train.main()
"""
"""A child trains undisturbed; three die, of their parent or of the first checkpoint they write; it goes on.

What takes long to load, the source and parts of torch, is loaded once."""


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


def test_killed_training_ends_with_the_same_weights(options, tmp_path):
    """SIGKILL at a random moment, with half a checkpoint written, and with a whole one not yet renamed."""
    killed, undisturbed = tmp_path / "killed", tmp_path / "killed_not"
    command = [sys.executable, "-c", KILLED, *options, "--output", killed]
    done = subprocess.run(list(map(str, command)), cwd=MODELS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("resumed from") == 3
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
