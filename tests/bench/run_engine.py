"""Time the engine, and beside it the same networks driven as the public tool sentinel2_superresolution does.

    python tests/bench/run_engine.py
    python tests/bench/run_engine.py --cores 1 --model edsr_4x32 edsr_2x32 --repeat 9

engine      ``superresolve_chunk`` on one chunk per core, of the size that ``superresolve_scene`` takes, with
            the model's margin around it: looking for nodata, filling, network (one thread each), cutting
public way  what that tool does for one tile after another, with its defaults: it reads ten bands over 500
            pixels of 10 m and a margin of 16, those of 20 m resampled by cubic convolution; one onnxruntime
            session of its own options; the margin is cut, the rest written to a tiled, uncompressed GeoTIFF
            of int16; nothing overlaps. The source is a product made by make_product.py, in JPEG 2000.

Both use this repository's networks: the public way, too, has their consistency layer, which the tool's own
network lacks (less than a hundredth of CARN's time), and takes less margin than they need. px/s are pixels of
10 m that are kept, per second of wall time; "its network" counts the network's seconds alone. "By processor
time" is the ratio before it, on what the processor spent: the one to trust where others use the machine. The
calls are made in turn, round by round, so that what disturbs the machine disturbs both; slow ones get fewer
rounds. Medians, of all rounds but the first where there are three.
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bench import FOLDER, bind, in_child, save, show
from make_product import make_product

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from openeo_superres.udf import Model

TILE, MARGIN = 500, 16
"""The public tool's defaults (1000 and 32 pixels of 5 m), in 10 m pixels."""
REFERENCE = "carn_3x3x64g4sw"
"""The network that the public tool is known for; speeds are compared with this one driven its way."""
HARMONISED = -1000.0
"""Added to the product's numbers."""


def public_session(content: bytes, threads: int) -> Any:
    """A session with the public tool's options."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.use_deterministic_compute = True
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def public_tile(
    session: Any, files: list[Path], corner: tuple[int, int], size: int, target: Path
) -> list[float]:
    """Super-resolve one tile the public way.

    Args:
        session: See :func:`public_session`.
        files: Of the ten bands in the network's order.
        corner: Column and row of the tile without margin, in 10 m pixels.
        size: Of the tile without margin.
        target: A GeoTIFF to make.

    Returns:
        The times when it started, had read, had run the network, and had written.
    """
    import rasterio  # noqa: PLC0415
    from rasterio.enums import Resampling  # noqa: PLC0415

    times = [time.perf_counter()]
    edge = size + 2 * MARGIN
    image = np.empty((len(files), edge, edge), np.float32)
    for file, band in zip(files, image, strict=True):
        with rasterio.open(file) as source:
            step = round(source.transform.a / 10)
            col, row = ((start - MARGIN) / step for start in corner)
            window = rasterio.windows.Window(col, row, edge / step, edge / step)
            source.read(1, window=window, out=band, resampling=Resampling.cubic)
            crs = source.crs
    image += HARMONISED
    times.append(time.perf_counter())
    (output,) = session.run(None, {"input": image[None]})
    times.append(time.perf_counter())
    output[np.isnan(output)] = -10000
    kept = output[0, :, 2 * MARGIN : -2 * MARGIN, 2 * MARGIN : -2 * MARGIN]
    profile = {"width": 2 * size, "height": 2 * size, "count": len(files), "dtype": "int16", "nodata": -10000}
    transform = rasterio.Affine(5, 0, 0, 0, -5, 0)
    with rasterio.open(
        target, "w", driver="GTiff", tiled=True, crs=crs, transform=transform, **profile
    ) as result:
        result.write(kept.astype(np.int16))
    times.append(time.perf_counter())
    return times


def engine_chunk(model: Model, image: NDArray[np.float32], size: int) -> list[float]:
    """Super-resolve the first chunk of an image by the engine; times as :func:`public_tile` tells them."""
    from openeo_superres.udf import superresolve_chunk  # noqa: PLC0415

    between: list[float] = []

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        between.append(time.perf_counter())
        result = model.run(batch)
        between.append(time.perf_counter())
        return result

    edge = size + 2 * model.margin
    started = time.perf_counter()
    superresolve_chunk(image[:, :edge, :edge], replace(model, run=run), overlap=model.margin)
    return [started, *between, time.perf_counter()]


def engine_chunks(pool: Executor, model: Model, image: NDArray[np.float32], size: int, n: int) -> list[float]:
    """Super-resolve ``n`` chunks at once; from the first that starts a step to the last that ends it."""
    every = [task.result() for task in [pool.submit(engine_chunk, model, image, size) for _ in range(n)]]
    started, network, after, ended = zip(*every, strict=True)
    return [min(started), min(network), max(after), max(ended)]


def read_image(files: Sequence[Path], edge: int) -> NDArray[np.float32]:
    """The first pixels of a product as ``(bands, edge, edge)`` DN, 20 m bands replicated."""
    import rasterio  # noqa: PLC0415

    image = np.empty((len(files), edge, edge), np.float32)
    for file, band in zip(files, image, strict=True):
        with rasterio.open(file) as source:
            step = round(source.transform.a / 10)
            pixels = source.read(1, window=((0, -(-edge // step)), (0, -(-edge // step))))
        band[:] = pixels.repeat(step, axis=0).repeat(step, axis=1)[:edge, :edge]
    return image + HARMONISED


def in_turn(calls: dict[tuple[str, str], Callable[[], list[float]]], repeat: int, patience: float) -> Any:
    """Make every call once a round, slow ones in fewer rounds, and keep the seconds of their three steps.

    Args:
        calls: By model and way.
        repeat: Rounds.
        patience: Seconds that a call may take in all rounds together, once it was made.

    Returns:
        Per call, a list of (before the network, network, after it, processor) in s.
    """
    seconds: dict[tuple[str, str], list[list[float]]] = {key: [] for key in calls}
    for _ in range(repeat):
        for key, call in calls.items():
            spent = [sum(parts[:3]) for parts in seconds[key]]
            if sum(spent) + min(spent, default=0) > patience:
                continue
            processor = time.process_time()
            times = call()
            processor = time.process_time() - processor
            seconds[key].append([*(b - a for a, b in pairwise(times)), processor])
            print(f"{' '.join(key)}: {times[-1] - times[0]:.2f} s", file=sys.stderr, flush=True)
    return seconds


def work(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Time every model on some cores, in this process."""
    from openeo_superres import load_card  # noqa: PLC0415

    bind(task["cores"])
    files, size, tile = {name: Path(file) for name, file in task["files"].items()}, task["size"], task["tile"]
    per_axis = (task["edge"] - 2 * MARGIN) // tile
    corners = [(MARGIN + tile * (n % per_axis), MARGIN + tile * (n // per_axis)) for n in range(per_axis**2)]
    # tiles of the public way and those of JPEG 2000 meet differently from tile to tile
    np.random.default_rng(0).shuffle(corners)
    calls: dict[tuple[str, str], Callable[[], list[float]]] = {}
    pool = ThreadPoolExecutor(task["cores"])
    for name in task["models"]:
        card = load_card(name)
        ordered = [files[band] for band in card.bands]
        model = card.open("cpu", 1)
        image = read_image(ordered, size + 2 * model.margin)
        session, places = public_session(card.read_weights(), task["cores"]), cycle(corners)
        calls[name, "engine"] = partial(engine_chunks, pool, model, image, size, task["cores"])
        calls[name, "public"] = lambda session=session, ordered=ordered, places=places: public_tile(
            session, ordered, next(places), tile, Path(task["target"])
        )
        # first calls are slower: memory, kernels, caches
        model.run(image[None, :, :64, :64])
        session.run(None, {"input": image[None, :, :64, :64]})
    rows = []
    for (name, way), every in in_turn(calls, task["repeat"], task["patience"]).items():
        # the first round fetches memory from the system
        runs = every[1:] if len(every) > 2 else every
        pixels = task["cores"] * size**2 if way == "engine" else tile**2
        steps = [statistics.median(values) for values in zip(*runs, strict=True)]
        wall = statistics.median(sum(parts[:3]) for parts in runs)
        rows.append(
            {
                "model": name,
                "way": way,
                "cores": task["cores"],
                "rounds": len(runs),
                "rate": pixels / wall,
                "network": pixels / steps[1],
                "before s": steps[0],
                "network s": steps[1],
                "after s": steps[2],
                "processor s": steps[3],
                "pixels": pixels,
            }
        )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells, a row for each model and number of cores."""
    found = {(row["cores"], row["model"], row["way"]): row for row in rows}
    body = []
    for cores, name in dict.fromkeys(key[:2] for key in found):
        ours, theirs = found[cores, name, "engine"], found[cores, name, "public"]
        reference = found.get((cores, REFERENCE, "public"))
        rates = [f"{row[key] / 1000:,.1f}" for row in (ours, theirs) for key in ("rate", "network")]
        ratio = f"{ours['rate'] / reference['rate']:.2f}" if reference else ""
        work = [row["pixels"] / row["processor s"] for row in (ours, reference) if row]
        spent = f"{work[0] / work[1]:.2f}" if reference else ""
        body.append([name, str(cores), *rates, f"{ours['rate'] / theirs['rate']:.2f}", ratio, spent])
    head = ["model", "cores", "engine kpx/s", "its network", "public way kpx/s", "its network"]
    return [*head, "engine / public way", "engine / CARN, public way", "by processor time"], body


def main() -> None:
    """Entry point."""
    from openeo_superres import list_models  # noqa: PLC0415
    from openeo_superres.raster import superresolve_scene  # noqa: PLC0415

    size = inspect.signature(superresolve_scene).parameters["size"].default or 512
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model", nargs="+", default=list_models())
    parser.add_argument("--size", type=int, default=size, help="of the engine's chunk (default: %(default)s)")
    parser.add_argument("--tile", type=int, default=TILE, help="of the public way (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=7, help="rounds (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=100, help="longest time of one row in s")
    parser.add_argument("--json", type=Path, default=FOLDER / "engine.json")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(json.load(sys.stdin))))
        return
    # four tiles of JPEG 2000 at least, and room for any margin
    edge = 6 * max(-(-max(arguments.size + 200, 4 * arguments.tile + 2 * MARGIN) // 6), 1)
    with tempfile.TemporaryDirectory() as folder:
        product = make_product(Path(folder), edge, "L1C", nodata=0)
        files = {file.stem[-3:]: str(file) for file in product.rglob("*.jp2")}
        task = {
            "models": arguments.model,
            "files": files,
            "edge": edge,
            "target": str(Path(folder) / "public.tif"),
            "size": arguments.size,
            "tile": arguments.tile,
            "repeat": arguments.repeat,
            "patience": arguments.patience,
        }
        rows = [row for cores in arguments.cores for row in in_child(__file__, {**task, "cores": cores})]
    show(*table(rows))
    save(arguments.json, settings={"size": arguments.size, "tile": arguments.tile}, rows=rows)


if __name__ == "__main__":
    main()
