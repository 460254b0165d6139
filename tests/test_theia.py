import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from theia_files import NAMES, SAMPLE, SIZE, theia_bands, theia_image, theia_masks, write_theia

from openeo_superres.cli import main
from openeo_superres.errors import SceneError
from openeo_superres.grid import Mask
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BAND_NAMES, BANDS

WHOLE = (0, 0, SIZE, SIZE)
FINE = [band.name for band in BANDS if band.resolution == 10]
COARSE = [band.name for band in BANDS if band.resolution == 20]


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theia")
    return {
        (level, zipped): write_theia(folder, level, zipped=zipped)
        for level in NAMES
        for zipped in (True, False)
    }


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("level", list(NAMES))
def test_a_product_gives_its_flat_reflectance_where_it_has_data(products, level, zipped):
    scene = open_scene(products[level, zipped])
    np.testing.assert_array_equal(scene.read(WHOLE), theia_image(level))
    assert (scene.kind, scene.name, scene.level, scene.baseline) == ("Theia", NAMES[level], level, None)
    assert scene.date == {"L2A": "2018-01-01T10:54:41", "L3A": "2018-10-15"}[level]
    assert (scene.nodata, scene.offset, scene.dtype, scene.phase) == (-10000, 0, "int16", (0, 0))
    assert [file.step for file in scene.files] == [band.resolution // 10 for band in BANDS]


@pytest.mark.parametrize("level", list(NAMES))
def test_the_fixture_asks_for_what_matters(level):
    image = theia_image(level)
    assert (image < 0).any()
    # nodata by number alone, by mask alone, and differently for 10 m and 20 m
    assert np.isnan(image[:, -3:, :4]).all()
    assert (np.isnan(image[0]) != np.isnan(image[-1])).any()
    assert np.isfinite(image).mean() > 0.8


def test_the_metadata_file_and_a_folder_around_the_product_are_the_product(products, tmp_path):
    product = products["L2A", False]
    outer = tmp_path / "unpacked"
    shutil.copytree(product, outer / product.name)
    for source in (product / f"{product.name}_MTD_ALL.xml", outer):
        scene = open_scene(source)
        assert scene.name == product.name
        np.testing.assert_array_equal(scene.read(WHOLE), theia_image("L2A"))


@pytest.mark.parametrize(("level", "name"), [("L2A", "CLM"), ("L3A", "FLG")])
@pytest.mark.parametrize("zipped", [False, True])
def test_clouds_are_offered_and_hide_nothing_until_asked(products, level, name, zipped):
    scene = open_scene(products[level, zipped])
    assert list(scene.masks) == [name]
    numbers = theia_masks(level)[f"{name}_R1"]
    # bit 1 of CLM: clouds, without their shadows; class 1 of FLG
    cloud = (numbers & 2) != 0 if level == "L2A" else numbers == 1
    assert cloud.any()
    mask = Mask(scene.masks[name], **({"bits": 2} if level == "L2A" else {"values": frozenset({1})}))
    read = replace(scene, hidden=(*scene.hidden, mask)).read(WHOLE)
    np.testing.assert_array_equal(read, np.where(cloud, np.nan, theia_image(level)))


@pytest.mark.parametrize("bands", [FINE, COARSE])
def test_bands_of_one_resolution_need_no_others(tmp_path, bands):
    others = tuple(
        f"{name.replace('B0', '_B')}.tif" if name.startswith("B0") else f"_{name}.tif"
        for name in BAND_NAMES
        if name not in bands
    )
    scene = open_scene(write_theia(tmp_path, without=others), bands)
    image = theia_image("L2A")[[BAND_NAMES.index(name) for name in bands]]
    np.testing.assert_array_equal(scene.read(WHOLE), image)
    assert list(scene.masks) == ["CLM"]


def test_the_quantification_value_is_what_the_metadata_say(tmp_path):
    scene = open_scene(write_theia(tmp_path, quantification=20000, factor=2))
    np.testing.assert_array_equal(scene.read(WHOLE), theia_image("L2A"))


def test_without_an_edge_mask_the_number_alone_tells_nodata_and_that_is_said(tmp_path):
    product = write_theia(tmp_path, without=("_EDG_R2.tif",))
    with pytest.warns(
        UserWarning, match=r"lacks MASKS/\*_EDG_R2.tif: only -10000 is nodata in bands of 20 m"
    ):
        scene = open_scene(product)
    read = scene.read(WHOLE)
    np.testing.assert_array_equal(read[:4], theia_image("L2A")[:4])
    np.testing.assert_array_equal(np.isnan(read[4:, ::2, ::2]), [theia_bands()["B05"] == -10000] * 6)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": ("_FRE_B8A.tif",)}, "lacks band B8A"),
        ({"without": ("_FRE_B2.tif", "_FRE_B12.tif")}, "lacks band B02, B12"),
        (
            {"without": tuple(f"FRE_{name.replace('B0', 'B')}.tif" for name in BAND_NAMES)},
            r"no \*_FRE_B\*.tif",
        ),
        ({"without": ("_MTD_ALL.xml",)}, r"0 named \*_MTD_ALL.xml; expected one"),
        ({"platform": "LANDSAT8"}, "is of LANDSAT8 L2A; expected SENTINEL2"),
        ({"quantification": 0}, "divided by 0; expected 10000"),
        ({"quantification": "many"}, "no date or number .* 'many'"),
        ({"quantification": " "}, "lacks REFLECTANCE_QUANTIFICATION_VALUE"),
        ({"quantification": 1}, "divided by 1; expected 10000"),
    ],
)
def test_what_is_incomplete_or_of_another_satellite_is_refused(tmp_path, options, message, zipped):
    with pytest.raises(SceneError, match=message):
        open_scene(write_theia(tmp_path, zipped=zipped, **options))


def test_another_level_is_refused(products, tmp_path):
    product = shutil.copytree(products["L2A", False], tmp_path / "product")
    (metadata,) = product.glob("*_MTD_ALL.xml")
    metadata.write_text(metadata.read_text().replace(">L2A<", ">L2B-SNOW<"))
    with pytest.raises(SceneError, match="is of SENTINEL2A L2B-SNOW; expected SENTINEL2, L2A or L3A"):
        open_scene(product)
    metadata.write_text("<!DOCTYPE x>" + metadata.read_text())
    with pytest.raises(SceneError, match="document type"):
        open_scene(product)


@pytest.mark.parametrize("ending", ["_FRE_B11.tif", "_EDG_R1.tif"])
def test_a_cut_file_is_named(products, tmp_path, ending):
    product = shutil.copytree(products["L2A", False], tmp_path / "product")
    (file,) = product.rglob(f"*{ending}")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(SceneError, match=rf"{ending} can't be read"):
        open_scene(product).read(WHOLE)


def test_a_cut_zip_is_named(products, tmp_path):
    path = tmp_path / "cut.zip"
    path.write_bytes(products["L2A", True].read_bytes()[:-1000])
    with pytest.raises(SceneError, match=r"cut.zip is no complete zip"):
        open_scene(path)


def test_of_several_products_none_is_chosen(tmp_path):
    for level in NAMES:
        write_theia(tmp_path, level)
    with pytest.raises(SceneError, match="holds several Theia products"):
        open_scene(tmp_path)
    twice = tmp_path / NAMES["L2A"]
    shutil.copy(next(twice.glob("*_MTD_ALL.xml")), twice / "copy_MTD_ALL.xml")
    with pytest.raises(SceneError, match="and 2 named"):
        open_scene(twice)


@pytest.mark.parametrize("zipped", [False, True])
def test_the_command_line_says_what_it_is(products, zipped):
    result = CliRunner().invoke(main, ["inspect", str(products["L3A", zipped])])
    assert result.exit_code == 0, result.output
    assert "Theia" in result.output
    assert "L3A" in result.output


def test_a_product_beside_other_files_does_not_stand_for_their_folder(tmp_path):
    for name in ("virginia_10m.tif", "virginia_20m.tif"):
        shutil.copy(SAMPLE / name, tmp_path)
    write_theia(tmp_path)
    assert open_scene(tmp_path).kind == "pair"
