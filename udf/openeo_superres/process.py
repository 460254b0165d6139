"""The openEO client side: process graphs that super-resolve Sentinel-2 on a back-end.

Sizes, overlaps and margins count 10 m pixels in signatures; in a graph they count pixels of its grid.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openeo
from openeo.api.process import Parameter
from openeo.metadata import Band, BandDimension, CollectionMetadata, SpatialDimension, TemporalDimension
from openeo.rest.udp import build_process_dict

from .bundle import DEFAULT_SIZE, PUBLIC_ONNXRUNTIME, job_options, weights_context
from .card import DEFAULT_MODEL, ModelCard, load_card
from .errors import ProcessError
from .output import model_tags
from .request import check_chunks, check_cube, check_request, check_samples, number, whole
from .sensor import BAND_NAMES, REFLECTANCE_SCALE
from .udf import PIXEL, Context
from .udf import __file__ as udf_file

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["build_process", "job_options", "load_sentinel2", "save_options", "superresolve"]

UDF_SOURCE = Path(udf_file)
RUNTIMES = {"grid": "Python", "upscale": "Python-Jep"}
"""UDF runtime of each mode: only "Python-Jep" lets a UDF change the resolution."""


def load_sentinel2(
    connection: openeo.Connection,
    spatial_extent: Any,
    temporal_extent: Sequence[Any],
    *,
    collection_id: str = "SENTINEL2_L2A",
    max_cloud_cover: float | None = None,
    extra_bands: Sequence[str] = (),
) -> openeo.DataCube:
    """Load the ten bands as the networks take them: one cube at 10 m, 20 m bands replicated 2 x 2.

    Back-ends do that when bands of both resolutions are loaded together.

    Args:
        connection: To the back-end.
        spatial_extent: What ``load_collection`` takes, such as a dictionary with west, south, east, north.
        temporal_extent: Start and end, the end excluded.
        collection_id: "SENTINEL2_L2A", whose numbers are harmonised DN (reflectance x 10 000, offset
            applied), or "SENTINEL2_L1C", of which that is not known: see ``offset`` of :func:`superresolve`.
        max_cloud_cover: In percent, of whole products; None for all.
        extra_bands: Further bands to load, such as "SCL" for a cloud mask; :func:`superresolve` drops them.

    Returns:
        A cube with bands B02, B03, B04, B08, B05, B06, B07, B8A, B11, B12 and the extra ones.
    """
    bands = [*dict.fromkeys([*BAND_NAMES, *extra_bands])]
    return connection.load_collection(
        collection_id, spatial_extent, temporal_extent, bands, max_cloud_cover=max_cloud_cover
    )


def superresolve(
    cube: openeo.DataCube,
    model: str | Path | ModelCard = DEFAULT_MODEL,
    *,
    mode: str = "grid",
    size: int = DEFAULT_SIZE,
    overlap: int | None = None,
    weights: str = "auto",
    offset: float = 0.0,
    provider: str = "auto",
    threads: int = 1,
) -> openeo.DataCube:
    """Super-resolve a cube on the back-end, date by date.

    Args:
        cube: DN at 10 m, with bands labelled B02 ... B12 (others are dropped), 20 m bands replicated by
            nearest resampling: what :func:`load_sentinel2` gives, masked or not, or composited band by band
            (median and the like; dates chosen for each pixel would tear the 20 m pixels apart).
        model: A shipped model's name, the path of a card, or a card.
        mode: "grid": the graph resamples to the fine grid (nearest, so that the samples stay), and the UDF
            puts super-resolved pixels there; works with the runtime "Python". "upscale": the UDF changes the
            resolution, which only "Python-Jep" allows; experimental.
        size: Edge of the chunks, in 10 m pixels, without overlap.
        overlap: Of the chunks, per side, in 10 m pixels; None for the model's margin.
        weights: How they reach the back-end. "inline": in the graph. A URL, as in ``"https://.../model.zip"``:
            from the archive there, which :func:`openeo_superres.bundle.bundle` makes and which must stand in
            the job's options, too (see :func:`job_options`). "auto": inline if they are small enough.
        offset: Added to the cube's numbers to make them harmonised DN. 0 for SENTINEL2_L2A; -1000 for raw
            numbers of products since baseline 04.00, as ``load_stac`` gives them from foreign catalogues.
        provider: "auto", "cpu" or "cuda", on the back-end's side.
        threads: Of the network in each worker.

    Returns:
        The model's bands in the cube's order, float32 DN, ``scale`` times finer.

    Raises:
        UnknownModelError: If there is no such model.
        SuperresError: If an argument, the cube, the weights or the size of the request can't work on a
            back-end; nothing has been sent then.
    """
    card = load_card(model)
    if not isinstance(mode, str) or mode not in RUNTIMES:
        raise ProcessError(f"Unknown mode {mode!r}: use 'grid' or 'upscale'.")
    size = whole("size", size)
    overlap = card.margin if overlap is None else whole("overlap", overlap)
    check_cube(cube)
    check_chunks(card, size, overlap)
    check_samples(cube, card)
    cube = _with_bands(cube, card)
    context = {
        "mode": mode,
        "scale": card.scale,
        "bands": list(card.bands),
        "margin": card.margin,
        "sha256": card.sha256,
        "overlap": overlap,
        "size": size,
        "offset": number("offset", offset),
        "provider": provider,
        "threads": whole("threads", threads),
        **weights_context(card, weights),
    }
    Context.parse(context)
    # how many pixels of the graph's grid are one of 10 m
    pixels = card.scale if mode == "grid" else 1
    chunk = [*_spatial(pixels * size), *_one_date(cube)]
    if mode == "grid":
        cube = cube.resample_spatial(resolution=PIXEL / card.scale, method="near")
    udf = openeo.UDF(UDF_SOURCE.read_text(encoding="utf-8"), runtime=RUNTIMES[mode], context=context)
    fine = cube.apply_neighborhood(process=udf, size=chunk, overlap=_spatial(pixels * overlap))
    check_request(fine.flat_graph(), card)
    return fine


def save_options(model: str | Path | ModelCard = DEFAULT_MODEL) -> dict[str, Any]:
    """Options of ``save_result`` that give a back-end's GeoTIFFs the tags that local files have.

    Returns:
        Names, scale and offset of the bands, the model with its hash, and a prefix of the files' names.

    Raises:
        UnknownModelError: If there is no such model.
    """
    card = load_card(model)
    band = {"SCALE": 1 / REFLECTANCE_SCALE, "OFFSET": 0.0}
    return {
        "filename_prefix": f"SR_{card.name}",
        "overviews": "AUTO",
        "bands_metadata": {name: {"DESCRIPTION": name, **band} for name in card.bands},
        "file_metadata": model_tags(card),
    }


def build_process(
    model: str | Path | ModelCard = DEFAULT_MODEL,
    *,
    process_id: str | None = None,
    collection_id: str = "SENTINEL2_L2A",
    weights: str = "auto",
    onnxruntime: str | None = PUBLIC_ONNXRUNTIME,
    **settings: Any,
) -> dict[str, Any]:
    """Define a process that loads Sentinel-2 and super-resolves it: to publish, to save, or to paste.

    Its parameters are spatial_extent, temporal_extent and max_cloud_cover; model, overlap and job options are
    fixed in it. No connection is needed.

    Args:
        model: A shipped model's name, the path of a card, or a card.
        process_id: None for ``sentinel2_superresolution_<model>``.
        collection_id: See :func:`load_sentinel2`.
        weights: See :func:`superresolve`.
        onnxruntime: See :func:`job_options`.
        settings: Further arguments of :func:`superresolve`.

    Returns:
        The process with its metadata, as JSON can hold it.

    Raises:
        UnknownModelError: If there is no such model.
        ProcessError: As :func:`superresolve` does.
    """
    card = load_card(model)
    process_id = process_id or re.sub(r"\W", "_", f"sentinel2_superresolution_{card.name}")
    if not re.fullmatch(r"\w+", process_id):
        raise ProcessError(f"Expected a process id of letters, digits and _, got {process_id!r}.")
    extent = Parameter.bounding_box(
        "spatial_extent", description="Area to super-resolve, best in the UTM zone of the products."
    )
    period = Parameter.temporal_interval(
        "temporal_extent", description="Start and end date, the end excluded. Dates are processed one by one."
    )
    cover: Any = Parameter.number(
        "max_cloud_cover",
        description="Products with more cloud cover than this, in percent, are left out.",
        default=100,
    )
    # loaded beside a 10 m band, 20 m bands come on its grid
    bands = [name for name in BAND_NAMES if name in card.bands]
    bands = bands if len(card.coarse) < len(bands) else [BAND_NAMES[0], *bands]
    cube = openeo.DataCube.load_collection(
        collection_id, None, extent, period, bands, fetch_metadata=False, max_cloud_cover=cover
    )
    cube = openeo.DataCube(cube.result_node(), None, _metadata(bands))
    fine = superresolve(cube, card, weights=weights, **settings)
    metres = f"{PIXEL / card.scale:g} m"
    again = "; seen by the sensor again it gives the input" if card.consistent else ""
    process: dict[str, Any] = build_process_dict(
        fine,
        process_id=process_id,
        summary=f"Super-resolution of Sentinel-2 to {metres}",
        description=(
            f"Loads {collection_id} and super-resolves bands {', '.join(card.bands)} from "
            f"{_resolutions(card)} to {metres} with the network {card.name} of openeo-superres. The result "
            f"holds digital numbers (reflectance x 10 000){again}. Nodata stays nodata. Run it as a batch "
            "job, with the job options that come with the process."
        ),
        parameters=[extent, period, cover],
        returns={
            "description": f"A data cube with the same dates and bands at {metres}.",
            "schema": {"type": "object", "subtype": "datacube"},
        },
        categories=["sentinel-2", "super-resolution"],
        default_job_options=job_options(
            card, size=settings.get("size", DEFAULT_SIZE), weights=weights, onnxruntime=onnxruntime
        ),
    )
    return process


# ---- parts of a graph


def _resolutions(card: ModelCard) -> str:
    coarse = len(card.coarse)
    there = (["10 m"] if coarse < len(card.bands) else []) + (["20 m"] if coarse else [])
    return " and ".join(there)


def _metadata(names: Sequence[str]) -> CollectionMetadata:
    """What is known of a cube with these bands without asking a back-end."""
    axes = [SpatialDimension(name, extent=[], step=None) for name in ("x", "y")]
    bands = BandDimension("bands", bands=[Band(name) for name in names])
    return CollectionMetadata({}, [*axes, TemporalDimension("t", extent=[]), bands])


def _spatial(pixels: int) -> list[dict[str, Any]]:
    return [{"dimension": dimension, "value": pixels, "unit": "px"} for dimension in ("x", "y")]


def _one_date(cube: openeo.DataCube) -> list[dict[str, Any]]:
    """Part of a chunk's size that makes dates come one by one; nothing for a cube without dates."""
    if cube.metadata is None or not cube.metadata.dimension_names():
        return [{"dimension": "t", "value": "P1D"}]
    if not cube.metadata.has_temporal_dimension():
        return []
    return [{"dimension": cube.metadata.temporal_dimension.name, "value": "P1D"}]


def _with_bands(cube: openeo.DataCube, card: ModelCard) -> openeo.DataCube:
    """Drop bands that the model does not take; where they are not known the back-end picks them by name."""
    metadata = cube.metadata
    dimensions = metadata.dimension_names() if metadata else None
    if metadata is None or not dimensions:
        return cube.filter_bands([*card.bands])
    if not metadata.has_band_dimension():
        raise ProcessError(
            f"The cube has no bands, only dimensions {', '.join(dimensions)}; model {card.name} needs bands "
            f"{', '.join(card.bands)}."
        )
    there = metadata.band_names
    if not there:
        return cube.filter_bands([*card.bands])
    if missing := [band for band in card.bands if band not in there]:
        raise ProcessError(
            f"Model {card.name} needs bands {', '.join(card.bands)}; the cube has {', '.join(there)}. "
            f"Load {', '.join(missing)}, too."
        )
    wanted: list[str | int] = [band for band in there if band in card.bands]
    return cube if wanted == there else cube.filter_bands(wanted)
