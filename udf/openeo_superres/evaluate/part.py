"""The part of a scene that is judged: without nodata, on whole 20 m cells, and not larger than needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.errors import SceneError
from openeo_superres.region import find_region
from openeo_superres.sensor import BANDS_10M
from openeo_superres.stream import block_cache, cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from openeo_superres.grid import Scene, Window

    from .baseline import Image

LARGEST, SMALLEST = 1024, 128
"""Edges of the part in 10 m pixels, unless more is asked for, and the least: see
:data:`openeo_superres.evaluate.protocols.PROTOCOLS`, of which the one by 4 leaves a quarter of it."""
CELL = 16
"""10 m pixels in which a part is searched; all protocols take multiples of it as they are."""


def find_part(
    scene: Scene, *, window: Window | None = None, whole: bool = False, threads: int | None = None
) -> Window:
    """The part that was asked for, or one that suits: all of a small scene, else what is near its middle.

    Args:
        scene: With the ten bands.
        window: ``(col, row, width, height)`` in 10 m pixels; made smaller to whole 20 m cells.
        whole: Take all of the scene, however large.
        threads: That decode files; None for every core.

    Returns:
        A window inside the scene, on whole 20 m cells. If it was searched, it has no nodata, and edges of at
        most :data:`LARGEST` pixels.

    Raises:
        SceneError: If it is too small, or no part is large enough without nodata.
    """
    region = _whole_cells(scene, find_region(scene, window=window))
    if min(region[2:]) < SMALLEST:
        raise SceneError(
            f"The part of {region[2]} x {region[3]} pixels is too small to be judged: expected "
            f"{SMALLEST} x {SMALLEST} pixels of 10 m or more, on whole 20 m cells."
        )
    if window is not None or whole:
        return region
    small = max(region[2:]) <= LARGEST
    if small and np.isfinite(scene.read(region)).all():
        return region
    return _search(scene, region, threads)


def read_part(scene: Scene, part: Window) -> tuple[Image, Image]:
    """A part at the bands' native resolutions: x10 ``(4, y, x)`` and x20 ``(6, y / 2, x / 2)``, float32 DN.

    Raises:
        SceneError: If it has nodata, or can't be read.
    """
    image = scene.read(part)
    missing = 1 - np.isfinite(image).all(axis=0).mean()
    if missing:
        raise SceneError(
            f"{missing:.2%} of the pixels of {scene.path} in the window {part} are nodata; expected none. "
            "Give --window another part, or leave it out: one without nodata is searched."
        )
    split = len(BANDS_10M)
    return image[:split], image[split:, ::2, ::2]


def _whole_cells(scene: Scene, region: Window) -> Window:
    """A region without the rows and columns of 20 m cells that are not inside."""
    left, top, width, height = region
    row, col = top + (scene.phase[0] - top) % 2, left + (scene.phase[1] - left) % 2
    return col, row, (left + width - col) // 2 * 2, (top + height - row) // 2 * 2


def _search(scene: Scene, region: Window, threads: int | None) -> Window:
    """Look into ever larger squares around the middle, until the largest part fits."""
    cols, rows = (n // CELL for n in region[2:])
    most, least = LARGEST // CELL, SMALLEST // CELL
    found: Window | None = None
    width = height = reach = 0
    while (width, height) != (cols, rows) and not (found and max(found[2:]) == LARGEST):
        reach = 2 * reach or most
        width, height = min(reach, cols), min(reach, rows)
        left, top = region[0] + (cols - width) // 2 * CELL, region[1] + (rows - height) // 2 * CELL
        clear = _clear_cells(scene, (left, top, CELL * width, CELL * height), threads)
        if best := clear_part(clear, most, least):
            col, row, *size = (CELL * n for n in best)
            found = left + col, top + row, size[0], size[1]
    if found is None:
        raise SceneError(
            f"{scene.path} has no part of {SMALLEST} x {SMALLEST} pixels of 10 m without nodata, "
            "which is the least that can be judged."
        )
    return found


def _clear_cells(scene: Scene, region: Window, threads: int | None) -> NDArray[np.bool_]:
    """Which cells of a region have all pixels of all bands: ``(rows, columns)``."""
    left, top, width, height = region
    step = 8 * CELL
    clear = []
    with block_cache(scene, step), scene.opened(cores(threads)) as read:
        for row in range(0, height, step):
            valid = np.isfinite(read((left, top + row, width, min(step, height - row)))).all(axis=0)
            clear.append(valid.reshape(-1, CELL, width // CELL, CELL).all(axis=(1, 3)))
    return np.concatenate(clear)


def clear_part(clear: NDArray[np.bool_], most: int, least: int) -> Window | None:
    """The largest square of clear cells, the one nearest to the middle of several; cut where there are fewer.

    Args:
        clear: ``(rows, columns)``.
        most: Cells of its longer edge, at most.
        least: Cells of its shorter edge, at least.

    Returns:
        ``(col, row, width, height)`` in cells; None if there is none.
    """
    rows, cols = clear.shape
    sums = np.zeros((rows + 1, cols + 1), np.int64)
    sums[1:, 1:] = (~clear).cumsum(axis=0).cumsum(axis=1)
    for edge in range(min(most, max(rows, cols)), least - 1, -1):
        height, width = min(edge, rows), min(edge, cols)
        if min(height, width) < least:
            break
        hidden = (
            sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        )
        row, col = np.nonzero(hidden == 0)
        if row.size:
            distance = (2 * row + height - rows) ** 2 + (2 * col + width - cols) ** 2
            nearest = int(distance.argmin())
            return int(col[nearest]), int(row[nearest]), width, height
    return None
