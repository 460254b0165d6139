"""Super-resolution of scenes on disk: read by strips, super-resolved by chunks, written as a COG."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from affine import Affine

from .bandfile import PIXEL
from .card import DEFAULT_MODEL, ModelCard, load_card
from .cog import ENCODINGS, CogWriter
from .errors import OutputError, SuperresError
from .evaluate import bicubic
from .output import SOFTWARE, model_tags
from .region import find_region
from .scene import Scene, Window, open_scene
from .sensor import BAND_NAMES, REFLECTANCE_SCALE, bands_named
from .udf import Model, superresolve_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from numpy.typing import NDArray
    from rasterio.crs import CRS

SIZE = 512
"""Edge of a chunk in 10 m pixels: its share of overlap is small, and ten bands at 5 m take 40 MiB."""
STRIP = 4096
"""Widest read, in 10 m pixels: 100 MiB of ten bands, however wide the scene is."""
SUFFIXES = (".tif", ".tiff")


def bicubic_model(names: tuple[str, ...] = BAND_NAMES, scale: int = 2) -> Model:
    """Bicubic interpolation with the rules for nodata and borders that models have."""
    bands = bands_named(names)
    return Model(
        name="bicubic",
        scale=scale,
        margin=12,  # two 20 m cells and the one that the pixel is in, the nodata fill and the alignment
        bands=names,
        fill=tuple(REFLECTANCE_SCALE * band.mean for band in bands),
        run=lambda images: bicubic(images[0], bands, scale)[None],
    )


def superresolve_scene(
    source: str | Path | Scene,
    destination: str | Path,
    model: str | Path | ModelCard = DEFAULT_MODEL,
    *,
    window: Window | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    area: str | Path | Mapping[str, Any] | None = None,
    crs: str | CRS | None = None,
    compare: Literal["bicubic"] | None = None,
    provider: str = "auto",
    threads: int | None = None,
    dtype: str = "int16",
    overwrite: bool = False,
    size: int = SIZE,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Super-resolve a scene into a Cloud Optimised GeoTIFF with the same outer bounds.

    The file appears whole or not at all. Memory is bounded by the chunk and the strip it is cut from.

    Args:
        source: See :func:`openeo_superres.scene.open_scene`; only the model's bands are needed.
        destination: A ``.tif``, or a folder, where it becomes ``<scene>_SR5M_<model>.tif`` (5 for the
            pixels' size).
        model: A shipped model's name, the path of a card, or a card.
        window: ``(col, row, width, height)`` in 10 m pixels, inside the scene. Default: all of it.
        bbox: West, south, east, north instead; widened to whole pixels, cut to the scene.
        area: A GeoJSON file, or what one holds, instead: its bounding box in the scene's CRS.
        crs: Of ``bbox``. Default: the scene's.
        compare: "bicubic" writes the bicubic image beside, as ``<stem>_bicubic.tif``.
        provider: "auto", "cpu" or "cuda".
        threads: Of inference and compression; None for every core.
        dtype: "int16" (DN, nodata -32768), "uint16" (DN + 1000, nodata 0) or "float32" (DN, NaN).
        overwrite: Whether existing files may be replaced.
        size: Edge of a chunk in 10 m pixels.
        progress: Called with the 10 m pixels done, and all of them.

    Returns:
        Path of the file.

    Raises:
        SceneError: If the source can't be read, or the window is not in it.
        OutputError: If the result can't be written there.
        SuperresError: If the model or an option can't be used.
    """
    if dtype not in ENCODINGS or compare not in {None, "bicubic"} or size < 1:
        raise SuperresError(
            f"Got dtype {dtype!r}, compare {compare!r}, size {size}; expected dtype {', '.join(ENCODINGS)}, "
            "compare 'bicubic' or None, and a size of at least 1."
        )
    card = load_card(model)
    if missing := [band for band in card.bands if band not in BAND_NAMES]:
        raise SuperresError(f"Model {card.name} needs bands {', '.join(missing)}; scenes have {BAND_NAMES}.")
    scene = open_scene(source, card.bands)
    region = find_region(scene, window=window, bbox=bbox, area=area, crs=crs)
    models = [card.open(provider, threads)]
    if compare:
        models.append(bicubic_model(card.bands, card.scale))
    targets = _targets(Path(destination), scene, card, overwrite=overwrite, compare=compare)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                _writer(
                    target,
                    network,
                    card if network is models[0] else None,
                    scene=scene,
                    region=region,
                    dtype=dtype,
                    threads=threads,
                )
            )
            for target, network in zip(targets, models, strict=True)
        ]
        _stream(scene, region, list(zip(models, writers, strict=True)), size=size, progress=progress)
        for writer in writers:
            writer.finish()
        for writer in writers:
            writer.publish()
    return targets[0]


def output_bytes(width: int, height: int, *, scale: int = 2, bands: int = 10, dtype: str = "int16") -> int:
    """Uncompressed size of the result for a window of ``width x height`` 10 m pixels, without overviews."""
    return width * height * scale**2 * bands * np.dtype(dtype).itemsize


# ---- where from, where to


def _targets(
    destination: Path, scene: Scene, card: ModelCard, *, overwrite: bool, compare: str | None
) -> list[Path]:
    """Paths to write; checked before any work."""
    if destination.is_dir():
        destination = destination / f"{scene.name}_SR{PIXEL / card.scale:g}M_{card.name}.tif"
    if destination.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{destination} has no name for a GeoTIFF; expected one that ends in .tif.")
    if not destination.parent.is_dir():
        raise OutputError(f"The folder {destination.parent} does not exist; make it first.")
    targets = [destination]
    if compare:
        targets.append(destination.with_name(f"{destination.stem}_{compare}{destination.suffix}"))
    for target in targets:
        if target.is_dir():
            raise OutputError(f"{target} is a folder; expected the name of a file.")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise OutputError(f"The folder {target.parent} can't be written: permission denied.")
        # what is in a zip or at an address is no file by that name
        sources = [Path(path) for path in {scene.path, *(file.path for file in scene.files)}]
        if target.exists() and any(source.exists() and target.samefile(source) for source in sources):
            raise OutputError(f"{target} is what would be read; choose another name for the result.")
        if target.exists() and not overwrite:
            raise OutputError(
                f"{target} exists; remove it, choose another name, or allow overwriting (--overwrite)."
            )
    return targets


def _writer(
    target: Path,
    model: Model,
    card: ModelCard | None,
    *,
    scene: Scene,
    region: Window,
    dtype: str,
    threads: int | None,
) -> CogWriter:
    col, row, width, height = region
    scale, pixel = model.scale, PIXEL / model.scale
    west, north = scene.transform.c, scene.transform.f
    tags = {"TIFFTAG_SOFTWARE": SOFTWARE, "PROCESSING_SOFTWARE": SOFTWARE, "SOURCE": scene.name}
    tags |= model_tags(card) if card else {"MODEL": model.name}
    return CogWriter(
        target,
        bands=model.bands,
        encoding=ENCODINGS[dtype],
        crs=scene.crs,
        transform=Affine(pixel, 0, west + PIXEL * col, 0, -pixel, north - PIXEL * row),
        width=scale * width,
        height=scale * height,
        tags=tags,
        threads=threads,
    )


# ---- the pixels


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Pixels of a chunk with its overlap."""

    image: NDArray[np.float32]
    """``(bands, height + 2 overlap, width + 2 overlap)`` DN in the scene's order."""
    col: int
    row: int
    """Of the chunk without overlap, from the region's corner."""
    phase: tuple[int, int]
    """Of the 20 m cells in ``image``."""


def _chunks(scene: Scene, region: Window, *, size: int, overlap: int) -> Generator[_Chunk]:
    """Cut a region into chunks by rows; a thread reads the next strip of them ahead."""
    left, top, width, height = region
    step = max(STRIP // size, 1) * size
    strips = [(col, row) for row in range(0, height, size) for col in range(0, width, step)]

    def read(col: int, row: int) -> NDArray[np.float32]:
        return scene.read(
            (
                left + col - overlap,
                top + row - overlap,
                min(step, width - col) + 2 * overlap,
                min(size, height - row) + 2 * overlap,
            )
        )

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, *strips[0])
        for number, (col, row) in enumerate(strips, 1):
            image = ahead.result()
            if number < len(strips):
                ahead = reader.submit(read, *strips[number])
            for start in range(0, image.shape[2] - 2 * overlap, size):
                phase = (
                    (scene.phase[0] - (top + row - overlap)) % 2,
                    (scene.phase[1] - (left + col + start - overlap)) % 2,
                )
                yield _Chunk(image[:, :, start : start + size + 2 * overlap], col + start, row, phase)


def _stream(
    scene: Scene,
    region: Window,
    outputs: list[tuple[Model, CogWriter]],
    *,
    size: int,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Super-resolve a region chunk by chunk; a thread writes the last one meanwhile."""
    overlap = max(model.margin for model, _ in outputs)
    orders = [[scene.bands.index(band) for band in model.bands] for model, _ in outputs]
    done, total = 0, region[2] * region[3]

    def write(results: list[NDArray[np.float32]], chunk: _Chunk) -> None:
        for (model, writer), result in zip(outputs, results, strict=True):
            writer.write(result, model.scale * chunk.col, model.scale * chunk.row)

    chunks = _chunks(scene, region, size=size, overlap=overlap)
    with closing(chunks), ThreadPoolExecutor(1) as behind:
        written: Future[None] | None = None
        for chunk in chunks:
            results = [
                superresolve_chunk(chunk.image[order], model, phase=chunk.phase, overlap=overlap)
                for (model, _), order in zip(outputs, orders, strict=True)
            ]
            if written:
                written.result()
            written = behind.submit(write, results, chunk)
            done += (chunk.image.shape[1] - 2 * overlap) * (chunk.image.shape[2] - 2 * overlap)
            if progress:
                progress(done, total)
        if written:
            written.result()
