"""Space on disk: what a result takes while it is made, and whether it is there."""

from __future__ import annotations

import shutil
import zlib
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from rich.filesize import decimal

from .errors import OutputError
from .udf import COARSE_BANDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .grid import Scene, Window

PEAK = {"int16": 2.2, "uint16": 2.2, "float32": 2.4}
"""Bytes on disk while a result is made, for each of its uncompressed bytes: its tiles, not compressed, and
the finished file, each with overviews. Measured on the sample scene."""
LEAST = 5
"""The same, for each byte of the scene, compressed; a third of what the sample scene takes."""
WINDOWS, SIZE = 5, 64
"""Windows per axis, and their size in 10 m pixels, that tell how well a scene compresses."""


def output_bytes(width: int, height: int, *, scale: int = 2, bands: int = 10, dtype: str = "int16") -> int:
    """Uncompressed size of the result for a window of ``width x height`` 10 m pixels, without overviews."""
    return width * height * scale**2 * bands * np.dtype(dtype).itemsize


def peak_bytes(width: int, height: int, *, scale: int = 2, bands: int = 10, dtype: str = "int16") -> int:
    """What a result usually takes on disk while it is made: less where the scene is flat or nodata."""
    return round(PEAK[dtype] * output_bytes(width, height, scale=scale, bands=bands, dtype=dtype))


def check_space(
    folder: Path,
    scene: Scene,
    region: Window,
    *,
    bands: Sequence[str],
    scale: int = 2,
    dtype: str = "int16",
    files: int = 1,
) -> None:
    """Refuse what a disk can't hold, before it is begun; what it may hold is not refused.

    Args:
        folder: Of the result.
        scene: What it is made from.
        region: The part of it.
        bands: Of the result.
        scale: Of the model.
        dtype: Of the result.
        files: Results that are made side by side.

    Raises:
        OutputError: If less is free than a third of what the scene, as well as it compresses, would take.
    """
    free = shutil.disk_usage(folder).free
    likely = files * peak_bytes(region[2], region[3], scale=scale, bands=len(bands), dtype=dtype)
    if free < likely and free < files * LEAST * _packed_bytes(scene, region, bands):
        raise OutputError(
            f"{folder} has {decimal(free)} free, and the result would take about {decimal(likely)} while it "
            "is made: free some space, write to another disk, or take a part of the scene (--window) or "
            "fewer bands (--bands)."
        )


def _packed_bytes(scene: Scene, region: Window, bands: Sequence[str]) -> int:
    """About what a part of a scene takes, losslessly compressed; of nodata, nothing."""
    left, top, width, height = region
    rows, cols = (
        sorted({int(start) for start in np.linspace(0, max(size - SIZE, 0), WINDOWS)})
        for size in (height, width)
    )
    size = min(SIZE, width), min(SIZE, height)
    total = 0
    with scene.opened() as read:
        for row, col in product(rows, cols):
            image = read((left + col, top + row, *size))
            for band in bands:
                step = 2 if band in COARSE_BANDS else 1
                pixels = np.nan_to_num(image[scene.bands.index(band), ::step, ::step]).astype(np.int16)
                total += len(zlib.compress(np.diff(pixels, axis=1, prepend=np.int16(0)).tobytes(), 1))
    return round(total * width * height / (len(rows) * len(cols) * size[0] * size[1]))
