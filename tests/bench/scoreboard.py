"""Scoreboard of reliability: damaged and hostile inputs, mutants of models, faults while writing, and more.

Usage: ``python tests/bench/scoreboard.py [--json FILE] [--quick] [GROUP ...]``. With all counts it takes some
minutes. It ends with status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import ROOT, save, show

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "attacks")]

import damage  # noqa: E402
import faults  # noqa: E402
import mutants  # noqa: E402
from hostile import ATTACKS  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

MUTANTS = {"card": 3000, "adopt": 1500}
FAULTS = {"killed": 20, "disk": 10, "memory": 10}
TRIES = 6
"""Times as many runs as faults of memory that are tried: some have enough of it."""
FLIPS = 60
QUICK = 10
"""Share of the counts, as a divisor, of a quick run."""
SECONDS, MEMORY = 2, 500
TESTS = {
    "products of ESA and Theia": ["tests/test_safe.py", "tests/test_manifest.py", "tests/test_theia.py"],
    "the offset trap": ["tests/test_offset.py", "tests/test_stac.py"],
    "tiled equals whole": ["tests/test_local.py", "tests/test_raster.py", "-k", "tiled or equals or region"],
    "determinism": ["tests/test_local.py", "tests/test_raster.py", "tests/test_soak.py", "-k", "same"],
    "soak": ["tests/test_soak.py"],
}
"""Groups that tests hold: what pytest is given."""

Row = dict[str, Any]


def damaged(folder: Path, divisor: int) -> list[Row]:
    """Files that are cut short, and bytes flipped where a checksum exists."""
    cut, flipped = {}, {}
    for kind in damage.VICTIMS:
        (folder / f"cut_{kind}").mkdir()
        cut[kind] = Counter(damage.truncations(kind, folder / f"cut_{kind}"))
    for kind in damage.FLIPPED:
        (folder / f"flip_{kind}").mkdir()
        flipped[kind] = Counter(damage.flips(kind, folder / f"flip_{kind}", FLIPS // divisor))
    rows = []
    for group, found in (("files cut short", cut), ("bytes flipped under a checksum", flipped)):
        total = sum(found.values(), Counter())
        bad = total.total() - total["refused"] - total["same"]
        rows.append(_row(group, total.total(), bad, f"{bad} silently wrong", by_kind=found))
    return rows


def hostile(folder: Path, _divisor: int) -> list[Row]:
    """Inputs that are made to harm."""
    commands = []
    for name, make in ATTACKS.items():
        (folder / name).mkdir()
        commands.append(make(folder / name))
    zygote = [sys.executable, str(ROOT / "tests" / "attacks" / "zygote.py")]
    done = subprocess.run(zygote, input=json.dumps(commands), stdout=subprocess.PIPE, text=True, check=True)
    runs = dict(zip(ATTACKS, json.loads(done.stdout)["runs"], strict=True))
    bad = {
        name: run
        for name, run in runs.items()
        if run["status"] != 2 or len(run["stderr"]) != 1 or run["cpu"] >= SECONDS or run["memory"] >= MEMORY
    }
    most = {fact: max(run[fact] for run in runs.values()) for fact in ("cpu", "memory")}
    said = f"{len(bad)} not refused; at most {most['cpu']} s, {most['memory']} MB"
    return [_row("hostile inputs", len(runs), len(bad), said, missed=bad)]


def mutated(folder: Path, divisor: int) -> list[Row]:
    """Mutants of models that a user brings."""
    found: Counter[str] = Counter()
    missed = {}
    for way, count in MUTANTS.items():
        outcomes = mutants.outcomes(folder, way, 0, count // divisor)
        found.update(outcome.split(":")[0] for outcome in outcomes.values())
        missed |= {f"{way} {i}": it for i, it in outcomes.items() if it not in {"refused", "right"}}
    said = f"{found['died']} deaths, {found['wrong']} wrong, {found['escaped']} tracebacks"
    return [_row("mutants of models", found.total(), len(missed), said, counts=found, missed=missed)]


def faulty(folder: Path, divisor: int) -> list[Row]:
    """Runs that are killed, or short of disk or memory."""
    from conftest import write_model  # noqa: PLC0415

    rows = []
    card = write_model(folder).path.with_suffix(".json")
    for kind, count in FAULTS.items():
        count = max(count // divisor, 1)  # noqa: PLW2901
        found: list[dict[str, Any]] = []
        for attempt in range(TRIES):
            if len(found) < count:
                found += [
                    it for it in faults.faults(kind, count + attempt, folder / kind, card) if it["status"]
                ]
        found = found[:count]
        bad = [
            it
            for it in found
            if it["partial"] or not it["again"]["whole"] or it["again"]["hidden"] or it["again"]["status"]
        ]
        partial = sum(bool(it["partial"]) for it in found)
        said = f"{partial} partial products, {len(found) - len(bad)} next runs complete"
        rows.append(_row(f"runs short of {kind}" if kind != "killed" else kind, len(found), len(bad), said))
        rows[-1]["statuses"] = Counter(str(it["status"]) for it in found)
    return rows


def tested(_folder: Path, _divisor: int) -> list[Row]:
    """Groups that tests of the suite hold."""
    rows = []
    for group, selection in TESTS.items():
        command = [sys.executable, "-m", "pytest", "-q", *selection]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
        bad = counts.get("failed", 0) + counts.get("error", 0)
        rows.append(_row(f"tests: {group}", sum(counts.values()), bad, f"{bad} fail"))
    return rows


def _row(group: str, count: int, bad: int, said: str, **more: Any) -> Row:
    return {"group": group, "count": count, "bad": bad, "result": said, **more}


GROUPS: dict[str, Callable[[Path, int], list[Row]]] = {
    "damaged": damaged,
    "hostile": hostile,
    "mutants": mutated,
    "faults": faulty,
    "tests": tested,
}


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a tenth of the counts")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if unknown := {*asked.groups} - GROUPS.keys():
        parser.error(f"no such group: {', '.join(unknown)}")
    rows: list[Row] = []
    for name in asked.groups or GROUPS:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = GROUPS[name](Path(folder), QUICK if asked.quick else 1)
        found[0]["seconds"] = round(time.perf_counter() - started)
        rows += found
    show(
        ("group", "count", "bad", "seconds", "result"),
        [(row["group"], row["count"], row["bad"], row.get("seconds", ""), row["result"]) for row in rows],
    )
    if asked.json:
        save(asked.json, settings={"quick": asked.quick}, rows=rows)
    sys.exit(any(row["bad"] or not row["count"] for row in rows))


if __name__ == "__main__":
    main()
