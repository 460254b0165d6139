"""Time the User Defined Function on chunks as a back-end hands them over, and what memory a worker needs.

    python tests/bench/run_udf.py --model edsr_4x32 cubic_mtf --size 256 512
    python tests/bench/run_udf.py --size 512 --limit --json figures.json
    python tests/bench/run_udf.py --udf older.py udf/openeo_superres/udf.py

A chunk has ``size`` 10 m pixels per axis and the model's margin around them; in mode "grid" each is repeated
on the 5 m grid. Every configuration is a process of its own with one thread, which calls the UDF's text
through ``run_udf_code``. Columns:

    chunk s    median seconds of a chunk in apply_datacube
    network s  of these, in the network (session.run)
    cost       chunk / network - 1: what the UDF adds
    computed   pixels that the network computes, over those that the back-end keeps
    px/s       10 m pixels kept, per second
    box s      a chunk of which only 64 x 64 pixels are valid
    empty s    a chunk of nodata
    RSS, VM    peak resident and virtual memory of the process in MiB
    limit      the smallest virtual memory in MiB under which it works (``--limit``): the least that the job
               option "python-memory" may be, without what the back-end itself loads

Machines are noisy: compare within one call.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UDF = ROOT / "udf" / "openeo_superres" / "udf.py"
BOX = 64
STEP = 32
"""Precision of the memory limit in MiB."""
PATIENCE = 120
"""Longest time of a process in s."""
COLUMNS = {
    "chunk s": ("chunk", "{:.3f}"),
    "network s": ("network", "{:.3f}"),
    "cost": ("cost", "{:.1%}"),
    "computed": ("computed", "{:.2f}"),
    "px/s": ("rate", "{:,.0f}"),
    "box s": ("box", "{:.3f}"),
    "empty s": ("empty", "{:.3f}"),
    "RSS": ("rss", "{:.0f}"),
    "VM": ("vm", "{:.0f}"),
    "limit": ("limit", "{:.0f}"),
}


def peaks() -> dict[str, float]:
    """Peak resident and virtual memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {key: int(values[name].split()[0]) / 1024 for key, name in (("rss", "VmHWM"), ("vm", "VmPeak"))}


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Run one configuration in this process."""
    if task["limit"]:
        resource.setrlimit(resource.RLIMIT_AS, (task["limit"] << 20,) * 2)
    # what a worker imports, and only under the limit
    import numpy as np  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415
    import xarray as xr  # noqa: PLC0415
    from openeo.udf import UdfData, XarrayDataCube  # noqa: PLC0415
    from openeo.udf.run_code import run_udf_code  # noqa: PLC0415

    spent: list[float] = []
    shapes: list[tuple[int, ...]] = []
    original = onnxruntime.InferenceSession.run

    def run(self: Any, names: list[str], feeds: dict[str, Any], *options: Any) -> Any:
        started = time.perf_counter()
        result = original(self, names, feeds, *options)
        spent.append(time.perf_counter() - started)
        shapes.extend(value.shape for value in feeds.values())
        return result

    onnxruntime.InferenceSession.run = run
    code, context, size = Path(task["udf"]).read_text(encoding="utf-8"), task["context"], task["size"]
    edge, repeats = size + 2 * context["margin"], context["scale"] if context["mode"] == "grid" else 1
    sample = np.load(task["sample"], mmap_mode="r")
    pixels = np.empty((1, len(sample), edge * repeats, edge * repeats), np.float32)
    for band, target in zip(sample, pixels[0], strict=True):
        tiled = np.tile(band, [-(-edge // n) for n in band.shape])[:edge, :edge]
        target[:] = tiled.repeat(repeats, axis=0).repeat(repeats, axis=1)
    step, half = 10 / repeats, 5 / repeats
    coords = {
        "t": np.array(["2026-06-01"], "datetime64[ns]"),
        "bands": context["bands"],
        "y": (5_400_000 - half - step * np.arange(edge * repeats)).astype(np.float32),
        "x": (300_000 + half + step * np.arange(edge * repeats)).astype(np.float32),
    }
    chunk = xr.DataArray(pixels, coords, ("t", "bands", "y", "x"))

    def call() -> tuple[float, float]:
        spent.clear()
        data = UdfData(datacube_list=[XarrayDataCube(chunk)], user_context=context)
        started = time.perf_counter()
        run_udf_code(code, data)
        return time.perf_counter() - started, sum(spent)

    call()
    chunks = [call() for _ in range(task["repeat"])]
    computed = float(np.prod(shapes[-1][2:]))
    seconds, network = (statistics.median(values) for values in zip(*chunks, strict=True))
    figures = peaks()
    first, last = repeats * (edge - BOX) // 2, repeats * (edge + BOX) // 2
    for axis in (2, 3):
        for outside in (slice(None, first), slice(last, None)):
            pixels[(slice(None),) * axis + (outside,)] = np.nan
    box = statistics.median(call()[0] for _ in range(task["repeat"]))
    pixels[:] = np.nan
    empty = statistics.median(call()[0] for _ in range(task["repeat"]))
    return {
        "chunk": seconds,
        "network": network,
        "cost": statistics.median(total / inside - 1 for total, inside in chunks),
        "computed": computed / size**2,
        "rate": size**2 / seconds,
        "box": box,
        "empty": empty,
        **figures,
    }


def measure(task: dict[str, Any]) -> dict[str, Any] | None:
    """Run a configuration in a process of its own; None if it fails."""
    command = [sys.executable, __file__, "--work"]
    try:
        done = subprocess.run(
            command, input=json.dumps(task), capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:  # numpy's BLAS may wait for memory for ever
        return None
    if done.returncode and not task["limit"]:
        raise SystemExit(done.stderr)
    return None if done.returncode else json.loads(done.stdout.splitlines()[-1])


def least_memory(task: dict[str, Any], fails: int, works: int) -> int:
    """Smallest limit in MiB, in steps, under which a configuration works; between two, of which one does."""
    while works - fails > STEP:
        middle = (works + fails) // 2
        if measure({**task, "limit": middle, "repeat": 1}):
            works = middle
        else:
            fails = middle
    return works


def tasks(arguments: argparse.Namespace, sample: Path) -> list[dict[str, Any]]:
    """Every configuration that is asked for."""
    from openeo_superres import load_card, udf  # noqa: PLC0415

    found = []
    for name in arguments.model:
        card = load_card(name)
        context = {
            "scale": card.scale,
            "bands": list(card.bands),
            "margin": card.margin,
            "overlap": card.margin,
            "sha256": card.sha256,
            "provider": "cpu",
            "weights": udf.pack_weights(card.read_weights()),
        }
        found += [
            {
                "label": f"{name:<12}{mode:<9}{size:4}{'' if i == 0 else f' {source.name}'}",
                "model": name,
                "size": size,
                "udf": str(source),
                "context": {**context, "mode": mode},
                "sample": str(sample),
                "repeat": arguments.repeat,
                "limit": 0,
            }
            for mode in arguments.mode
            for size in arguments.size
            for i, source in enumerate(arguments.udf)
        ]
    return found


def write_sample(path: Path) -> None:
    """The sample's ten bands on the 10 m grid."""
    import numpy as np  # noqa: PLC0415
    import rasterio  # noqa: PLC0415

    images = []
    for resolution in (10, 20):
        with rasterio.open(ROOT / "examples" / "data" / f"virginia_{resolution}m.tif") as source:
            images.append(source.read().astype(np.float32))
    np.save(path, np.concatenate([images[0], images[1].repeat(2, axis=1).repeat(2, axis=2)]))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=["edsr_4x32", "cubic_mtf"])
    parser.add_argument("--size", type=int, nargs="+", default=[128, 256, 384, 512, 768])
    parser.add_argument("--mode", nargs="+", choices=["grid", "upscale"], default=["grid", "upscale"])
    parser.add_argument("--repeat", type=int, default=5, help="chunks of a process; the median is printed")
    parser.add_argument("--rounds", type=int, default=1, help="processes of each configuration, in turn")
    parser.add_argument("--limit", action="store_true", help="search the smallest virtual memory")
    parser.add_argument("--udf", type=Path, nargs="+", default=[UDF], help="files to compare")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(json.load(sys.stdin))))
        return
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.npy"
        write_sample(sample)
        jobs = tasks(arguments, sample)
        rounds: list[list[dict[str, Any]]] = [[] for _ in jobs]
        print(f"{'model':<12}{'mode':<9}size" + "".join(f"{title:>11}" for title in COLUMNS), flush=True)
        for last in range(1, arguments.rounds + 1):
            for task, results in zip(jobs, rounds, strict=True):
                results.append(measure(task) or {})
                if last == arguments.rounds:
                    figures = {key: statistics.median(r[key] for r in results) for key in results[0]}
                    if arguments.limit:
                        figures["limit"] = least_memory(
                            task, int(figures["rss"]), int(figures["vm"]) + 2 * STEP
                        )
                    results[:] = [figures]
                    cells = [form.format(figures.get(key, 0)) for key, form in COLUMNS.values()]
                    print(
                        task["label"][:25] + "".join(f"{cell:>11}" for cell in cells),
                        task["label"][25:],
                        flush=True,
                    )
    if arguments.json:
        keys = ("model", "size", "udf")
        lines = [
            {**{key: task[key] for key in keys}, "mode": task["context"]["mode"], **results[0]}
            for task, results in zip(jobs, rounds, strict=True)
        ]
        arguments.json.write_text(json.dumps(lines, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
