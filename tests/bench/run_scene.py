"""Time ``openeo-superres run`` on a large scene, mosaicked from the sample: px/s and resident memory.

    python tests/bench/run_scene.py --size 4000 --cores 1 2 --model edsr_4x32 cubic_mtf

Each run is a process of its own, bound to the cores it may use, from the files on disk to the finished Cloud
Optimised GeoTIFF. px/s counts 10 m pixels of the scene. Machines are noisy: compare within one call.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

SAMPLE = Path(__file__).parents[2] / "examples" / "data"


def mosaic(size: int, folder: Path) -> Path:
    """Repeat the sample until it has ``size x size`` pixels of 10 m; a pair of GeoTIFFs."""
    for resolution in (10, 20):
        edge = size * 10 // resolution
        with rasterio.open(SAMPLE / f"virginia_{resolution}m.tif") as source:
            image, profile, names = source.read(), source.profile, source.descriptions
        repeats = [-(-edge // n) for n in image.shape[1:]]
        profile.update(width=edge, height=edge, tiled=True, blockxsize=512, blockysize=512)
        with rasterio.open(folder / f"mosaic_{resolution}m.tif", "w", **profile) as target:
            target.write(np.tile(image, (1, *repeats))[:, :edge, :edge])
            target.descriptions = names
    return folder / "mosaic_10m.tif"


def measure(source: Path, model: str, cores: int) -> tuple[float, float, float]:
    """Wall time and process time in s, and peak resident memory in MiB, of one run."""
    output = source.with_name("result.tif")
    command = [sys.executable, "-m", "openeo_superres", "run", source, output, "--overwrite"]
    command += ["--model", model, "--threads", str(cores), "--provider", "cpu"]
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    started = time.perf_counter()
    pid = os.fork()
    if not pid:
        os.sched_setaffinity(0, allowed)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(command[0], [os.fspath(part) for part in command])
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(map(str, command))} ended with status {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=4000, help="edge of the scene in 10 m pixels, even")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model", nargs="+", default=["edsr_4x32"])
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the median is printed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = mosaic(arguments.size // 2 * 2, Path(folder))
        print(f"{'model':<12}{'cores':>6}{'wall s':>9}{'process s':>11}{'px/s':>12}{'memory MiB':>12}")
        for model in arguments.model:
            for cores in arguments.cores:
                runs = [measure(source, model, cores) for _ in range(arguments.repeat)]
                wall, process, memory = (statistics.median(values) for values in zip(*runs, strict=True))
                rate = arguments.size**2 / wall
                print(
                    f"{model:<12}{cores:6}{wall:9.1f}{process:11.1f}{rate:12,.0f}{memory:12.0f}", flush=True
                )


if __name__ == "__main__":
    main()
