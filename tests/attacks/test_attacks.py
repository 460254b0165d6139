"""Hostile inputs are refused in one line, soon, and in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import ATTACKS

SECONDS, MEMORY = 2, 500
"""Of CPU, to load the package included; MiB."""


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    """What the command line did of each attack."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ATTACKS}
    commands = [ATTACKS[name](folder) for name, folder in folders.items()]
    zygote = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
    done = subprocess.run(zygote, input=json.dumps(commands), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    runs = dict(zip(ATTACKS, found["runs"], strict=True))
    return {name: run | {"startup": found["startup"], "folder": folders[name]} for name, run in runs.items()}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused(met, name):
    run = met[name]
    assert (run["status"], len(run["stderr"])) == (2, 1), run["stderr"]
    line = run["stderr"][0]
    assert line.startswith("Error: ")
    assert line.isprintable()
    assert run["memory"] < MEMORY
    # loading takes longer where others work, too: it is not the attack's
    assert run["cpu"] - run["startup"] < SECONDS - 1.3
    assert not [path for path in run["folder"].rglob("*") if path.name in {"out", "out.tif"}]
    assert not [*run["folder"].rglob(".*part*")]


def test_there_are_enough():
    assert len(ATTACKS) >= 12
