"""Time ``superresolve_local`` on a cluster on this machine: workers of one thread, threads of one process.

    python tests/bench/run_cluster.py --size 2048 --model edsr_4x32
    python tests/bench/run_cluster.py --workers 1 2 4 --repeat 5 --json figures.json

The cube is the sample, repeated; its chunks are read from a file. What comes out is summed up where it is
computed: no result is sent or written. Each configuration runs once to warm up; then all of them in turn,
``--repeat`` times. Columns:

    s        median seconds
    px/s     10 m pixels a second
    speed-up over the first row
    MiB      peak resident memory of a process that computes, the largest; for numpy, which holds the result,
             one process with the sessions of every number of threads

Machines are noisy: compare within one call.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rasterio
import xarray as xr
from distributed import Client, LocalCluster

from openeo_superres import DEFAULT_MODEL, superresolve_local
from openeo_superres.sensor import BAND_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = Path(__file__).parents[2] / "examples" / "data"
CHUNK = 1024
"""Edge of what is read at once, in 10 m pixels."""


def write_cube(path: Path, size: int) -> None:
    """Repeat the sample, its 20 m bands replicated, until it has ``size x size`` pixels."""
    parts = []
    for resolution in (10, 20):
        with rasterio.open(SAMPLE / f"virginia_{resolution}m.tif") as source:
            parts.append(source.read().repeat(resolution // 10, axis=1).repeat(resolution // 10, axis=2))
    image = np.concatenate(parts).astype(np.float32)
    repeats = [-(-size // n) for n in image.shape[1:]]
    np.save(path, np.tile(image, (1, *repeats))[:, :size, :size])


def read_cube(path: Path, size: int) -> xr.DataArray:
    """The cube of a file, lazily."""

    def load(block_info: Any) -> np.ndarray:
        (_, rows, columns) = block_info[None]["array-location"]
        return np.array(np.load(path, mmap_mode="r")[:, slice(*rows), slice(*columns)])

    edges = tuple(min(CHUNK, size - start) for start in range(0, size, CHUNK))
    empty = np.empty((0,) * 3, np.float32)
    data = da.map_blocks(load, chunks=((len(BAND_NAMES),), edges, edges), dtype=np.float32, meta=empty)
    return xr.DataArray(data, {"bands": list(BAND_NAMES)}, ("bands", "y", "x"))


def peak() -> float:
    """Peak resident memory of this process in MiB, since it was last asked for."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def configurations(
    stack: ExitStack, path: Path, options: argparse.Namespace
) -> dict[str, tuple[Callable[[], object], Callable[[], float]]]:
    """By name: what computes the cube, and what tells the memory that it took."""
    lazy = read_cube(path, options.size)

    def numpy_path(threads: int) -> None:
        superresolve_local(lazy.compute(scheduler="sync"), options.model, threads=threads).sum()

    def cluster_path(client: Client) -> None:
        client.compute(superresolve_local(lazy, options.model).sum()).result()

    def largest(client: Client) -> float:
        return max(client.run(peak).values())

    found: dict[str, tuple[Callable[[], object], Callable[[], float]]] = {}
    for threads in options.workers:
        found[f"numpy, {threads} threads"] = (partial(numpy_path, threads), peak)
    for workers in options.workers:
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
            )
        )
        client = stack.enter_context(Client(cluster, set_as_default=False))
        found[f"cluster, {workers} workers"] = (partial(cluster_path, client), partial(largest, client))
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2048, help="edge of the cube in 10 m pixels")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="and threads of one process")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the median is printed")
    parser.add_argument("--json", type=Path, help="where figures go, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "cube.npy"
        write_cube(path, options.size)
        runs = configurations(stack, path, options)
        spent: dict[str, list[float]] = {name: [] for name in runs}
        memory = dict.fromkeys(runs, 0.0)
        for number in range(options.repeat + 1):
            for name, (compute, measure) in runs.items():
                measure()
                started = time.perf_counter()
                compute()
                if number:
                    spent[name].append(time.perf_counter() - started)
                memory[name] = max(memory[name], measure())
    medians = {name: statistics.median(values) for name, values in spent.items()}
    first = next(iter(medians.values()))
    print(f"{options.model}, {options.size} x {options.size} pixels, load {os.getloadavg()[0]:.1f}")
    print(f"{'':<20}{'s':>8}{'px/s':>12}{'speed-up':>10}{'MiB':>8}")
    rows = []
    for name, seconds in medians.items():
        rate, gain = options.size**2 / seconds, first / seconds
        print(f"{name:<20}{seconds:8.2f}{rate:12,.0f}{gain:10.2f}{memory[name]:8.0f}")
        rows.append({"name": name, "seconds": spent[name], "rate": rate, "memory": memory[name]})
    if options.json:
        facts = {"model": options.model, "size": options.size, "cores": os.cpu_count(), "runs": rows}
        options.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
