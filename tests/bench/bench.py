"""What the benchmarks share: the machine's description, cores to run on, figures as JSON and as a table."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "bench"
"""Where figures go that are not kept."""
# the builder of products is the tests' own
sys.path.append(str(ROOT / "tests"))
CORES = sorted(os.sched_getaffinity(0))
PACKAGES = ("openeo-superres", "onnxruntime", "numpy", "rasterio")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, versions and the time."""
    import rasterio  # noqa: PLC0415

    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "memory GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
        "gdal": rasterio.__gdal_version__,
        "load": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def bind(cores: int) -> None:
    """Bind this thread, and those that it will make, to the first of the cores that the process had."""
    os.sched_setaffinity(0, CORES[:cores])


def in_child(script: str, task: dict[str, Any]) -> Any:
    """What a script prints as JSON when it is given ``--work`` and a task, in a process of its own."""
    done = subprocess.run(
        [sys.executable, script, "--work"],
        input=json.dumps(task),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{script} ended with status {done.returncode} on {task}")
    return json.loads(done.stdout.splitlines()[-1])


def command() -> str:
    """What this script was called with, but for where the figures go."""
    arguments = sys.argv[1:]
    if "--json" in arguments:
        place = arguments.index("--json")
        del arguments[place : place + 2]
    return shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *arguments])


def save(path: Path, *, settings: dict[str, Any], **figures: Any) -> None:
    """Write figures with what they were measured on and how."""
    content = {"machine": machine(), "command": command(), "settings": settings, **figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def show(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, the first column to the left."""
    lines = [[*map(str, row)] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        cells = [text.rjust(width + 2) for text, width in zip(rest, widths[1:], strict=True)]
        print(first.ljust(widths[0]) + "".join(cells))
