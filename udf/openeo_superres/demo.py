"""The demonstration: the sample scene, super-resolved and compared with bicubic."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio

from .card import DEFAULT_MODEL, load_card
from .errors import OutputError, SceneError
from .evaluate import bicubic, consistency
from .picture import comparison, save_png
from .raster import superresolve_scene
from .scene import Window, open_scene
from .sensor import BANDS, Band, bands_named
from .stream import open_model
from .udf import PIXEL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

SAMPLE = Path("examples/data")
"""Folder of the sample in a checkout of the repository; the wheel has none."""
SAMPLE_SIZE = (512, 512)
VIEW: Window = (248, 264, 120, 96)
"""What the picture shows: roads, field edges, a village and its harbour."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """Error in DN of the output, seen by the sensor again, against the input: mean over bands of one kind.

    NaN where there are none.
    """

    fine: float
    """Of the 10 m bands."""
    coarse: float
    """Of the 20 m bands."""

    @classmethod
    def of(
        cls, output: NDArray[np.float32], image: NDArray[np.float32], bands: Sequence[Band] = BANDS
    ) -> Consistency:
        """Measure; arguments as in :func:`openeo_superres.evaluate.consistency`."""
        errors = consistency(output, image, bands)
        kinds = [
            [error for error, band in zip(errors, bands, strict=True) if band.resolution == resolution]
            for resolution in (10, 20)
        ]
        return cls(*(float(np.mean(kind)) if kind else np.nan for kind in kinds))


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What was made, and how it did."""

    model: str
    scene: Path
    raster: Path
    picture: Path
    seconds: float
    """From the scene on disk to the raster on disk."""
    model_error: Consistency
    bicubic_error: Consistency


def demonstrate(
    folder: str | Path,
    sample: str | Path = SAMPLE,
    model: str | Path = DEFAULT_MODEL,
    *,
    provider: str = "auto",
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Demonstration:
    """Super-resolve the sample scene into a folder, with a picture that compares it with bicubic.

    Files of an earlier run are replaced. Arguments are those of
    :func:`openeo_superres.raster.superresolve_scene`.

    Raises:
        SceneError: If there is no sample.
        OutputError: If the folder can't be written.
        SuperresError: If the model can't be used.
    """
    folder, sample = Path(folder), Path(sample)
    if not sample.is_dir():
        raise SceneError(
            f"The sample scene is not in {sample}: it comes with the repository, not with the package. "
            "Run this in a checkout, or say where its folder examples/data is."
        )
    card = load_card(model)
    scene = open_scene(sample, card.bands)
    if (scene.width, scene.height) != SAMPLE_SIZE:
        raise SceneError(f"{sample} holds another scene than the sample; use the command run for it.")
    started = time.perf_counter()
    # before any folder is made; it stays open for the run
    open_model(card, provider, threads)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} can't be made: {error.strerror}.") from error
    raster = superresolve_scene(
        sample,
        folder / f"virginia_SR{PIXEL / card.scale:g}M_{card.name}.tif",
        card,
        provider=provider,
        threads=threads,
        overwrite=True,
        progress=progress,
    )
    seconds = time.perf_counter() - started
    bands = bands_named(card.bands)
    image = scene.read((0, 0, scene.width, scene.height))[[scene.bands.index(band) for band in card.bands]]
    results = {"bicubic": bicubic(image, bands, card.scale), card.name: _read(raster, card.bands)}
    col, row, width, height = (card.scale * n for n in VIEW)
    views = {name: result[:, row : row + height, col : col + width] for name, result in results.items()}
    zoom = max(1, 6 // card.scale)
    picture = save_png(comparison(views, bands=card.bands, zoom=zoom), raster.with_suffix(".png"))
    errors = {name: Consistency.of(result, image, bands) for name, result in results.items()}
    return Demonstration(card.name, sample, raster, picture, seconds, errors[card.name], errors["bicubic"])


def _read(raster: Path, bands: tuple[str, ...]) -> NDArray[np.float32]:
    """Read the result back as it stands in the file: ``(bands, y, x)`` float32 DN, NaN for nodata."""
    with rasterio.open(raster, driver="GTiff") as dataset:
        indices = [dataset.descriptions.index(band) + 1 for band in bands]
        pixels: NDArray[np.float32] = dataset.read(indices, masked=True).astype(np.float32).filled(np.nan)
    return pixels
