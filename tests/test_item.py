import hashlib
import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform_bounds

from openeo_superres import superresolve_scene
from openeo_superres.item import build_item
from openeo_superres.scene import open_scene

SAMPLE = Path(__file__).parents[1] / "examples/data"
WINDOW = (100, 200, 40, 30)


@pytest.fixture(scope="module")
def scene():
    return open_scene(SAMPLE)


@pytest.fixture(scope="module")
def result(tmp_path_factory, scene, nearest_card):
    folder = tmp_path_factory.mktemp("item")
    dated = replace(
        scene, name="S2B_MSIL2A_20260601", level="L2A", baseline="05.11", date="2026-06-01T10:00:29"
    )
    bands = ("B8A", "B02")
    return superresolve_scene(
        dated, folder / "a b.tif", nearest_card, window=WINDOW, bands=bands, dtype="uint16", sidecars=True
    )


@pytest.fixture(scope="module")
def item(result):
    return json.loads(result.with_suffix(".json").read_text())


def write(path, *, crs="EPSG:32618", transform=None, nodata=-32768, dtype="int16"):
    profile = {"count": 1, "width": 200, "height": 100, "dtype": dtype, "nodata": nodata, "crs": crs}
    transform = transform or Affine(5, 0, 435740, 0, -5, 4165120)
    with rasterio.open(path, "w", driver="GTiff", transform=transform, **profile) as dataset:
        dataset.descriptions, dataset.scales = ("B04",), (1e-4,)
    return path


def test_it_is_stac_1_1(result, item):
    assert item["stac_version"] == "1.1.0"
    assert len(item["stac_extensions"]) == 5
    # the schemas of extensions are not at hand offline
    whole = pystac.Item.from_dict(item | {"stac_extensions": []})
    assert whole.validate() == ["https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"]
    assert pystac.Item.from_file(str(result.with_suffix(".json"))).get_datetime().isoformat() == (
        "2026-06-01T10:00:29+00:00"
    )


def test_it_says_what_the_file_says(result, item):
    asset = item["assets"]["data"]
    with rasterio.open(result) as dataset:
        assert asset["proj:code"] == dataset.crs.to_string()
        assert tuple(asset["proj:shape"]) == dataset.shape == (60, 80)
        assert Affine(*asset["proj:transform"]) == dataset.transform
        assert tuple(asset["proj:bbox"]) == tuple(dataset.bounds)
        assert [band["name"] for band in asset["bands"]] == list(dataset.descriptions) == ["B8A", "B02"]
        assert (asset["raster:scale"], asset["raster:offset"]) == (dataset.scales[0], dataset.offsets[0])
        assert (asset["data_type"], asset["nodata"]) == (dataset.dtypes[0], dataset.nodata) == ("uint16", 0)
        expected = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    assert item["bbox"] == pytest.approx(expected, abs=1e-6)
    assert asset["gsd"] == item["properties"]["gsd"] == 5
    assert asset["bands"][0]["eo:common_name"] == "nir08"
    assert 0.86 < asset["bands"][0]["eo:center_wavelength"] < 0.87
    assert asset["href"] == "./a%20b.tif"


def test_another_reader_of_its_extensions(result):
    asset = pystac.Item.from_file(str(result.with_suffix(".json"))).assets["data"]
    assert asset.ext.proj.code == "EPSG:32618"
    assert asset.ext.proj.shape == [60, 80]
    assert asset.ext.file.size == result.stat().st_size
    assert pystac.utils.is_absolute_href(asset.get_absolute_href())
    assert Path(unquote(asset.get_absolute_href())) == result


def test_size_and_checksum_are_the_file_s(result, item):
    content, asset = result.read_bytes(), item["assets"]["data"]
    assert asset["file:size"] == len(content)
    # a multihash: SHA-256 (12), 32 bytes (20)
    assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()


def test_it_says_where_it_comes_from(result, item, nearest_card):
    links = {link["rel"]: link for link in item["links"]}
    source, model = (
        (result.parent / unquote(links[rel]["href"])).resolve() for rel in ("derived_from", "superres:model")
    )
    assert source == SAMPLE.resolve()
    assert model == nearest_card.path.with_suffix(".json").resolve()
    assert links["superres:model"]["file:checksum"] == "1220" + nearest_card.sha256
    facts = item["properties"]
    assert facts["processing:level"] == "L2A"
    assert list(facts["processing:software"]) == ["openeo-superres"]
    assert facts["platform"] == "sentinel-2b"
    assert nearest_card.sha256 in facts["processing:lineage"]


@pytest.mark.parametrize(
    ("date", "start", "end"),
    [(None, "2015-06-23T00:00:00Z", "20"), ("2026-06-01", "2026-06-01T00:00:00Z", "2026-06-01T23:59:59Z")],
)
def test_dates_that_are_not_known_to_the_second(tmp_path, scene, nearest_card, date, start, end):
    item = build_item(write(tmp_path / "o.tif"), tmp_path, scene=replace(scene, date=date), card=nearest_card)
    facts = item["properties"]
    assert (facts["datetime"], facts["start_datetime"]) == (None, start)
    assert facts["end_datetime"].startswith(end)
    pystac.Item.from_dict(item | {"stac_extensions": []}).validate()


def test_the_box_of_a_whole_tile_holds_its_bent_edges(tmp_path, scene, nearest_card):
    transform = Affine(549, 0, 399_960, 0, -1098, 7_300_000)
    path = write(tmp_path / "o.tif", crs="EPSG:32633", transform=transform)
    item = build_item(path, tmp_path, scene=scene, card=nearest_card)
    with rasterio.open(path) as dataset:
        expected = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    assert item["bbox"] == pytest.approx(expected, abs=1e-5)
    corners = np.array(item["geometry"]["coordinates"][0])
    assert item["bbox"][3] > corners[:, 1].max() + 5e-5


def test_over_180_degrees_the_footprint_is_cut(tmp_path, scene, nearest_card):
    """In the zone west of it, 60, at 500 km from the middle: the scene reaches into zone 1."""
    edge = transform_bounds("EPSG:4326", "EPSG:32660", 179.999, 10, 180, 10.001)[2]
    transform = Affine(5, 0, edge - 500, 0, -5, 1_106_000)
    path = write(tmp_path / "o.tif", crs="EPSG:32660", transform=transform)
    item = build_item(path, tmp_path, scene=scene, card=nearest_card)
    assert item["geometry"]["type"] == "MultiPolygon"
    west, south, east, north = item["bbox"]
    assert 179.99 < west < 180
    assert -180 < east < -179.99
    assert 9.9 < south < north < 10.1
    longitudes = np.array([x for part in item["geometry"]["coordinates"] for x, _ in part[0]])
    assert np.all(np.abs(longitudes) > 179.99)
    pystac.Item.from_dict(item | {"stac_extensions": []}).validate()


def test_without_a_crs_there_is_no_footprint(tmp_path, scene, nearest_card):
    item = build_item(write(tmp_path / "o.tif", crs=None), tmp_path, scene=scene, card=nearest_card)
    assert item["geometry"] is None
    assert "bbox" not in item
    assert "proj:code" not in item["assets"]["data"]
    pystac.Item.from_dict(item | {"stac_extensions": []}).validate()


def test_nan_is_said_in_words(tmp_path, scene, nearest_card):
    path = write(tmp_path / "o.tif", nodata=np.nan, dtype="float32")
    item = build_item(path, tmp_path, scene=scene, card=nearest_card)
    assert item["assets"]["data"]["nodata"] == "nan"
    json.dumps(item, allow_nan=False)


def test_an_address_stays(tmp_path, scene, nearest_card):
    remote = replace(scene, path="https://example.com/items/a.json")
    item = build_item(write(tmp_path / "o.tif"), tmp_path, scene=remote, card=nearest_card)
    assert item["links"][0]["href"] == remote.path
