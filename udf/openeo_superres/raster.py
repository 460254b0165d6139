"""Super-resolution of scenes on disk: read by strips, super-resolved by chunks, written as a COG."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from affine import Affine

from .bandfile import PIXEL
from .card import DEFAULT_MODEL, ModelCard, load_card
from .cog import ENCODINGS, WIDTHS, CogWriter
from .errors import SceneError, SuperresError
from .evaluate import bicubic
from .item import build_item
from .mask import hide, mask_text
from .output import SOFTWARE, model_tags, write_text
from .region import find_region
from .scene import Scene, Window, open_scene
from .sensor import BAND_NAMES, REFLECTANCE_SCALE, bands_named
from .space import check_space
from .stream import block_cache, chunk_size, cores, open_model, stream, worker_count
from .style import build_style
from .targets import Targets, result_path
from .trust import calibration, trust_tags
from .udf import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from rasterio.crs import CRS

    from .cog import Encoding
    from .trust import Trust


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
    date: str | None = None,
    window: Window | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    area: str | Path | Mapping[str, Any] | None = None,
    crs: str | CRS | None = None,
    mask: Mapping[str, Collection[int]] | None = None,
    bands: Sequence[str] | None = None,
    compare: Literal["bicubic"] | None = None,
    uncertainty: bool = False,
    provider: str = "auto",
    threads: int | None = None,
    dtype: str = "int16",
    overwrite: bool = False,
    sidecars: bool = False,
    size: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Super-resolve a scene into a Cloud Optimised GeoTIFF with the same outer bounds.

    The file appears whole or not at all. Memory is bounded by the chunk and the strip it is cut from.

    Args:
        source: See :func:`openeo_superres.scene.open_scene`; only the model's bands are needed.
        destination: A ``.tif``, or a folder, where it becomes ``<scene>_SR5M_<model>.tif`` (5 for the
            pixels' size).
        model: A shipped model's name, the path of a card, or a card.
        date: Which one, where the source has several, as the beginning of an ISO 8601 date.
        window: ``(col, row, width, height)`` in 10 m pixels, inside the scene. Default: all of it.
        bbox: West, south, east, north instead; widened to whole pixels, cut to the scene.
        area: A GeoJSON file, or what one holds, instead: its bounding box in the scene's CRS.
        crs: Of ``bbox``. Default: the scene's.
        mask: What to make nodata of, by the product's own masks: {"SCL": [3, 8, 9, 10]}; see
            :func:`openeo_superres.mask.hide`. Results beside it are as beside any nodata.
        bands: Those to write, in this order. Default: the model's. The scene needs all of the model's.
        compare: "bicubic" writes the bicubic image beside, as ``<stem>_bicubic.tif``.
        uncertainty: Whether to write how far each pixel may be off, too, as ``<stem>_uncertainty.tif``: see
            :mod:`openeo_superres.trust`.
        provider: "auto", "cpu" or "cuda".
        threads: Of inference and compression; None for every core.
        dtype: "int16" (DN, nodata -32768), "uint16" (DN + 1000, nodata 0) or "float32" (DN, NaN).
        overwrite: Whether existing files may be replaced.
        sidecars: Whether to write ``<stem>.json``, a STAC item, and ``<stem>.qml``, a style for QGIS, beside.
        size: Edge of a chunk in 10 m pixels. Default: what suits the CPU, or fits the GPU.
        progress: Called with the 10 m pixels done, and all of them.

    Returns:
        Path of the file.

    Raises:
        SceneError: If the source can't be read, or has no such window, date or mask.
        OutputError: If the result can't be written there, or the disk is too small for it.
        SuperresError: If the model or an option can't be used.
    """
    counts = [number for number in (size, threads) if number is not None]
    if dtype not in ENCODINGS or compare not in {None, "bicubic"} or min(counts, default=1) < 1:
        raise SuperresError(
            f"Got dtype {dtype!r}, compare {compare!r}, size {size}, threads {threads}; expected dtype "
            f"{', '.join(ENCODINGS)}, compare 'bicubic' or None, size and threads of at least 1 or None."
        )
    card = load_card(model)
    if missing := [band for band in card.bands if band not in BAND_NAMES]:
        raise SuperresError(f"Model {card.name} needs bands {', '.join(missing)}; scenes have {BAND_NAMES}.")
    names = _chosen(bands, card)
    trust = calibration(card) if uncertainty else None
    scene = open_scene(source, card.bands, date=date)
    if missing := [band for band in card.bands if band not in scene.bands]:
        raise SceneError(
            f"{scene.path} was opened without {', '.join(missing)}; model {card.name} needs them, too."
        )
    scene = hide(scene, mask or {})
    region = find_region(scene, window=window, bbox=bbox, area=area, crs=crs)
    models = [open_model(card, provider, threads)]
    if compare:
        models.append(bicubic_model(card.bands, card.scale))
    path = Path(destination)
    if path.is_dir():
        path = result_path(path, scene, card)
    targets = Targets(path, compare, sidecars, uncertainty)
    inputs: list[str | Path] = [scene.path, *(file.path for file in scene.files)]
    inputs += [hidden.file.path for hidden in scene.hidden]
    inputs += [card.path, card.path.with_suffix(".json"), *([area] if isinstance(area, str | Path) else [])]
    targets.check(inputs, overwrite=overwrite)
    kinds = _kinds(card, trust, compare=compare, mask=mask, dtype=dtype)
    check_space(
        targets.raster.parent, scene, region, bands=names, scale=card.scale, dtype=dtype, files=len(kinds)
    )
    picked: slice | list[int] = (
        slice(None) if names == card.bands else [card.bands.index(name) for name in names]
    )
    targets.remove_leftovers()
    size = size or chunk_size(models[0], card, threads)
    with block_cache(scene, size + 2 * card.margin), ExitStack() as stack:
        writers = [
            _writer(target, names, card.scale, kind, scene=scene, region=region, threads=threads)
            for target, kind in zip(targets.rasters, kinds, strict=True)
        ]
        for writer in writers:
            # an interrupt may come between the making of a file and its place on the stack
            stack.callback(writer.discard)
            stack.enter_context(writer)
        outputs = [_Selected(writer, picked) for writer in writers]
        stream(
            scene,
            region,
            list(zip(models, outputs[: len(models)], strict=True)),
            size=size,
            threads=threads,
            workers=worker_count(card, threads),
            uncertainty=(trust, outputs[-1]) if trust else None,
            progress=progress,
        )
        for writer in writers:
            writer.finish()
        # in the meantime another run may have made it
        targets.check(inputs, overwrite=overwrite)
        targets.remove_earlier()
        # the result last: who sees it, sees what belongs to it; all of them, or none
        with ExitStack() as undo:
            for writer in reversed(writers):
                writer.publish()
                undo.callback(writer.destination.unlink, missing_ok=True)
            undo.pop_all()
    _write_sidecars(targets, scene, card)
    return targets.raster


def _chosen(bands: Sequence[str] | None, card: ModelCard) -> tuple[str, ...]:
    """Bands to write."""
    names = card.bands if bands is None else tuple(bands)
    if not names or len({*names}) < len(names) or {*names} - {*card.bands}:
        raise SuperresError(
            f"Got bands {', '.join(names) or 'none'}; expected some of {', '.join(card.bands)}, each once."
        )
    return names


# ---- what is written


def _kinds(
    card: ModelCard,
    trust: Trust | None,
    *,
    compare: str | None,
    mask: Mapping[str, Collection[int]] | None,
    dtype: str,
) -> list[tuple[dict[str, str], Encoding]]:
    """Tags and numbers of each raster of a result."""
    masked = {"MASK": mask_text(mask)} if mask else {}
    tags = model_tags(card) | masked
    kinds = [(tags, ENCODINGS[dtype])]
    if compare:
        kinds.append(({"MODEL": compare} | masked, ENCODINGS[dtype]))
    if trust:
        kinds.append((tags | trust_tags(trust), WIDTHS[dtype]))
    return kinds


def _write_sidecars(targets: Targets, scene: Scene, card: ModelCard) -> None:
    if targets.item:
        beside = targets.rasters[-1] if targets.uncertainty else None
        item = build_item(targets.raster, targets.item.parent, scene=scene, card=card, uncertainty=beside)
        write_text(targets.item, json.dumps(item, indent=2) + "\n")
    for raster, style in zip(targets.rasters, targets.styles, strict=False):
        write_text(style, build_style(raster))


def _writer(
    target: Path,
    names: tuple[str, ...],
    scale: int,
    kind: tuple[Mapping[str, str], Encoding],
    *,
    scene: Scene,
    region: Window,
    threads: int | None,
) -> CogWriter:
    tags, encoding = kind
    col, row, width, height = region
    pixel = PIXEL / scale
    west, north = scene.transform.c, scene.transform.f
    software = {"TIFFTAG_SOFTWARE": SOFTWARE, "PROCESSING_SOFTWARE": SOFTWARE, "SOURCE": scene.name}
    return CogWriter(
        target,
        bands=names,
        encoding=encoding,
        crs=scene.crs,
        transform=Affine(pixel, 0, west + PIXEL * col, 0, -pixel, north - PIXEL * row),
        width=scale * width,
        height=scale * height,
        tags={**software, **tags},
        threads=cores(threads),
    )


@dataclass(frozen=True, slots=True)
class _Selected:
    """A file that takes some of a model's bands."""

    writer: CogWriter
    indices: slice | list[int]

    def write(self, dn: NDArray[np.float32], col: int, row: int) -> None:
        """Write the model's ``(bands, y, x)``: see :meth:`CogWriter.write`."""
        self.writer.write(dn[self.indices], col, row)
