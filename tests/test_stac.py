import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from click.testing import CliRunner

from openeo_superres.cli import main
from openeo_superres.errors import SceneError
from openeo_superres.grid import Mask
from openeo_superres.readers.stac import read_stac
from openeo_superres.scene import open_scene, open_scenes
from openeo_superres.sensor import BAND_NAMES, BANDS

SAMPLE = Path(__file__).parents[1] / "examples/data"
SIZE = 64
"""Pixels of 10 m along an edge."""
START = 300, 60
WHOLE = (0, 0, SIZE, SIZE)
RESOLUTION = {band.name: band.resolution for band in BANDS}
NAMES = dict(
    zip(
        BAND_NAMES,
        ("blue", "green", "red", "nir", "rededge1", "rededge2", "rededge3", "nir08", "swir16", "swir22"),
        strict=True,
    )
)
"""Of Earth Search."""
COMMON = NAMES | {"B05": "rededge", "B06": "rededge", "B07": "rededge"}
"""Of the EO extension 1.1."""
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
DATE = "2023-08-18T10:07:54.167000Z"
SPELLINGS = ("sentinel", "sentinel2", "earthsearch")


@pytest.fixture(scope="module")
def dn():
    """Real harmonised DN by band at native resolution; a corner without data."""
    bands = {}
    for resolution in (10, 20):
        with rasterio.open(SAMPLE / f"virginia_{resolution}m.tif", driver="GTiff") as dataset:
            row, col, size = (value * 10 // resolution for value in (*START, SIZE))
            pixels = dataset.read(window=((row, row + size), (col, col + size)))
            pixels[:, :3, -2:] = 0
            bands |= dict(zip(dataset.descriptions, pixels, strict=True))
    return bands


def image(dn, bands=BAND_NAMES):
    """What a reader must give: float32 DN on the 10 m grid, NaN for nodata."""
    steps = {name: RESOLUTION[name] // 10 for name in bands}
    pixels = [dn[name].repeat(step, axis=0).repeat(step, axis=1) for name, step in steps.items()]
    return np.where(np.stack(pixels) == 0, np.nan, np.stack(pixels)).astype(np.float32)


def scl():
    classes = np.full((SIZE // 2, SIZE // 2), 4, np.uint8)
    classes[5:9, 10:20] = 9
    return classes


def write(path, pixels, *, raised=0, tags=(1.0, 0.0), size=None):
    """A raster, whose valid numbers are ``raised``; JPEG 2000 by its suffix."""
    size = size or SIZE // pixels.shape[0] * 10
    pixels = np.where(pixels == 0, 0, pixels + raised).astype(pixels.dtype)
    profile = {"count": 1, "dtype": pixels.dtype, "crs": "EPSG:32633", "nodata": 0, "tiled": True}
    profile |= {"transform": Affine(size, 0, 499980, 0, -size, 5200020), "blockxsize": 32, "blockysize": 32}
    height, width = pixels.shape
    target = path.with_suffix(".tmp") if path.suffix == ".jp2" else path
    with rasterio.open(target, "w", driver="GTiff", height=height, width=width, **profile) as file:
        file.write(pixels, 1)
        file.scales, file.offsets = [tags[0]], [tags[1]]
    if target != path:
        lossless = {"quality": 100, "reversible": "YES", "blockxsize": 64, "blockysize": 64}
        rasterio.shutil.copy(target, path, driver="JP2OpenJPEG", **lossless)
        target.unlink()
    return path


def write_item(
    folder,
    assets,
    *,
    name="S2A_33TWM_20230818_0_L2A",
    version="1.0.0",
    collection="sentinel-2-l2a",
    **properties,
):
    """An item, whose properties are given with "__" for ":"; a value None leaves one out."""
    known = {"datetime": DATE, "platform": "sentinel-2a", "constellation": "sentinel-2"}
    known |= {key.replace("__", ":"): value for key, value in properties.items()}
    item = {
        "type": "Feature",
        "stac_version": version,
        "id": name,
        "collection": collection,
        "geometry": None,
        "links": [],
        "properties": {key: value for key, value in known.items() if value is not None},
        "assets": assets,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(item))
    return path


def earth_search(folder, dn, *, offset=-0.1, named="common"):
    """Earth Search, v1 and its collection 1: COGs named by colour, ESA's files beside them, previews."""
    assets = {
        "thumbnail": {"href": "thumbnail.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
        "visual": {
            "href": "TCI.tif",
            "type": COG,
            "roles": ["visual"],
            "eo:bands": [{"name": name, "common_name": name} for name in ("red", "green", "blue")],
        },
        "preview": {"href": "L2A_PVI.tif", "type": COG, "roles": ["overview"], "eo:bands": [{"name": "B04"}]},
        "aot": {"href": "AOT.tif", "type": COG, "roles": ["data"], "raster:bands": [{"scale": 0.001}]},
        "granule_metadata": {"href": "granule.xml", "type": "application/xml", "roles": ["metadata"]},
        "scl": {"href": "SCL.tif", "type": COG, "roles": ["data"], "raster:bands": [{"nodata": 0}]},
    }
    write(folder / "SCL.tif", scl())
    for band, name in NAMES.items():
        raster = {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": offset}
        facts = {
            "eo:bands": [{"name": name if named == "common" else band, "common_name": COMMON[band]}],
            "gsd": RESOLUTION[band],
            "raster:bands": [raster | {"spatial_resolution": RESOLUTION[band]}],
            "roles": ["data", "reflectance"],
        }
        write(folder / f"{band}.tif", dn[band], raised=0 if named == "common" else 1000)
        assets[name] = facts | {"href": f"./{band}.tif", "type": COG}
        assets[f"{name}-jp2"] = facts | {"href": f"s3://sentinel-s2-l2a/{band}.jp2", "type": "image/jp2"}
    return assets


def planetary_computer(folder, dn):
    """Planetary Computer: ESA's names, COGs of ESA's numbers, no word of an offset."""
    assets = {
        "visual": {
            "href": "TCI_10m.tif",
            "type": COG,
            "roles": ["data"],
            "eo:bands": [{"name": name} for name in ("B04", "B03", "B02")],
        },
        "SCL": {"href": "SCL.tif", "type": COG, "roles": ["data"], "gsd": 20},
        "rendered_preview": {"href": "https://x.test/B02.png", "type": "image/png", "roles": ["overview"]},
    }
    write(folder / "SCL.tif", scl())
    for band in BAND_NAMES:
        common = "rededge" if band == "B8A" else COMMON[band]
        write(folder / f"T33TWM_{band}.tif", dn[band], raised=1000)
        assets[band] = {
            "href": str(folder / f"T33TWM_{band}.tif"),
            "type": COG,
            "roles": ["data"],
            "gsd": RESOLUTION[band],
            "eo:bands": [{"name": band, "common_name": common}],
        }
    return assets


def cdse(folder, dn, *, in_bands=False):
    """Copernicus Data Space: STAC 1.1, JPEG 2000, coarser copies; what numbers mean by asset or band."""
    said = {"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0}
    assets = {
        "SCL_20m": {"href": "SCL_20m.jp2", "type": "image/jp2", "roles": ["data"]},
        "SCL_60m": {"href": "nothing.jp2", "type": "image/jp2", "roles": ["data"]},
        "TCI_10m": {"href": "nothing.jp2", "type": "image/jp2", "roles": ["visual"]},
        "AOT_10m": {"href": "nothing.jp2", "type": "image/jp2", "roles": ["data"]},
        "Product": {"href": "product.zip", "type": "application/zip"},
        "thumbnail": {"href": "ql.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
    }
    write(folder / "SCL_20m.jp2", scl())
    for band in BAND_NAMES:
        for resolution in (10, 20, 60):
            if resolution < RESOLUTION[band]:
                continue
            key, facts = f"{band}_{resolution}m", {"name": band, "eo:common_name": COMMON[band]}
            if resolution == RESOLUTION[band]:
                write(folder / f"{key}.jp2", dn[band], raised=1000)
            assets[key] = {
                "href": (folder / f"{key}.jp2").as_uri(),
                "type": "image/jp2",
                "roles": ["data", "reflectance"],
                "gsd": RESOLUTION[band],
                "bands": [facts | (said if in_bands else {})],
                **({} if in_bands else said),
            }
    return assets


CATALOGUES = {
    "earth search": (
        earth_search,
        {"earthsearch__boa_offset_applied": True, "s2__processing_baseline": "05.09"},
    ),
    "earth search, collection 1": (
        lambda folder, dn: earth_search(folder, dn, named="band"),
        {"s2__processing_baseline": "05.09", "s2__product_type": "S2MSI2A"},
    ),
    "planetary computer": (
        planetary_computer,
        {"s2__processing_baseline": "05.09", "platform": "Sentinel-2A", "constellation": "Sentinel 2"},
    ),
    "data space": (cdse, {"version": "1.1.0", "processing__version": "05.09", "processing__level": "L2"}),
    "data space, said by band": (
        lambda folder, dn: cdse(folder, dn, in_bands=True),
        {"version": "1.1.0", "processing__version": "05.09", "product__type": "S2MSI2A"},
    ),
}


@pytest.mark.parametrize("catalogue", list(CATALOGUES))
@pytest.mark.filterwarnings("ignore:.*does not say whether 1000:UserWarning")
def test_items_of_every_catalogue_give_the_same_dn(tmp_path, dn, catalogue):
    build, properties = CATALOGUES[catalogue]
    path = write_item(tmp_path, build(tmp_path, dn), **properties)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn))
    assert (scene.kind, scene.path, scene.name) == ("STAC item", str(path), "S2A_33TWM_20230818_0_L2A")
    assert (scene.level, scene.baseline, scene.date) == ("L2A", "05.09", "2023-08-18T10:07:54")
    assert (scene.nodata, scene.offset) == (0, 0 if catalogue == "earth search" else -1000)
    assert [file.step for file in scene.files] == [RESOLUTION[band] // 10 for band in BAND_NAMES]
    hidden = replace(scene, hidden=(Mask(scene.masks["SCL"], values=frozenset({9})),)).read(WHOLE)
    cloud = (scl() == 9).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(hidden, np.where(cloud, np.nan, image(dn)))


def test_hrefs_may_be_paths_of_any_kind(tmp_path, dn):
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    hrefs = {
        "B02": "B02.tif",
        "B03": "../far/B03.tif",
        "B04": str(tmp_path / "far/B04.tif"),
        "B08": (tmp_path / "far/B 08.tif").as_uri(),
    }
    for band, place in zip(hrefs, ("near/B02", "far/B03", "far/B04", "far/B 08"), strict=True):
        write(tmp_path / f"{place}.tif", dn[band])
    assets = {band: {"href": href, "raster:offset": 0} for band, href in hrefs.items()}
    scene = open_scene(write_item(tmp_path / "near", assets), tuple(hrefs))
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, tuple(hrefs)))


def test_a_folder_named_like_its_item_is_that_item(tmp_path, dn):
    folder = tmp_path / "S2A_33TWM_20230818_0_L2A"
    folder.mkdir()
    write_item(folder, cdse(folder, dn))
    assert open_scene(folder).kind == "STAC item"
    (folder / f"{folder.name}.json").write_text("{}")
    assert open_scene(folder).kind == "band folder"


def test_files_are_what_their_first_bytes_say(tmp_path, dn):
    # as some copies are: JPEG 2000 that is named .tif
    write(tmp_path / "B02.jp2", dn["B02"]).rename(tmp_path / "B02.tif")
    assets = {"blue": {"href": "B02.tif", "type": COG, "raster:bands": [{"offset": 0}]}}
    scene = open_scene(write_item(tmp_path, assets), ("B02",))
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, ("B02",)))


@pytest.mark.parametrize(
    ("key", "facts", "band"),
    [
        ("nir", {"bands": [{"name": "B8A", "eo:common_name": "nir"}]}, "B8A"),
        ("B8A", {"eo:bands": [{"common_name": "nir"}]}, "B8A"),
        ("image", {"eo:bands": [{"common_name": "nir"}]}, "B08"),
        ("image", {"bands": [{"name": "9", "eo:common_name": "rededge075"}]}, "B06"),
        ("RedEdge3-jp2", {}, "B07"),
        ("B2", {}, "B02"),
    ],
)
def test_a_band_is_known_by_its_name_then_the_key_then_the_common_name(tmp_path, dn, key, facts, band):
    write(tmp_path / "x.tif", dn[band])
    assets = {key: facts | {"href": "x.tif", "raster:offset": 0}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*no offset is left")
        assert open_scene(write_item(tmp_path, assets), (band,)).bands == (band,)


def test_of_one_band_a_cog_is_read_rather_than_jpeg_2000(tmp_path, dn):
    write(tmp_path / "good.tif", dn["B04"])
    write(tmp_path / "bad.jp2", dn["B04"] // 2)
    facts = {"eo:bands": [{"name": "B04", "common_name": "red"}], "raster:offset": 0}
    assets = {
        "red-jp2": facts | {"href": "bad.jp2", "type": "image/jp2"},
        "red": facts | {"href": "good.tif"},
    }
    scene = open_scene(write_item(tmp_path, assets), ("B04",))
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, ("B04",)))
    assets["again"] = facts | {"href": "good.tif"}
    with pytest.raises(SceneError, match=r"several assets of one band \(red, again\)"):
        open_scene(write_item(tmp_path, assets), ("B04",))


# ---- the offset trap

OFFSETS = [
    # baseline, flag, raster:offset, what is added to the numbers
    ("03.01", True, None, 0),
    ("03.01", True, -0.1, 0),
    ("03.01", False, None, 0),
    ("03.01", False, 0, 0),
    ("03.01", False, -0.1, -1000),
    ("03.01", None, None, 0),
    ("03.01", None, 0, 0),
    ("03.01", None, -0.1, -1000),
    ("04.00", True, None, 0),
    ("04.00", True, 0, 0),
    ("04.00", True, -0.1, 0),
    ("04.00", False, None, -1000),
    ("04.00", False, 0, -1000),
    ("04.00", False, -0.1, -1000),
    ("04.00", None, 0, 0),
    ("04.00", None, -0.1, -1000),
    ("05.11", True, -0.1, 0),
    ("05.11", False, None, -1000),
    ("05.11", None, -0.1, -1000),
    (None, True, None, 0),
    (None, True, -0.1, 0),
    (None, False, 0, 0),
    (None, False, -0.1, -1000),
    (None, None, 0, 0),
    (None, None, -0.1, -1000),
]
PAIR = ("B02", "B8A")


def offset_item(folder, dn, flag, offset, *, raised, prefix="earthsearch", version="1.0.0", **properties):
    """An item of two bands, whose numbers are raised or not, whatever is said of them."""
    assets = {}
    for band in PAIR:
        said = {} if offset is None else {"offset": offset}
        new = {f"raster:{key}": value for key, value in said.items()}
        facts = {"raster:bands": [said | {"scale": 0.0001}]} if version == "1.0.0" else {"bands": [new]}
        assets[band] = facts | {"href": write(folder / f"{band}.tif", dn[band], raised=raised).name}
    if flag is not None:
        properties[f"{prefix}__boa_offset_applied"] = flag
    return write_item(folder, assets, version=version, **properties)


@pytest.mark.parametrize(("version", "prefix"), [*zip(["1.0.0", "1.1.0", "1.0.0"], SPELLINGS, strict=True)])
@pytest.mark.parametrize(("baseline", "flag", "offset", "added"), OFFSETS)
def test_the_offset_is_what_the_first_that_knows_says(
    tmp_path, dn, baseline, flag, offset, added, version, prefix
):
    path = offset_item(
        tmp_path,
        dn,
        flag,
        offset,
        raised=-added,
        prefix=prefix,
        version=version,
        s2__processing_baseline=baseline,
    )
    scene = open_scene(path, PAIR)
    assert (scene.offset, scene.baseline) == (added, baseline)
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, PAIR))


@pytest.mark.parametrize("baseline", ["04.00", "05.11"])
def test_where_nothing_but_the_baseline_tells_the_offset_that_is_said(tmp_path, dn, baseline):
    path = offset_item(tmp_path, dn, None, None, raised=1000, s2__processing_baseline=baseline)
    with pytest.warns(UserWarning, match=rf"does not say .* Baseline {baseline} .*\(B02, B8A\)"):
        scene = open_scene(path, PAIR)
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, PAIR))


@pytest.mark.parametrize("flag", [None, False])
def test_where_nothing_tells_the_offset_there_is_no_scene(tmp_path, dn, flag):
    with pytest.raises(
        SceneError, match=r"says neither raster:offset, nor .*boa_offset_applied, nor s2:proc"
    ):
        open_scene(offset_item(tmp_path, dn, flag, None, raised=1000), PAIR)


@pytest.mark.parametrize(
    ("baseline", "flag", "offset", "raised", "message"),
    [
        ("05.09", False, -0.1, 0, "say that 1000 is still to be taken off"),
        ("05.09", None, -0.1, 0, "say that 1000 is still to be taken off"),
        ("03.01", None, -0.1, 0, "say that 1000 is still to be taken off"),
        ("05.09", True, -0.1, 1000, "say that no offset is left"),
        ("05.09", None, 0, 1000, "say that no offset is left"),
    ],
)
def test_pixels_that_contradict_the_item_are_warned_of(tmp_path, dn, baseline, flag, offset, raised, message):
    path = offset_item(tmp_path, dn, flag, offset, raised=raised, s2__processing_baseline=baseline)
    with pytest.warns(UserWarning, match=message):
        scene = open_scene(path, PAIR)
    # nothing is chosen silently: the item's word holds
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, PAIR) + raised + scene.offset)


def test_the_flag_speaks_of_copies_not_of_esas_files_beside_them(tmp_path, dn):
    write(tmp_path / "B02.jp2", dn["B02"], raised=1000)
    facts = {"href": "B02.jp2", "type": "image/jp2", "raster:bands": [{"scale": 0.0001, "offset": -0.1}]}
    properties = {"earthsearch__boa_offset_applied": True, "s2__processing_baseline": "05.09"}
    scene = open_scene(write_item(tmp_path, {"blue-jp2": facts}, **properties), ("B02",))
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, ("B02",)))


def test_tags_of_the_file_are_heard_where_the_item_is_silent(tmp_path, dn):
    write(tmp_path / "B02.tif", dn["B02"], raised=1000, tags=(0.0001, -0.1))
    path = write_item(tmp_path, {"B02": {"href": "B02.tif"}}, s2__processing_baseline="05.09")
    np.testing.assert_array_equal(open_scene(path, ("B02",)).read(WHOLE), image(dn, ("B02",)))


def test_flags_that_disagree_or_are_none_are_refused(tmp_path, dn):
    for properties in (
        {"sentinel2__boa_offset_applied": False, "earthsearch__boa_offset_applied": True},
        {"earthsearch__boa_offset_applied": "true"},
        {"earthsearch__boa_offset_applied": [True]},
    ):
        with pytest.raises(SceneError, match=r"for \*:boa_offset_applied; expected true or false"):
            open_scene(offset_item(tmp_path, dn, None, -0.1, raised=0, **properties), PAIR)


@pytest.mark.parametrize(
    ("properties", "baseline"),
    [
        ({"s2__processing_baseline": "5.09"}, "05.09"),
        ({"sentinel2__processing_baseline": "02.14"}, "02.14"),
        ({"sentinel__processing_baseline": "04.00"}, "04.00"),
        ({"processing__version": "05.11"}, "05.11"),
        ({"processing__version": "4.0"}, None),
        ({"s2__product_uri": "S2A_MSIL2A_20230818T100031_N0509_R122_T33TWM_20230818T143300.SAFE"}, "05.09"),
        ({"name": "S2B_MSIL1C_20250302T095029_N0511_R079_T33UXP_20250302T104753"}, "05.11"),
        ({"name": "S2B_MSIL2A_20260124T191559_R056_T10TET_20260124T211343"}, None),
    ],
)
def test_the_baseline_is_found_wherever_it_is_said(tmp_path, dn, properties, baseline):
    path = offset_item(tmp_path, dn, True, None, raised=0, **properties)
    assert open_scene(path, PAIR).baseline == baseline


@pytest.mark.parametrize(
    ("properties", "level"),
    [
        ({"s2__product_type": "S2MSI1C"}, "L1C"),
        ({"product__type": "S2MSI2A", "processing__level": "L2"}, "L2A"),
        ({"processing__level": "L1C"}, "L1C"),
        ({"name": "S2A_33TWM_20230818_0_L1C", "collection": "sentinel-2"}, "L1C"),
        ({"name": "S2A_33TWM_20230818_0", "collection": "sentinel-2-c1-l2a"}, "L2A"),
        ({"name": "S2A_33TWM_20230818_0", "collection": None}, None),
    ],
)
def test_the_level_is_found_wherever_it_is_said(tmp_path, dn, properties, level):
    assert open_scene(offset_item(tmp_path, dn, True, None, raised=0, **properties), PAIR).level == level


@pytest.mark.parametrize(
    ("said", "date"),
    [
        ({"datetime": "2023-08-18T00:07:54.167+02:00"}, "2023-08-17T22:07:54"),
        ({"datetime": None, "start_datetime": "2023-08-18T10:00:31Z"}, "2023-08-18T10:00:31"),
        ({"datetime": "yesterday"}, None),
        ({"datetime": None}, None),
    ],
)
def test_the_date_is_in_utc(tmp_path, dn, said, date):
    assert open_scene(offset_item(tmp_path, dn, True, None, raised=0, **said), PAIR).date == date


# ---- over the network


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Address of a server, the folder that it serves, and the list of what it was asked for."""
    folder = tmp_path_factory.mktemp("served")
    log = tmp_path_factory.mktemp("log") / "asked.txt"
    command = [sys.executable, Path(__file__).with_name("range_server.py"), folder, log]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", folder, log
        process.terminate()


@pytest.fixture
def server(served, tmp_path, monkeypatch):
    """Address of an empty folder of this test, that folder, and what tells the paths that were asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url, folder, log = served
    inside = folder / tmp_path.name
    inside.mkdir()
    return (
        f"{url}/{inside.name}",
        inside,
        lambda: [path for path in log.read_text().splitlines() if path.startswith(f"/{inside.name}/")],
    )


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("catalogue", ["earth search", "data space"])
def test_an_item_and_its_files_may_be_remote(server, dn, catalogue):
    url, folder, asked = server
    (folder / "items").mkdir()
    build, properties = CATALOGUES[catalogue]
    assets = build(folder / "items", dn)
    for facts in assets.values():
        if facts["href"].startswith("file:"):
            facts["href"] = f"{url}/items/{facts['href'].rpartition('/')[2]}?token=1"
    name = write_item(folder / "items", assets, **properties).name
    (scene,) = open_scenes(f"{url}/items/{name}")
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn))
    assert scene.path == f"{url}/items/{name}"
    assert scene.files[0].path.startswith(f"/vsicurl/{url}/items/B02")
    assert scene.masks["SCL"].path.startswith(f"/vsicurl/{url}/items/SCL")
    # no previews, no coarser copies, no other files beside
    expected = {Path(file.path.partition("?")[0]).name for file in (*scene.files, *scene.masks.values())}
    assert {Path(path.partition("?")[0]).name for path in asked()} == {name, *expected}


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_an_item_at_hand_may_have_remote_files(server, tmp_path, dn):
    url, folder, _ = server
    write(folder / "B02.tif", dn["B02"])
    asset = {"href": f"{url}/B02.tif", "raster:bands": [{"offset": 0}]}
    scene = open_scene(write_item(tmp_path, {"blue": asset}), ("B02",))
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, ("B02",)))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_busy_server_is_asked_again(server, tmp_path, dn):
    url, folder, asked = server
    write(folder / "busy.tif", dn["B02"])
    asset = {"href": f"{url}/busy.tif", "raster:bands": [{"offset": 0}]}
    scene = open_scene(write_item(tmp_path, {"blue": asset}), ("B02",))
    assert len(asked()) > 1
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, ("B02",)))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_over_the_network_two_bands_are_compared_with_their_offset(server, tmp_path, dn, monkeypatch):
    url, folder, _ = server
    assets = cdse(folder, dn)
    for facts in assets.values():
        facts["href"] = f"{url}/{facts['href'].rpartition('/')[2]}"
    path = write_item(tmp_path, assets, version="1.1.0", processing__version="05.09")
    checked = []
    monkeypatch.setattr(
        "openeo_superres.readers.stac.check_offset", lambda scene, **_: checked.append(scene.bands)
    )
    for bands in (PAIR, BAND_NAMES):
        open_scene(path, bands)
    assert checked == [PAIR, ("B02", "B12")]


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_s3_is_read_with_the_account_of_the_environment(server, tmp_path, dn, monkeypatch):
    url, folder, _ = server
    write(folder / "B02.jp2", dn["B02"], raised=1000)
    for name, value in {
        "AWS_S3_ENDPOINT": url.removeprefix("http://").partition("/")[0],
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_NO_SIGN_REQUEST": "YES",
    }.items():
        monkeypatch.setenv(name, value)
    asset = {"href": f"s3://{folder.name}/B02.jp2", "type": "image/jp2", "raster:offset": -0.1}
    scene = open_scene(write_item(tmp_path, {"B02_10m": asset}), ("B02",))
    np.testing.assert_array_equal(scene.read(WHOLE), image(dn, ("B02",)))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_what_fails_over_the_network_is_named(server, tmp_path, dn):
    url, folder, _ = server
    with pytest.raises(SceneError, match=rf"^{url}/item.json can't be read \(HTTP Error 404"):
        open_scene(f"{url}/item.json")
    asset = {"href": f"{url}/B02.tif", "raster:bands": [{"offset": 0}]}
    with pytest.raises(SceneError, match=rf"{url}/B02.tif can't be read; .*404"):
        open_scene(write_item(tmp_path, {"blue": asset}), ("B02",))
    content = write(folder / "B03.tif", dn["B03"]).read_bytes()
    (folder / "B03.tif").write_bytes(content[: len(content) // 2])
    asset["href"] = f"{url}/B03.tif"
    with pytest.raises(SceneError, match=rf"{url}/B03.tif can't be read"):
        open_scene(write_item(tmp_path, {"green": asset}), ("B03",)).read(WHOLE)
    for href in ("file:///etc/hostname", "ftp://127.0.0.1/B02.tif"):
        write_item(folder, {"B02": {"href": href, "type": COG}})
        with pytest.raises(SceneError, match=r"its asset B02 is at .*; expected a path, https or s3"):
            open_scene(f"{url}/S2A_33TWM_20230818_0_L2A.json", ("B02",))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_server_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    gone = "http://127.0.0.1:9"
    with pytest.raises(SceneError, match=rf"^{gone}/item.json can't be read"):
        open_scene(f"{gone}/item.json")
    with pytest.raises(SceneError, match=rf"{gone}/B02.tif can't be read"):
        open_scene(write_item(tmp_path, {"B02": {"href": f"{gone}/B02.tif"}}), ("B02",))


# ---- what is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is no JSON \("),
        (b'{"type": "Feature", "stac_ver', r"is no JSON \("),
        (b"\xff\xfe\x00", r"is no JSON \("),
        (b"[" * 100_000, r"is no JSON \("),
        (b" " * ((16 << 20) + 1), "has more than 16 MiB; expected a STAC item"),
        (b"[1]", "holds no STAC item, but something else"),
        (b"{}", "holds no STAC item, but something else"),
        (b'{"type": "Collection", "stac_version": "1.0.0"}', "holds no STAC item, but Collection"),
        (b'{"type": "FeatureCollection", "features": []}', "but FeatureCollection; expected one item"),
        (b'{"type": "Feature", "id": "S2A", "properties": {}, "assets": {}}', "no STAC item, but Feature"),
    ],
)
def test_what_is_no_item_is_refused(tmp_path, content, message):
    path = tmp_path / "item.json"
    path.write_bytes(content)
    with pytest.raises(SceneError, match=message):
        open_scene(path)


def test_items_of_other_missions_are_refused(tmp_path):
    said = {"collection": "landsat-c2-l2", "platform": "landsat-8", "constellation": None}
    path = write_item(tmp_path, {}, name="LC08_L2SP", **said)
    with pytest.raises(SceneError, match="is of landsat-8; expected an item of Sentinel-2"):
        open_scene(path)


def test_a_missing_band_is_named(tmp_path, dn):
    assets = earth_search(tmp_path, dn)
    properties = CATALOGUES["earth search"][1]
    for key in ("nir08", "nir08-jp2", "swir22", "swir22-jp2"):
        del assets[key]
    with pytest.raises(SceneError, match="lacks band B8A, B12"):
        open_scene(write_item(tmp_path, assets, **properties))
    (tmp_path / "B03.tif").unlink()
    with pytest.raises(SceneError, match=r"B03.tif can't be read"):
        open_scene(write_item(tmp_path, assets, **properties), ("B02", "B03"))


def test_a_coarser_copy_does_not_stand_for_a_band(tmp_path, dn):
    write(tmp_path / "B02_20m.tif", dn["B02"][::2, ::2])
    path = write_item(tmp_path, {"B02_20m": {"href": "B02_20m.tif", "raster:offset": 0}})
    with pytest.raises(SceneError, match=r"has pixels of 20 .* expected 10 m for B02"):
        open_scene(path, ("B02",))


@pytest.mark.parametrize(
    "assets",
    [
        {"B02": None},
        {"B02": {"href": 5}},
        {
            "B02": {
                "href": "B02.tif",
                "roles": 3,
                "bands": 7,
                "eo:bands": "x",
                "raster:bands": [5],
                "type": [],
            }
        },
    ],
)
def test_what_is_not_as_it_should_be_in_an_item_is_an_error_of_one_line(tmp_path, assets):
    with pytest.raises(SceneError) as raised:
        open_scene(write_item(tmp_path, assets, datetime=5, s2__processing_baseline=[]), ("B02",))
    assert "\n" not in str(raised.value)


def test_scl_may_be_missing_where_files_were_copied(tmp_path, dn):
    assets = earth_search(tmp_path, dn)
    (tmp_path / "SCL.tif").unlink()
    scene = open_scene(write_item(tmp_path, assets, **CATALOGUES["earth search"][1]))
    assert not scene.masks


def test_names_of_results_stay_in_their_folder(tmp_path, dn):
    path = offset_item(tmp_path, dn, True, None, raised=0)
    item = json.loads(path.read_text())
    path.write_text(json.dumps(item | {"id": "S2A/../../x"}))
    assert open_scene(path, PAIR).name == "S2A_.._.._x"


def test_what_is_no_item_at_all_is_left_to_others(tmp_path):
    assert read_stac(tmp_path, BAND_NAMES) == []
    assert read_stac(tmp_path / "scene.tif", BAND_NAMES) == []


def test_the_command_line_says_what_it_is(tmp_path, dn):
    path = write_item(tmp_path, earth_search(tmp_path, dn), **CATALOGUES["earth search"][1])
    result = CliRunner().invoke(main, ["inspect", str(path)])
    assert result.exit_code == 0, result.output
    assert "STAC item" in result.output
    wrong = CliRunner().invoke(main, ["inspect", "http://"])
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)


@pytest.mark.real_data
def test_a_real_item(superres_data, tmp_path):
    source = superres_data / "stac-mapchete/S2A_33TWM_20230818_0_L2A"
    bands = ("B02", "B03", "B04", "B08")
    # the copies were thinned out to 120 m, which is no Sentinel-2 grid
    with pytest.raises(SceneError, match=r"B02.tif has pixels of 120 .* expected 10 m for B02"):
        open_scene(source, bands)
    folder = shutil.copytree(source, tmp_path / source.name, copy_function=shutil.copyfile)
    for name in bands:
        side = folder / f"{name}.tif.aux.xml"
        side.write_text(side.read_text().replace("1.2000000000000000e+02", "1.0000000000000000e+01"))
    (folder / "SCL.tif").unlink()
    scene = open_scene(folder, bands)
    assert (scene.level, scene.baseline, scene.date) == ("L2A", "05.09", "2023-08-18T10:07:54")
    assert scene.offset == 0
    with rasterio.open(source / "B04.tif", driver="JP2OpenJPEG") as dataset:
        raw = dataset.read(1)
    read = scene.read((0, 0, 915, 915))[2]
    np.testing.assert_array_equal(read, np.where(raw == 0, np.nan, raw))
