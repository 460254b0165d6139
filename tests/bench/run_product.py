"""Time ``superresolve_scene`` on whole products: from JPEG 2000 to the finished Cloud Optimised GeoTIFF.

    python tests/bench/run_product.py bench/products                                # 10980 x 10980, L1C
    python tests/bench/run_product.py bench/products --level L1C L2A --cores 1 2
    python tests/bench/run_product.py bench/products --size 1002 2004 4002 --cores 2
    python tests/bench/run_product.py bench/products --model carn_3x3x64g4sw --window 1024 --cores 1 2
    python tests/bench/run_product.py bench/products --provider cuda                # on a GPU

The folder holds the products of make_product.py, which are made when they are missing, and takes the results,
which are removed. Each run is a process of its own, bound to its cores. ``--window`` takes a part of the
product's valid corner only. Rows are added to those in the JSON file; one of the same kind is replaced.

Per run: wall and processor time in s, pixels of 10 m a second, peak resident memory, bytes read and written
by system calls. Per stage: wall time in s, summed over threads, and processor time of the threads that called
it; what onnxruntime and GDAL do in threads of their own is the rest. Stages are found by wrapping the
package's functions. Last, the time of a whole product for every model that was run, or that of a window in
proportion.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import json
import os
import statistics
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import FOLDER, bind, command, in_child, machine, show
from make_product import FULL, NODATA_SHARE, make_product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STAGES = {
    "open": ("openeo_superres.scene:open_scene", "openeo_superres.card:ModelCard.open"),
    "read, decode": ("openeo_superres.bandfile:read_bands",),
    "fill, prepare": ("openeo_superres.udf:superresolve_chunk",),
    "network": ("onnxruntime:InferenceSession.run",),
    "encode, write tiles": ("openeo_superres.cog:CogWriter.write",),
    "overviews": ("openeo_superres.cog:CogWriter._build_overviews",),
    "COG": ("openeo_superres.cog:CogWriter.finish",),
    "check": ("openeo_superres.cog:CogWriter._validate",),
}
"""Functions of each stage; the time of those that they call counts for these."""
KEY = ("level", "size", "window", "model", "cores", "provider", "processor")
"""What rows of one kind share."""


class Stages:
    """Seconds of stages, without those of the stages inside them."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = defaultdict(int)
        self.wall: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)
        self._inside = threading.local()
        self._lock = threading.Lock()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to a stage."""

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            with self.during(stage):
                return function(*args, **options)

        @functools.wraps(function)
        def generate(*args: Any, **options: Any) -> Any:
            parts, end = iter(function(*args, **options)), object()
            while True:
                with self.during(stage):
                    part = next(parts, end)
                if part is end:
                    return
                yield part

        return generate if inspect.isgeneratorfunction(function) else call

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Count what happens meanwhile, in this thread, for a stage."""
        outer = getattr(self._inside, "spent", None)
        self._inside.spent = inner = [0.0, 0.0]
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            wall, processor = time.perf_counter() - wall, time.thread_time() - processor
            if outer:
                outer[:] = outer[0] + wall, outer[1] + processor
            self._inside.spent = outer
            with self._lock:
                self.calls[stage] += 1
                self.wall[stage] += wall - inner[0]
                self.processor[stage] += processor - inner[1]

    def watch(self) -> None:
        """Wrap the functions of every stage, wherever a module of the package has imported them to."""
        importlib.import_module("openeo_superres.raster")
        modules = [module for name, module in sys.modules.items() if name.startswith("openeo_superres")]
        for stage, places in STAGES.items():
            for place in places:
                module, _, path = place.partition(":")
                *owners, name = path.split(".")
                owner = functools.reduce(getattr, owners, importlib.import_module(module))
                function = getattr(owner, name)
                timed = self.timed(stage, function)
                for holder in [owner] if owners else modules:
                    if getattr(holder, name, None) is function:
                        setattr(holder, name, timed)

    def figures(self) -> dict[str, dict[str, float]]:
        """Calls, wall and processor time of every stage."""
        return {
            stage: {"calls": self.calls[stage], "wall": self.wall[stage], "processor": self.processor[stage]}
            for stage in STAGES
        }


def usage() -> dict[str, float]:
    """Peak resident memory of this process in MiB, and MB read and written: by calls, and of the disk."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    names = {"read": "rchar", "written": "wchar", "disk read": "read_bytes", "disk written": "write_bytes"}
    return {"memory": int(peak) / 1024} | {
        f"{name} MB": int(counts[key]) / 1e6 for name, key in names.items()
    }


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Run once, in this process."""
    bind(task["cores"])
    from openeo_superres import superresolve_scene  # noqa: PLC0415

    stages = Stages()
    stages.watch()
    window = (0, 0, task["window"], task["window"]) if task["window"] else None
    started, before = time.perf_counter(), time.process_time()
    output = superresolve_scene(
        task["source"],
        task["target"],
        task["model"],
        window=window,
        provider=task["provider"],
        threads=task["cores"],
        overwrite=True,
    )
    wall, processor = time.perf_counter() - started, time.process_time() - before
    figures = {"wall": wall, "processor s": processor, "output MB": output.stat().st_size / 1e6, **usage()}
    output.unlink()
    return {**figures, "stages": stages.figures()}


def product_at(folder: Path, size: int, level: str) -> Path:
    """The product of a size: the full one is in the folder itself, as others use it, too."""
    return make_product(folder if size == FULL else folder / str(size), size, level)


def measure(folder: Path, row: dict[str, Any], repeat: int) -> dict[str, Any]:
    """Run a row as often as asked: medians, and the stages of the last run."""
    source = product_at(folder, row["size"], row["level"])
    task = {**row, "source": str(source), "target": str(folder / f"result-{os.getpid()}.tif")}
    runs = [in_child(__file__, task) for _ in range(repeat)]
    figures = {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "stages"}
    pixels = (row["window"] or row["size"]) ** 2
    facts = machine()
    return {
        **row,
        "processor": facts["processor"],
        "pixels": pixels,
        "rate": pixels / figures["wall"],
        "runs": repeat,
        **figures,
        "stages": runs[-1]["stages"],
        "machine": facts,
        "command": command(),
    }


def merged(old: Sequence[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows with one more, in place of the one of its kind."""
    kept = [row for row in old if any(row[key] != new[key] for key in KEY)]
    return sorted([*kept, new], key=lambda row: [str(row[key]).zfill(6) for key in KEY])


# ---- tables


def run_table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """A row for each run."""
    head = [
        "product",
        "model",
        "cores",
        "wall s",
        "processor s",
        "kpx/s",
        "us/px",
        "MiB",
        "MB read",
        "written",
    ]
    body = [
        [
            f"{row['level']} {row['size']}" + (f", window {row['window']}" if row["window"] else ""),
            row["model"],
            row["provider"] if row["provider"] != "cpu" else str(row["cores"]),
            f"{row['wall']:,.1f}",
            f"{row['processor s']:,.1f}",
            f"{row['rate'] / 1000:,.0f}",
            f"{1e6 / row['rate']:.2f}",
            f"{row['memory']:,.0f}",
            f"{row['read MB']:,.0f}",
            f"{row['written MB']:,.0f}",
        ]
        for row in rows
    ]
    return head, body


def stage_table(row: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A row for each stage of a run, and for what the threads of onnxruntime and GDAL did."""
    body = [
        [stage, f"{part['calls']:,}", f"{part['wall']:,.1f}", f"{part['processor']:,.1f}"]
        for stage, part in row["stages"].items()
    ]
    rest = row["processor s"] - sum(part["processor"] for part in row["stages"].values())
    body.append(["other threads, the rest", "", "", f"{rest:,.1f}"])
    body.append(["all", "", f"{row['wall']:,.1f}", f"{row['processor s']:,.1f}"])
    return ["stage", "calls", "wall s", "processor s"], body


def product_table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The time of a whole product: a row for each model and level, a column for each machine."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in rows:
        column = row["provider"] if row["provider"] != "cpu" else str(row["cores"])
        place = found[row["model"], row["level"]]
        if row["size"] == FULL and not row["window"]:
            place[column] = _clock(row["wall"])
        elif row["window"] and "~" in place.get(column, "~"):
            place[column] = "~" + _clock(row["wall"] * FULL**2 * (1 - NODATA_SHARE) / row["pixels"])
    columns = {"1": "1 core", "2": "2 cores", "8": "8 cores", "cuda": "GPU"}
    body = [
        [model, level, *(times.get(column, "not measured here") for column in columns)]
        for (model, level), times in found.items()
        if times
    ]
    return ["model", "level", *columns.values()], body


def _clock(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", help="of the products and the results")
    parser.add_argument("--size", type=int, nargs="+", default=[FULL], help="edges in 10 m pixels")
    parser.add_argument("--level", nargs="+", choices=["L1C", "L2A"], default=["L1C"])
    parser.add_argument("--cores", type=int, nargs="+", default=[2])
    parser.add_argument("--model", nargs="+", default=["edsr_4x32"])
    parser.add_argument("--window", type=int, default=0, help="edge of a part, in 10 m pixels")
    parser.add_argument("--provider", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; medians are kept")
    parser.add_argument("--json", type=Path, default=FOLDER / "product.json")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(json.load(sys.stdin))))
        return
    rows = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else []
    for level in arguments.level:
        for size in arguments.size:
            for model in arguments.model:
                for cores in arguments.cores:
                    row = {"level": level, "size": size, "window": arguments.window, "model": model}
                    row |= {"cores": cores, "provider": arguments.provider}
                    figures = measure(arguments.folder, row, arguments.repeat)
                    rows = merged(rows, figures)
                    arguments.json.parent.mkdir(parents=True, exist_ok=True)
                    arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
                    show(*run_table([figures]))
                    show(*stage_table(figures))
    print()
    show(*run_table(rows))
    print()
    show(*product_table(rows))
    print("not measured here: this command with --cores 8, or with --provider cuda where there is a GPU")


if __name__ == "__main__":
    main()
