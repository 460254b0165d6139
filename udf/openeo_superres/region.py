"""Parts of a scene: a window in pixels, a box in coordinates, or the area of a GeoJSON file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform, transform_bounds

from .bandfile import PIXEL
from .errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from .grid import Scene, Window

Box = tuple[float, float, float, float]
"""West, south, east, north."""
LONGITUDE_LATITUDE = "OGC:CRS84"
"""What the coordinates of GeoJSON are in (RFC 7946), unless it has the older member ``crs``."""
LARGEST = 64 << 20
"""Bytes of the largest file of an area."""
STEPS = 21
"""Points on an edge that is brought into another CRS, where it bends; as many as GDAL takes for boxes."""


def find_region(
    scene: Scene,
    *,
    window: Window | None = None,
    bbox: Box | None = None,
    area: str | Path | Mapping[str, Any] | None = None,
    crs: str | CRS | None = None,
) -> Window:
    """The part of a scene that was asked for, by one of the three ways; all of it without any.

    Args:
        scene: That it is a part of.
        window: ``(col, row, width, height)`` in 10 m pixels, inside the scene.
        bbox: Widened to whole pixels, cut to the scene.
        area: A GeoJSON file, or what one holds: the bounding box that it has in the scene's CRS.
        crs: Of ``bbox``. Default: the scene's.

    Returns:
        ``(col, row, width, height)`` in 10 m pixels, not empty, inside the scene.

    Raises:
        SceneError: If it is empty, can't be placed or read, or more than one way was taken.
    """
    given = {"a window": window, "a bounding box": bbox, "an area": area}
    if len(told := [name for name, value in given.items() if value is not None]) > 1:
        raise SceneError(f"Got {' and '.join(told)}; expected one of them.")
    if bbox is None and crs is not None:
        raise SceneError(f"A CRS ({crs}) was given without a bounding box; it says what the box is in.")
    if area is not None:
        return _inside(scene, _box_of(scene, area), f"The area of {_named(area)}")
    if bbox is not None:
        return _inside(scene, _in_crs_of(scene, bbox, crs), f"The bounding box {bbox}")
    col, row, width, height = window or (0, 0, scene.width, scene.height)
    inside = min(col, row) >= 0 and col + width <= scene.width and row + height <= scene.height
    if width < 1 or height < 1 or not inside:
        raise SceneError(
            f"The window of {width} x {height} pixels at column {col}, row {row} is empty or not inside "
            f"the scene. {_covers(scene)}."
        )
    return col, row, width, height


def _covers(scene: Scene) -> str:
    return f"The scene has {scene.width} x {scene.height} pixels of 10 m"


def _inside(scene: Scene, box: Box, said: str) -> Window:
    """The pixels that a box in the scene's CRS touches."""
    west, south, east, north = box
    # an edge on a pixel's edge stays there, whatever rounding did to it
    left = max(math.floor((west - scene.transform.c) / PIXEL + 1e-6), 0)
    right = min(math.ceil((east - scene.transform.c) / PIXEL - 1e-6), scene.width)
    top = max(math.floor((scene.transform.f - north) / PIXEL + 1e-6), 0)
    bottom = min(math.ceil((scene.transform.f - south) / PIXEL - 1e-6), scene.height)
    if left >= right or top >= bottom:
        raise SceneError(
            f"{said} is empty or outside of the scene. {_covers(scene)}; its west, south, east and "
            f"north are {scene.bounds} in {scene.crs}."
        )
    return left, top, right - left, bottom - top


def _in_crs_of(scene: Scene, bbox: Box, crs: str | CRS | None) -> Box:
    west, south, east, north = bbox
    if not (all(map(math.isfinite, bbox)) and west < east and south < north):
        raise SceneError(f"Got bounding box {bbox}; expected west < east and south < north.")
    if crs is None:
        return bbox
    if scene.crs is None:
        raise SceneError(f"{scene.path} has no CRS, so a box in {crs} can't be placed; use a window.")
    try:
        bounds: Box = transform_bounds(  # type: ignore[no-untyped-call]
            CRS.from_user_input(crs), scene.crs, *bbox
        )
    except (ValueError, CPLE_BaseError) as error:  # CRSError is a ValueError, and not the only one
        raise SceneError(f"The bounding box can't be brought from {crs} to {scene.crs}: {error}.") from error
    if not all(map(math.isfinite, bounds)):
        raise SceneError(f"The bounding box {bbox} in {crs} is outside of where {scene.crs} can be used.")
    return bounds


# ---- GeoJSON


def _named(area: str | Path | Mapping[str, Any]) -> str:
    return str(area) if isinstance(area, str | Path) else "the GeoJSON object"


def _box_of(scene: Scene, area: str | Path | Mapping[str, Any]) -> Box:
    """Bounds in the scene's CRS of every geometry in a GeoJSON object."""
    named = _named(area)
    content = _load(Path(area)) if isinstance(area, str | Path) else area
    try:
        points = np.concatenate([np.empty((0, 2)), *map(densified, _lines(content))])
        crs = CRS.from_user_input(
            content["crs"]["properties"]["name"] if content.get("crs") else LONGITUDE_LATITUDE
        )
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, CRSError) as error:
        raise SceneError(f"{named} is no GeoJSON of an area ({error}); expected Polygons.") from error
    if not points.size:
        raise SceneError(f"{named} holds no geometry; expected GeoJSON with a Polygon or several.")
    if scene.crs is None:
        raise SceneError(f"{scene.path} has no CRS, so {named} can't be placed; use a window.")
    try:
        x, y = transform(crs, scene.crs, *points.T)
    except (CRSError, CPLE_BaseError) as error:
        raise SceneError(f"{named} can't be brought from {crs} to {scene.crs}: {error}.") from error
    box = float(min(x)), float(min(y)), float(max(x)), float(max(y))
    if not all(map(math.isfinite, [*x, *y])):
        raise SceneError(f"{named} is outside of where {scene.crs} can be used, or not in {crs}.")
    if box[0] == box[2] or box[1] == box[3]:
        raise SceneError(f"{named} has no extent; expected GeoJSON with a Polygon or several.")
    return box


def _load(path: Path) -> Mapping[str, Any]:
    # a pipe or a device would not end
    if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST):
        raise SceneError(
            f"{path} is no file of at most {LARGEST >> 20} MiB; expected GeoJSON of an area: simplify it."
        )
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise SceneError(f"{path} can't be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{path} is no GeoJSON: {error}.") from error
    if not isinstance(content, dict):
        raise SceneError(f"{path} is no GeoJSON; expected an object with a type.")
    return content


def _lines(item: Mapping[str, Any]) -> Iterator[NDArray[np.float64]]:
    """Every line, ring or point below a GeoJSON object: ``(points, 2)``."""
    kind = item["type"]
    if kind == "FeatureCollection":
        for feature in item["features"]:
            yield from _lines(feature)
    elif kind == "Feature":
        if item["geometry"]:
            yield from _lines(item["geometry"])
    elif kind == "GeometryCollection":
        for geometry in item["geometries"]:
            yield from _lines(geometry)
    else:
        levels = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2}
        lines = [item["coordinates"]]
        for _ in range(levels.get(kind, 3) - 1):
            lines = [line for part in lines for line in part]
        for line in lines:
            if len(line):
                # heights may follow
                yield np.array(line, np.float64).reshape(len(line) if levels.get(kind, 3) else 1, -1)[:, :2]


def densified(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """A line with more points in its order, ``(points, 2)``."""
    if len(line) < 2:
        return line
    shares = np.linspace(0, 1, STEPS)[:, None]
    return (line[:-1, None] + shares * np.diff(line, axis=0)[:, None]).reshape(-1, 2)
