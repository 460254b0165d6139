"""SAFE products: what metadata say, pixels exactly, damage and traps. Checksums: test_manifest.py."""

import json
import pyexpat
import re
import shutil
import zipfile
from itertools import cycle

import numpy as np
import pytest
import rasterio
from products import (
    EPSG,
    NORTH,
    SATURATED,
    WEST,
    sample_numbers,
    scene_classes,
    write_image,
    write_safe,
    zip_folder,
)

from openeo_superres.errors import SceneError
from openeo_superres.readers import archive
from openeo_superres.readers.safe import SCL_CLASSES, _check_length, find_product
from openeo_superres.readers.safexml import BAND_IDS, read_metadata
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BAND_NAMES, BANDS

SIZE = 96
WHOLE = (0, 0, SIZE, SIZE)
OLD_BASELINES = ("02.04", "02.05", "02.09", "02.14", "03.00", "03.01")
NEW_BASELINES = ("04.00", "05.00", "05.09", "05.10", "05.11", "05.12", "06.01", "99.99")
SATELLITES = cycle(["S2A", "S2B", "S2C", "S2D"])
PRODUCTS = [
    {
        "level": level,
        "baseline": baseline,
        "satellite": next(SATELLITES),
        "offset": None if baseline < "04" else -1000,
        "checksum": "MD5" if baseline < "03" else "SHA3-256",
    }
    for level in ("L1C", "L2A")
    for baseline in OLD_BASELINES + NEW_BASELINES
]
L1C, L2A = {"level": "L1C"}, {"level": "L2A"}
OLD = {"old_naming": True, "baseline": "02.01", "offset": None}
PRODUCTS += [
    L1C | OLD,
    L2A | OLD,
    L1C | {"zipped": True},
    L2A | {"zipped": True, "baseline": "02.12", "offset": None},
    L1C | {"image_format": "GeoTIFF", "baseline": "02.12", "offset": None},
    L2A | {"image_format": "GeoTIFF"},
    L1C | {"georeference": False},
    L2A | {"georeference": False},
    L1C | {"psd": 13, "baseline": "02.04", "offset": None},
    L2A | {"psd": 15, "baseline": "05.00"},
    L1C | {"offset": 0},
    L2A | {"offset": -1200},
    L1C | {"quantification": 2000},
]


def name_of(options):
    return "-".join(str(value) for value in options.values())


def numbers_with_specials():
    """The sample, with nodata and saturated pixels that differ by band."""
    numbers = {key: pixels.copy() for key, pixels in sample_numbers(SIZE).items()}
    numbers["B02"][3, 4] = numbers["B02"][60:, 90:] = numbers["B8A"][5, 6:9] = 0
    numbers["B08"][7, 8] = numbers["B12"][9, 10] = SATURATED
    return numbers


def expected_dn(numbers, offset=0.0, quantification=10_000):
    """The ten bands as a scene is read, from native numbers as they are before they were raised."""
    bands = []
    for band in BANDS:
        dn = numbers[band.name].astype(np.float64)
        dn[dn == SATURATED] += offset
        dn[numbers[band.name] == 0] = np.nan
        dn *= 10_000 / quantification
        factor = band.resolution // 10
        bands.append(dn.repeat(factor, axis=0).repeat(factor, axis=1))
    return np.stack(bands).astype(np.float32)


def edit(file, old, new, count=1):
    """Replace text in a file, which has it."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, count), encoding="utf-8")


def product_xml(root):
    return next(root.glob("*MTD_*.xml"))


def tile_xml(root):
    return next(root.glob("GRANULE/*/*MTD_*.xml"))


def image(root, name):
    return next(root.glob(f"GRANULE/*/IMG_DATA/**/*_{name}.jp2"))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return write_safe(tmp_path_factory.mktemp("safe"), size=48)


@pytest.fixture
def safe(pristine, tmp_path):
    """A small L1C product, to be damaged."""
    return shutil.copytree(pristine, tmp_path / pristine.name)


def refused(path, match):
    """A product is refused in one line; the message comes back."""
    with pytest.raises(SceneError, match=match) as caught:
        open_scene(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- exact values


@pytest.mark.parametrize("options", PRODUCTS, ids=name_of)
def test_every_product_is_read_exactly(tmp_path, options):
    numbers = numbers_with_specials()
    path = write_safe(tmp_path, size=SIZE, bands=numbers, **options)
    offset, quantification = options.get("offset", -1000) or 0, options.get("quantification", 10_000)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.read(WHOLE), expected_dn(numbers, offset, quantification))
    assert (scene.kind, scene.level, scene.baseline) == (
        "SAFE",
        options["level"],
        options.get("baseline", "05.11"),
    )
    assert (scene.name, scene.date) == (path.stem, "2026-06-01T10:00:29")
    assert scene.crs.to_epsg() == EPSG
    assert scene.bounds == (WEST, NORTH - 10 * SIZE, WEST + 10 * SIZE, NORTH)
    assert (scene.phase, scene.nodata, scene.bands) == ((0, 0), 0, BAND_NAMES)
    assert scene.offset == offset * 10_000 / quantification
    assert [*scene.masks] == (["SCL"] if options["level"] == "L2A" else [])


def test_there_are_enough_products():
    assert len(PRODUCTS) >= 28 + 9


@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize(
    ("baseline", "offset", "sensed"),
    [
        ("02.08", None, "20190101T155659"),
        ("03.01", None, "20211201T155659"),
        ("04.00", -1000, "20220126T155659"),
        ("05.09", -1000, "20230601T155659"),
        ("05.11", -1000, "20260601T155659"),
        # Collection 1: old acquisitions, processed again
        ("05.00", -1000, "20151201T155659"),
        ("05.10", -1000, "20180101T155659"),
    ],
)
def test_the_offset_is_applied_once_whatever_the_date(tmp_path, sample, level, baseline, offset, sensed):
    path = write_safe(tmp_path, level=level, baseline=baseline, offset=offset, sensed=sensed, size=48)
    read = open_scene(path).read((0, 0, 48, 48))
    np.testing.assert_array_equal(read[:4], sample[0][:, :48, :48])
    np.testing.assert_array_equal(read[4:, ::2, ::2], sample[1][:, :24, :24])


@pytest.mark.parametrize(
    ("baseline", "offset", "raised", "said"),
    [("03.01", None, 1000, "1000 DN too bright"), ("05.11", -1000, 0, "1000 DN too dark")],
)
@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_pixels_that_contradict_the_offset_are_warned_of(tmp_path, level, baseline, offset, raised, said):
    path = write_safe(tmp_path, level=level, baseline=baseline, offset=offset, raised=raised)
    with pytest.warns(UserWarning, match=said):
        scene = open_scene(path)
    # what the metadata say is done
    assert scene.offset == (offset or 0)


@pytest.mark.parametrize(("level", "tag"), [("L1C", "RADIO_ADD_OFFSET"), ("L2A", "BOA_ADD_OFFSET")])
def test_offsets_go_by_band_id(tmp_path, level, tag):
    root = write_safe(tmp_path, level=level)
    ids = {"B02": 1, "B03": 2, "B04": 3, "B05": 4, "B06": 5, "B07": 6, "B08": 7, "B8A": 8, "B11": 11}
    ids["B12"] = 12
    for name, number in ids.items():
        own = -1000 - number
        edit(product_xml(root), f'<{tag} band_id="{number}">-1000<', f'<{tag} band_id="{number}">{own}<')
        assert BAND_IDS[number] == name
    assert open_scene(root).offset == {name: -1000 - number for name, number in ids.items()}


def test_offsets_of_other_bands_are_not_needed(tmp_path):
    root = write_safe(tmp_path, level="L2A", size=48)
    for number in (0, 9, 10):
        edit(product_xml(root), f'<BOA_ADD_OFFSET band_id="{number}">-1000</BOA_ADD_OFFSET>', "")
    assert open_scene(root).offset == -1000


def test_nodata_is_what_the_metadata_say(tmp_path):
    numbers = sample_numbers(SIZE)
    numbers["B03"][4, 5] = 7
    root = write_safe(tmp_path, bands=numbers, baseline="03.01", offset=None)
    index = "<SPECIAL_VALUE_INDEX>{}</SPECIAL_VALUE_INDEX>"
    edit(product_xml(root), index.format(0), index.format(7))
    scene = open_scene(root)
    assert scene.nodata == 7
    assert np.isnan(scene.read(WHOLE)[1]).sum() == np.count_nonzero(numbers["B03"] == 7)


def test_the_scene_classification_is_a_mask(tmp_path):
    numbers = numbers_with_specials()
    mask = open_scene(write_safe(tmp_path, level="L2A", bands=numbers)).masks["SCL"]
    assert (mask.step, mask.col, mask.row, mask.nodata, mask.gain, mask.offset) == (2, 0, 0, None, 1, 0)
    with rasterio.open(mask.path, driver=mask.driver) as dataset:
        classes = dataset.read(mask.index + 1)
    raised = {key: np.where(dn == 0, 0, dn + 1000) for key, dn in numbers.items()}
    np.testing.assert_array_equal(classes, scene_classes(raised))
    assert {*np.unique(classes)} <= SCL_CLASSES.keys() == {*range(12)}


def test_a_product_without_its_scene_classification_has_no_mask(tmp_path):
    root = write_safe(tmp_path, level="L2A")
    image(root, "SCL_20m").unlink()
    assert open_scene(root).masks == {}


# ---- recognition


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_a_product_is_known_by_any_of_its_paths(tmp_path, level):
    root = write_safe(tmp_path / "folder", level=level, size=48)
    expected = open_scene(root).read((0, 0, 48, 48))
    paths = [
        root.parent,
        root / f"MTD_MSI{level}.xml",
        root / "manifest.safe",
        root / "GRANULE",
        tile_xml(root).parent,
        tile_xml(root),
    ]
    for path in paths:
        scene = open_scene(path)
        assert (scene.kind, scene.name, scene.path) == ("SAFE", root.stem, str(path))
        np.testing.assert_array_equal(scene.read((0, 0, 48, 48)), expected)
    renamed = root.rename(tmp_path / "renamed")
    assert open_scene(renamed).name == root.stem


@pytest.mark.parametrize("top", [None, "", "renamed"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zips_are_read_in_place(tmp_path, safe, top, compression):
    expected = open_scene(safe).read((0, 0, 48, 48))
    name = safe.stem
    path = zip_folder(safe, top=top, compression=compression)
    before = sorted(tmp_path.iterdir())
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.read((0, 0, 48, 48)), expected)
    assert scene.name == name
    assert sorted(tmp_path.iterdir()) == before


def test_a_product_of_several_tiles_is_read_by_tile(tmp_path):
    tiles = ("T18SVG", "T18SVH")
    root = write_safe(tmp_path, tiles=tiles, **OLD)
    message = refused(root, "lists 2 tiles")
    for folder in sorted((root / "GRANULE").iterdir()):
        assert folder.name in message
        scene = open_scene(folder)
        assert scene.name == folder.name
        np.testing.assert_array_equal(scene.read(WHOLE), expected_dn(sample_numbers(SIZE)))


def test_only_the_bands_that_are_needed_are_looked_at(safe):
    image(safe, "B11").unlink()
    assert open_scene(safe, ["B02", "B08"]).bands == ("B02", "B08")


@pytest.mark.parametrize("name", ["folder", "archive.zip", "image.tif"])
def test_what_is_no_product_is_left_to_others(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        (path / "sub").mkdir(parents=True)
    elif name == "archive.zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("folder/readme.txt", "nothing")
    else:
        path.write_bytes(b"II*\0")
    assert find_product(path) is None


# ---- names and layouts that are refused


def without_metadata(root):
    product_xml(root).unlink()


def of_both_levels(root):
    (root / "MTD_MSIL2A.xml").write_bytes(product_xml(root).read_bytes())


def beside_another(root):
    (root.parent / "other.SAFE").mkdir()


def out_of_the_product(root):
    edit(product_xml(root), "<IMAGE_FILE>GRANULE/", "<IMAGE_FILE>GRANULE/../../../")


def at_an_absolute_path(root):
    edit(product_xml(root), "<IMAGE_FILE>GRANULE/", "<IMAGE_FILE>/etc/")


def of_an_unknown_format(root):
    edit(product_xml(root), '"JPEG2000"', '"ECW"')


def without_granules(root):
    edit(product_xml(root), "<Granule ", "<Nothing ")
    edit(product_xml(root), "</Granule>", "</Nothing>")


def without_its_tile(root):
    tile_xml(root).parent.rename(root / "GRANULE" / "elsewhere")


def without_metadata_of_the_tile(root):
    tile_xml(root).unlink()


def of_level_1b(root):
    edit(product_xml(root), ">Level-1C<", ">Level-1B<")


def without_a_baseline(root):
    edit(product_xml(root), ">05.11<", "><")


def of_a_strange_baseline(root):
    edit(product_xml(root), ">05.11<", ">the\nnewest<")


def without_a_start(root):
    edit(product_xml(root), "<PRODUCT_START_TIME>2026", "<PRODUCT_START_TIME>Jun")


def without_quantification(root):
    edit(product_xml(root), ">10000<", ">0<")


def of_infinite_quantification(root):
    edit(product_xml(root), ">10000<", ">inf<")


def without_offsets(root):
    edit(product_xml(root), "RADIO_ADD_OFFSET", "NO_OFFSET", 100)


def without_one_offset(root):
    edit(product_xml(root), '<RADIO_ADD_OFFSET band_id="8">-1000</RADIO_ADD_OFFSET>', "")


def with_an_offset_too_many(root):
    edit(product_xml(root), 'OFFSET band_id="12"', 'OFFSET band_id="13"')


def with_an_offset_twice(root):
    edit(product_xml(root), 'OFFSET band_id="12"', 'OFFSET band_id="11"')


def with_an_offset_that_is_no_number(root):
    edit(product_xml(root), ">-1000<", ">-1O00<")


def without_b04_in_the_list(root):
    edit(product_xml(root), "_B04</IMAGE_FILE>", "_X04</IMAGE_FILE>")


def with_b04_twice(root):
    edit(product_xml(root), "_B01</IMAGE_FILE>", "_2_B04</IMAGE_FILE>")


def beside_where_it_says(root):
    edit(tile_xml(root), f"<ULX>{WEST}</ULX>", f"<ULX>{WEST + 10}</ULX>")


def in_another_zone(root):
    edit(tile_xml(root), "EPSG:32618", "EPSG:32617")


def in_no_crs(root):
    edit(tile_xml(root), "EPSG:32618", "http://example.org/crs")


def in_an_unknown_crs(root):
    edit(tile_xml(root), "EPSG:32618", "EPSG:99999")


def of_another_size(root):
    edit(tile_xml(root), "<NROWS>48</NROWS>", "<NROWS>54</NROWS>")


def with_other_steps(root):
    edit(tile_xml(root), "<YDIM>-20</YDIM>", "<YDIM>20</YDIM>")


def without_a_resolution(root):
    edit(tile_xml(root), '<Size resolution="20">', '<Size resolution="30">')


def without_b06(root):
    image(root, "B06").unlink()


def with_an_empty_b07(root):
    image(root, "B07").write_bytes(b"")


def with_another_file_as_b08(root):
    image(root, "B08").write_bytes(b"P5 2 2 255 ....")


def with_b8a_moved(root):
    path = image(root, "B8A")
    write_image(path, sample_numbers(48)["B8A"] + np.uint16(1000), 20, corner=(WEST + 20, NORTH))


def with_b8a_at_10_m(root):
    write_image(image(root, "B8A"), sample_numbers(48)["B02"] + np.uint16(1000), 10)


def with_a_document_type(root):
    edit(product_xml(root), "<n1:Level", '<!DOCTYPE x [<!ENTITY a "b">]><n1:Level')


def with_a_document_type_in_utf_16(root):
    text = product_xml(root).read_text(encoding="utf-8").replace('encoding="UTF-8"', 'encoding="UTF-16"')
    text = text.replace("<n1:Level", "<!DOCTYPE x><n1:Level", 1)
    product_xml(root).write_bytes(text.encode("utf-16"))


REFUSALS = [
    (without_metadata, "metadata of 0 Sentinel-2 products"),
    (of_both_levels, "metadata of 2 Sentinel-2 products"),
    (out_of_the_product, "expected a path below GRANULE"),
    (at_an_absolute_path, "expected a path below GRANULE"),
    (of_an_unknown_format, "ECW as image format; expected JPEG2000 or GeoTIFF"),
    (without_granules, "no as image format"),
    (without_its_tile, "L1C_T18SVG_A043210_20260601T100029 is missing"),
    (without_metadata_of_the_tile, "expected one MTD_TL.xml"),
    (of_level_1b, "of level 1B; expected 1C or 2A"),
    (without_a_baseline, "none as PROCESSING_BASELINE"),
    (of_a_strange_baseline, 'baseline "the newest"'),
    (without_a_start, "start"),
    (without_quantification, "0 as QUANTIFICATION_VALUE; expected a positive"),
    (of_infinite_quantification, '"inf" as QUANTIFICATION_VALUE'),
    (without_offsets, "baseline 05.11 and gives no RADIO_ADD_OFFSET; since 04.00"),
    (without_one_offset, "no RADIO_ADD_OFFSET of B8A"),
    (with_an_offset_too_many, 'band_id "13"'),
    (with_an_offset_twice, 'band_id "11"'),
    (with_an_offset_that_is_no_number, '"-1O00" as RADIO_ADD_OFFSET'),
    (without_b04_in_the_list, "lacks band B04"),
    (with_b04_twice, "two images of B04"),
    (beside_where_it_says, r"_B02\.jp2 has 48 x 48 .*MTD_TL\.xml says 48 x 48 .*expected the same"),
    (in_another_zone, "EPSG:32618, but .*EPSG:32617"),
    (in_no_crs, 'CRS "http://example.org/crs"'),
    (in_an_unknown_crs, "EPSG:99999; there is no such"),
    (of_another_size, "says 48 x 54"),
    (with_other_steps, "gives steps"),
    (without_a_resolution, "lacks position or size at 20 m"),
    (without_b06, "Band B06 is missing"),
    (with_an_empty_b07, "Band B07 is empty"),
    (with_another_file_as_b08, r"_B08\.jp2 can't be read"),
    (with_b8a_moved, r"_B8A\.jp2 has 24 x 24"),
    (with_b8a_at_10_m, r"_B8A\.jp2 has 48 x 48 pixels of 10 m"),
    (with_a_document_type, "declares a document type"),
    (with_a_document_type_in_utf_16, "declares a document type"),
]


@pytest.mark.parametrize(("change", "said"), REFUSALS, ids=[change.__name__ for change, _ in REFUSALS])
def test_what_is_wrong_is_said_in_one_line(safe, change, said):
    change(safe)
    refused(safe, said)


@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize("baseline", ["04.00", "05.10", "99.99"])
def test_an_offset_that_should_be_there_is_missed(tmp_path, level, baseline):
    path = write_safe(tmp_path, level=level, baseline=baseline, offset=None, raised=1000, size=48)
    refused(path, f"baseline {baseline} and gives no (RADIO|BOA)_ADD_OFFSET")


def test_several_products_are_listed(safe):
    beside_another(safe)
    refused(safe.parent, rf"several products \({safe.name}, other\.SAFE\)")


def test_a_zipped_product_beside_is_another_one(safe):
    (safe.parent / f"{safe.stem}.zip").touch()
    open_scene(safe.parent)  # this one, as it was downloaded
    other = safe.with_name(safe.stem.replace("S2B", "S2A") + ".SAFE.zip")
    other.touch()
    refused(safe.parent, rf"several products \({safe.name}, {other.name}\)")


def test_a_product_of_sentinel_1_is_refused(tmp_path):
    root = tmp_path / "S1A_IW_GRDH_1SDV_20260601T100029.SAFE"
    root.mkdir()
    (root / "manifest.safe").write_text("<xfdu/>")
    for path in (root, root / "manifest.safe"):
        refused(path, "expected one of MTD_MSIL1C.xml and MTD_MSIL2A.xml")


def test_names_of_results_are_no_paths(safe):
    edit(product_xml(safe), f"<PRODUCT_URI>{safe.name}", "<PRODUCT_URI>../../../evil.SAFE")
    assert open_scene(safe).name == safe.stem


# ---- damage

SHARES = (0.999, 0.99, 0.9, 0.75, 0.5, 0.25, 0.1, 0.01)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize("share", SHARES)
def test_xml_that_is_cut_short_is_refused(safe, share):
    for file in (product_xml(safe), tile_xml(safe)):
        content = file.read_bytes()
        cut(file, share)
        refused(safe, f"{file.name} is no complete XML")
        file.write_bytes(content)
    open_scene(safe)


@pytest.mark.parametrize("share", SHARES)
def test_a_zip_that_is_cut_short_is_refused(safe, share):
    path = zip_folder(safe)
    cut(path, share)
    refused(path, "no complete zip")


@pytest.mark.parametrize("packing", ["folder", zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("share", SHARES)
def test_an_image_that_is_cut_short_is_refused(safe, packing, share):
    name = "B12"
    file = image(safe, name)
    cut(file, share)
    path = safe if packing == "folder" else zip_folder(safe, compression=packing)
    with pytest.raises(SceneError, match=name):
        open_scene(path).read((0, 0, 48, 48))
    if packing != zipfile.ZIP_DEFLATED:
        refused(path, f"Band {name} is cut short")


def test_an_image_whose_codestream_ends_with_the_file_is_whole(safe):
    """ESA's do: the length in their last box is 0."""
    path = image(safe, "B03")
    content = bytearray(path.read_bytes())
    start = content.index(b"jp2c") - 4
    content[start : start + 4] = bytes(4)
    path.write_bytes(content)
    open_scene(safe)
    path.write_bytes(content[:-7])
    refused(safe, "Band B03 is cut short")


@pytest.mark.parametrize("driver_threads", ["1", "ALL_CPUS"])
def test_reading_a_cut_image_raises_at_any_level(tmp_path, driver_threads):
    """Its length aside: a file may shrink after it was opened."""
    size = 240
    root = write_safe(tmp_path, size=size, BLOCKXSIZE="64", BLOCKYSIZE="64")
    scene, path = open_scene(root), image(root, "B03")
    content = path.read_bytes()
    with rasterio.Env(GDAL_NUM_THREADS=driver_threads):
        for share in SHARES:
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(SceneError, match="B03"):
                scene.read((0, 0, size, size))


def test_a_zip_bomb_is_refused(safe, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST", 1 << 20)
    path = zip_folder(safe)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    for victim, said in (
        ("MTD_MSIL1C.xml", "would unpack"),
        ("MTD_TL.xml", "would unpack"),
        ("B05.jp2", "B05"),
    ):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members.items():
                file.writestr(name, content + bytes(4 << 20) * name.endswith(victim))
        refused(path, said)


def test_metadata_that_are_far_too_large_are_refused(safe, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST", 1 << 10)
    refused(safe, "expected a metadata file")


def test_an_encrypted_zip_is_refused(safe):
    path = zip_folder(safe)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        offsets = [entry.header_offset for entry in file.infolist()]
    for offset in offsets:
        content[offset + 6] |= 1
    central = content.index(b"PK\x01\x02")
    for match in re.finditer(rb"PK\x01\x02", bytes(content[central:])):
        content[central + match.start() + 8] |= 1
    path.write_bytes(content)
    refused(path, "encrypted")


def test_expat_stops_bombs():
    """Since 2.4.1; a document type is refused before, whatever its encoding."""
    assert pyexpat.version_info >= (2, 4, 1)


# ---- GDAL's own reader


@pytest.mark.parametrize(
    "options",
    [{}, {"level": "L2A"}, {"level": "L2A", "baseline": "03.01", "offset": None}, OLD, {"zipped": True}],
    ids=name_of,
)
def test_gdal_reads_the_same(tmp_path, options):
    """Its driver of Sentinel-2 products leaves the offset in."""
    numbers = sample_numbers(SIZE)
    path = write_safe(tmp_path, size=SIZE, bands=numbers, **options)
    scene, level = open_scene(path), options.get("level", "L1C")
    read = dict(zip(scene.bands, scene.read(WHOLE), strict=True))
    zipped = f"/vsizip/{path}/{path.stem}.SAFE/MTD_MSIL1C.xml"
    file = zipped if path.suffix == ".zip" else product_xml(path)
    compared = set()
    for resolution in (10, 20):
        with rasterio.open(f"SENTINEL2_{level}:{file}:{resolution}m:EPSG_{EPSG}") as dataset:
            factor = resolution // 10
            assert dataset.crs == scene.crs
            assert dataset.transform == scene.transform @ dataset.transform.scale(factor)
            for index, description in enumerate(dataset.descriptions, start=1):
                name = f"B{description.split(',')[0].removeprefix('B').zfill(2)}"
                if name not in read or next(b for b in BANDS if b.name == name).resolution != resolution:
                    continue
                theirs = dataset.read(index).astype(np.float32) + scene.offset
                np.testing.assert_array_equal(read[name][::factor, ::factor], theirs, err_msg=name)
                compared.add(name)
    assert compared == {*BAND_NAMES}


# ---- real metadata

REAL = {
    "S2A_MSIL1C_20170809T100031_N0205_R122_T32TQT_20170809T100028": (
        "zip", "L1C", "02.05", 0, "2017-08-09T10:00:31", "L1C_T32TQT_A011130_20170809T100028",
        "T32TQT_20170809T100031", "EPSG:32632", (699960, 5300040),
    ),
    "S2A_MSIL1C_20170908T100031_N0205_R122_T33UWP_20170908T100655": (
        "zip", "L1C", "02.05", 0, "2017-09-08T10:00:31", "L1C_T33UWP_A011559_20170908T100655",
        "T33UWP_20170908T100031", "EPSG:32633", (499980, 5400000),
    ),
    "S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135": (
        "SAFE", "L1C", "02.09", 0, "2020-07-17T22:19:41", "L1C_T01LAC_A026481_20200717T221944",
        "T01LAC_20200717T221941", "EPSG:32701", (99960, 8300020),
    ),
    "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248": (
        "SAFE", "L1C", "03.01", 0, "2021-09-08T04:27:01", "L1C_T46RER_A032448_20210908T043714",
        "T46RER_20210908T042701", "EPSG:32646", (499980, 3100020),
    ),
    "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857": (
        "SAFE", "L2A", "02.12", 0, "2019-02-12T19:26:51", "L2A_T07HFE_A019029_20190212T192646",
        "T07HFE_20190212T192651", "EPSG:32707", (600000, 6500020),
    ),
    "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCS_20230626T022157": (
        "SAFE", "L2A", "05.09", -1000, "2023-06-25T23:46:21", "L2A_T01WCS_A041826_20230625T234624",
        "T01WCS_20230625T234621", "EPSG:32601", (300000, 7700040),
    ),
    "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126": (
        "SAFE", "L2A", "04.00", -1000, "2022-04-13T15:07:59", "L2A_T33XWJ_A026649_20220413T150756",
        "T33XWJ_20220413T150759", "EPSG:32633", (499980, 8900040),
    ),
    "eodag_S2A_MSIL1C_20180101T105441_T31TDH": (
        "zip", "L1C", "02.06", 0, "2018-01-01T10:54:41", "L1C_T31TDH_A013204_20180101T105435",
        "T31TDH_20180101T105441", "EPSG:32631", (399960, 4800000),
    ),
}  # fmt: skip
"""Suffix, level, baseline, offset, start, granule, stem of images, CRS, upper left corner."""
NAMES = {
    "S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135": (
        "S2A_MSIL1C_20200717T221941_N0209_R029_T01LAC_20200717T234135"
    ),
    "eodag_S2A_MSIL1C_20180101T105441_T31TDH": "S2A_MSIL1C_20180101T105441_N0206_R051_T31TDH_20180101T124911",
}
"""Of products whose folder or zip is named otherwise."""


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_metadata_are_parsed_exactly(superres_data, name):
    suffix, level, baseline, offset, start, granule, stem, crs, corner = REAL[name]
    root, _ = find_product(superres_data / "safe-samples" / f"{name}.{suffix}")
    metadata = read_metadata(root)
    assert metadata == read_metadata(root, granule)
    assert (metadata.name, metadata.level, metadata.baseline) == (NAMES.get(name, name), level, baseline)
    assert (metadata.date, metadata.tile, metadata.crs) == (start, granule, crs)
    assert (metadata.quantification, metadata.nodata) == (10_000, 0)
    assert metadata.offsets == dict.fromkeys(BAND_IDS, offset)
    assert metadata.geocoding == {10: (*corner, 10980, 10980), 20: (*corner, 5490, 5490)}
    assert metadata.tile_file == f"GRANULE/{granule}/MTD_TL.xml"
    # the Planetary Computer has GeoTIFF files in their stead
    tif = name.startswith(("S2A_MSIL2A_2019", "S2B_MSIL2A_2022"))
    assert metadata.driver == ("GTiff" if tif else "JP2OpenJPEG")
    expected = {band.name: f"{stem}_{band.name}" for band in BANDS}
    if level == "L2A":
        expected = {b.name: f"R{b.resolution}m/{stem}_{b.name}_{b.resolution}m" for b in BANDS}
        expected["SCL"] = f"R20m/{stem}_SCL_20m"
    place, ending = f"GRANULE/{granule}/IMG_DATA", ".tif" if tif else ".jp2"
    assert metadata.images == {key: f"{place}/{path}{ending}" for key, path in expected.items()}


@pytest.mark.real_data
@pytest.mark.parametrize("name", [name for name in REAL if "MSIL2A" in name])
def test_real_metadata_agree_with_those_of_stactools(superres_data, name):
    """Each of these products has the STAC item that stactools-sentinel2 made of it beside."""
    root = superres_data / "safe-samples" / f"{name}.SAFE"
    metadata, item = read_metadata(root), json.loads((root / "expected_output.json").read_text())
    properties = item["properties"]
    assert properties["proj:code"] == metadata.crs
    assert properties["datetime"][:19] == metadata.date
    assert properties["s2:processing_baseline"] == metadata.baseline
    assert properties["s2:product_uri"] == f"{metadata.name}.SAFE"
    assets = {asset["href"].removeprefix("./"): asset for asset in item["assets"].values()}
    for band in BANDS:
        asset = assets[metadata.images[band.name]]
        left, top, columns, rows = metadata.geocoding[band.resolution]
        assert asset["proj:shape"] == [rows, columns]
        assert asset["proj:transform"] == [band.resolution, 0, left, 0, -band.resolution, top]
        (facts,) = asset["raster:bands"]
        assert facts["nodata"] == metadata.nodata
        assert facts["scale"] == pytest.approx(1 / metadata.quantification)
        assert facts["offset"] == pytest.approx(metadata.offsets[band.name] / metadata.quantification)


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.real_data
@pytest.mark.parametrize("name", [name for name in REAL if REAL[name][0] == "SAFE"])
def test_stactools_reads_the_same_from_real_metadata(superres_data, name):
    """Installed by hand (stactools-sentinel2): with what it needs it is 30 packages."""
    stac = pytest.importorskip("stactools.sentinel2.stac")
    root = superres_data / "safe-samples" / f"{name}.SAFE"
    metadata, item = read_metadata(root), stac.create_item(str(root))
    assert item.properties["proj:code"] == metadata.crs
    assert item.properties["s2:processing_baseline"] == metadata.baseline
    assert item.datetime.isoformat()[:19] == metadata.date
    assets = {asset.href.removeprefix(f"{root}/"): asset.extra_fields for asset in item.assets.values()}
    for band in BANDS:
        fields = assets[metadata.images[band.name]]
        left, top, *_ = metadata.geocoding[band.resolution]
        assert fields["proj:transform"][:6] == [band.resolution, 0, left, 0, -band.resolution, top]
        offset = fields["raster:bands"][0]["offset"]
        assert offset == pytest.approx(metadata.offsets[band.name] / metadata.quantification)


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_products_without_images_are_refused(superres_data, name):
    refused(superres_data / "safe-samples" / f"{name}.{REAL[name][0]}", "Band B02 is (empty|missing)")


@pytest.mark.real_data
def test_a_real_image_of_esa_is_whole(superres_data, tmp_path):
    """B01, which has the boxes of all."""
    path = superres_data / "safe-samples" / "eodag_S2A_MSIL1C_20180101T105441_T31TDH.zip"
    with zipfile.ZipFile(path) as file:
        (name,) = (name for name in file.namelist() if name.endswith("_B01.jp2"))
        content = file.read(name)
    _check_length(zipfile.Path(path, name), "B01")
    (tmp_path / "B01.jp2").write_bytes(content)
    _check_length(tmp_path / "B01.jp2", "B01")
    for missing in (1, 2, 100):
        (tmp_path / "B01.jp2").write_bytes(content[:-missing])
        with pytest.raises(SceneError, match="Band B01 is cut short"):
            _check_length(tmp_path / "B01.jp2", "B01")
