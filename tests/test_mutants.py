"""Mutants of models neither end the process nor are taken for models."""

from collections import Counter

import pytest
from mutants import WAYS, attempt, mutant, network, outcomes

COUNTS = {"card": 220, "adopt": 60}
"""Of 4 500 that the scoreboard tries."""


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_mutant_is_right(tmp_path, way):
    assert attempt(way, network(way).SerializeToString(), tmp_path) == "right"


@pytest.mark.parametrize("way", WAYS)
def test_mutants_are_refused_or_right(tmp_path, way):
    found = outcomes(tmp_path, way, 0, COUNTS[way])
    assert len(found) == COUNTS[way]
    assert {number: it for number, it in found.items() if it not in {"refused", "right"}} == {}
    # a mutation that changes nothing of importance is right
    assert Counter(found.values())["right"] < COUNTS[way] / 4


@pytest.mark.parametrize("number", [257, 321, 561, 725])
def test_weights_that_give_no_number_are_refused(tmp_path, number):
    assert attempt("card", mutant("card", number), tmp_path) == "refused"


def test_a_death_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("mutants.__file__", str(tmp_path / "dies.py"))
    (tmp_path / "dies.py").write_text(
        "import os, sys\n"
        "for i in range(int(sys.argv[3]), int(sys.argv[4])):\n"
        "    os.abort() if i == 2 else print(f'[{i}, \"right\"]', flush=True)"
    )
    assert outcomes(tmp_path, "card", 0, 4) == {0: "right", 1: "right", 2: "died: -6", 3: "right"}
