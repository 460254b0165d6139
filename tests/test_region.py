import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from rasterio.warp import transform

from openeo_superres.errors import SceneError
from openeo_superres.region import find_region
from openeo_superres.scene import open_scene

SAMPLE = Path(__file__).parents[1] / "examples/data"
CRS = "EPSG:32618"
WEST, NORTH = 435740.0, 4165120.0
WHOLE = (0, 0, 512, 512)


@pytest.fixture(scope="module")
def scene():
    return open_scene(SAMPLE)


def square(left, top, right, bottom):
    """Ring in the scene's CRS around pixels of the scene."""
    x, y = (WEST + 10 * np.array([left, right])), (NORTH - 10 * np.array([top, bottom]))
    return [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])]


def in_degrees(ring):
    return list(zip(*transform(CRS, "OGC:CRS84", *zip(*ring, strict=True)), strict=True))


def polygon(*rings, kind="Polygon"):
    return {"type": kind, "coordinates": list(rings)}


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_nothing_said_is_all_of_it(scene):
    assert find_region(scene) == WHOLE


@pytest.mark.parametrize(
    "wrap",
    [
        lambda shape: shape,
        lambda shape: {"type": "Feature", "properties": None, "geometry": shape},
        lambda shape: {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": shape}]},
        lambda shape: {"type": "GeometryCollection", "geometries": [shape]},
        lambda shape: {"type": "MultiPolygon", "coordinates": [shape["coordinates"]]},
        lambda shape: {"type": "LineString", "coordinates": shape["coordinates"][0]},
    ],
    ids=["geometry", "feature", "collection", "geometries", "multipolygon", "line"],
)
def test_an_area_in_degrees(scene, tmp_path, wrap):
    shape = polygon(in_degrees(square(100.5, 200.5, 139.5, 229.5)))
    # the rectangle's edges bend between its corners, by less than the half pixel that is free
    assert find_region(scene, area=write(tmp_path / "area.geojson", wrap(shape))) == (100, 200, 40, 30)
    assert find_region(scene, area=wrap(shape)) == (100, 200, 40, 30)


def test_an_area_is_its_bounding_box(scene):
    slanted = polygon(
        [(WEST + 1000, NORTH), (WEST + 1400, NORTH - 100), (WEST + 1200, NORTH - 300), (WEST + 1000, NORTH)]
    )
    slanted["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{CRS[5:]}"}}
    assert find_region(scene, area=slanted) == (100, 0, 40, 30)


def test_several_shapes_and_heights(scene):
    rings = [[(x, y, 12.5) for x, y in square(*box)] for box in ((10, 20, 30, 40), (60, 10, 70, 15))]
    several = {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
    several["crs"] = {"type": "name", "properties": {"name": CRS}}
    assert find_region(scene, area=several) == (10, 10, 60, 30)


def test_a_long_edge_bends(scene):
    """A parallel over a UTM zone comes 4 km nearer than its ends: corners alone would miss the scene."""
    west, east, south, north = -78.0, -72.0, 37.61, 38.0
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    _, (end, middle, _) = transform("OGC:CRS84", CRS, [west, -75.0, east], [south] * 3)
    assert end > NORTH > middle
    left, top, width, height = find_region(scene, area=polygon(ring))
    assert (left, top, width) == (0, 0, 512)
    assert height == pytest.approx((NORTH - middle) / 10, abs=20)


def test_an_area_is_cut_to_the_scene(scene):
    area = polygon(in_degrees(square(-50, -70, 20, 30)))
    left, top, width, height = find_region(scene, area=area)
    assert (left, top) == (0, 0)
    assert (width, height) == pytest.approx((20, 30), abs=1)


UTM_AS_DEGREES = polygon(square(10, 10, 20, 20))
FLAT = {"type": "Point", "coordinates": in_degrees(square(10, 10, 20, 20))[0]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no json", "is no GeoJSON"),
        ("[1, 2]", "an object"),
        ("{}", "'type'"),
        ('{"type": "Polygon"}', "'coordinates'"),
        ('{"type": "Polygon", "coordinates": [[["a", "b"]]]}', "expected Polygons"),
        ('{"type": "Polygon", "coordinates": [[[1]]]}', "expected Polygons"),
        ('{"type": "Polygon", "coordinates": [[1, 2]]}', "expected Polygons"),
        ('{"type": "Polygon", "coordinates": []}', "no geometry"),
        ('{"type": "FeatureCollection", "features": []}', "no geometry"),
        ('{"type": "FeatureCollection", "features": 1}', "expected Polygons"),
        ('{"type": "Feature", "geometry": null}', "no geometry"),
        ("[" * 100_000, "is no GeoJSON"),
        (json.dumps(FLAT), "no extent"),
        (json.dumps(UTM_AS_DEGREES), "from OGC:CRS84 to EPSG:32618"),
        (json.dumps(polygon([(10, 50), (11, 50), (11, 51), (10, 50)])), "outside"),
        (json.dumps(UTM_AS_DEGREES | {"crs": {"properties": {"name": "EPSG:0"}}}), "EPSG codes"),
        (json.dumps(UTM_AS_DEGREES | {"crs": "EPSG:32618"}), "expected Polygons"),
    ],
)
def test_areas_that_can_not_be_taken(scene, tmp_path, content, said):
    path = tmp_path / "area.geojson"
    path.write_text(content)
    with pytest.raises(SceneError, match=said) as caught:
        find_region(scene, area=path)
    assert "area.geojson" in str(caught.value)


def test_an_area_that_is_not_there(scene, tmp_path):
    with pytest.raises(SceneError, match=r"none\.geojson can't be read: No such file"):
        find_region(scene, area=tmp_path / "none.geojson")


def test_areas_that_would_not_end(scene, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large.geojson").open("wb") as file:
        file.truncate((64 << 20) + 1)
    for path in (tmp_path / "pipe", tmp_path / "large.geojson", Path("/dev/zero"), tmp_path):
        with pytest.raises(SceneError, match="no file of at most 64 MiB"):
            find_region(scene, area=path)


@pytest.mark.parametrize(
    "options",
    [
        {"window": WHOLE, "bbox": (0, 0, 1, 1)},
        {"window": WHOLE, "area": FLAT},
        {"bbox": (0, 0, 1, 1), "area": FLAT},
    ],
)
def test_one_way_at_a_time(scene, options):
    with pytest.raises(SceneError, match="expected one of them"):
        find_region(scene, **options)


@pytest.mark.parametrize("error", [-1e-6, 0, 1e-6])
def test_what_rounding_did_to_an_edge_does_not_widen_a_box(scene, error):
    box = np.array([WEST + 100, NORTH - 400, WEST + 300, NORTH - 200])
    assert find_region(scene, bbox=tuple(box + error * np.array([-1, -1, 1, 1]))) == (10, 20, 20, 20)


def test_a_box_beyond_the_whole(scene):
    assert find_region(scene, bbox=(-math.pi * 1e6, 0, 1e6, 1e7)) == WHOLE
