"""Runs that are killed, or short of disk or memory: no partial product, and the next run completes."""

import os

import pytest
from conftest import write_model
from faults import KINDS, NAME, _look, faults

COUNTS = {"killed": 4, "disk": 3, "memory": 3}
"""Of 20, 10 and 10 that the scoreboard tries."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_leaves_no_partial_product_and_the_next_run_completes(tmp_path, kind):
    card = write_model(tmp_path)
    found = faults(kind, COUNTS[kind], tmp_path / kind, card.path.with_suffix(".json"))
    assert len(found) == COUNTS[kind]
    for fault in found:
        assert not fault["partial"], fault
        # one that is killed after it gave the result its name left it whole
        assert fault["whole"] or fault["status"] != 0, fault
        if kind == "disk":
            assert (fault["status"], fault["lines"], fault["hidden"]) == (2, 1, 0), fault
        again = fault["again"]
        assert (again["status"], again["whole"], again["hidden"]) == (0, True, 0), fault


def test_a_partial_product_would_be_noticed(tmp_path):
    right = os.urandom(1000)
    (tmp_path / NAME).write_bytes(right[:999])
    (tmp_path / f".{NAME}.1.part").touch()
    found = _look(tmp_path, right)
    assert (found["partial"], found["whole"], found["hidden"]) == (True, False, 1)
    (tmp_path / NAME).write_bytes(right)
    assert _look(tmp_path, right)["whole"]
