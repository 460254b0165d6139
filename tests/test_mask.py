from pathlib import Path

import numpy as np
import pytest
import rasterio
from products import NODATA, coarser, sample_numbers, write_safe
from theia_files import SIZE, theia_masks, write_theia

from openeo_superres import superresolve_scene
from openeo_superres.errors import OutputError, SceneError
from openeo_superres.mask import hide, mask_text
from openeo_superres.scene import open_scene

SAMPLE = Path(__file__).parents[1] / "examples/data"


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    return write_safe(tmp_path_factory.mktemp("safe"), level="L2A")


@pytest.fixture(scope="module")
def theia(tmp_path_factory):
    return write_theia(tmp_path_factory.mktemp("theia"))


def classes(scene):
    """The scene classification on the 10 m grid, as the file has it."""
    with rasterio.open(scene.masks["SCL"].path) as dataset:
        return dataset.read(1).repeat(2, axis=0).repeat(2, axis=1)


def test_classes_are_hidden_in_every_band(safe):
    scene = open_scene(safe)
    whole = (0, 0, scene.width, scene.height)
    before, after = scene.read(whole), hide(scene, {"SCL": (4, 6)}).read(whole)
    hidden = np.isin(classes(scene), (4, 6))
    assert 0 < hidden.sum() < hidden.size
    assert np.isnan(after[:, hidden]).all()
    np.testing.assert_array_equal(after[:, ~hidden], before[:, ~hidden])


def test_a_bit_is_hidden_among_others(theia):
    scene = open_scene(theia)
    whole = (0, 0, scene.width, scene.height)
    before, clouds = scene.read(whole), theia_masks("L2A")["CLM_R1"]
    for numbers in ((32,), (8, 32), (2, 8), (1,), (64,), (8, 8)):
        after = hide(scene, {"CLM": numbers}).read(whole)
        hidden = (clouds & sum({*numbers})) != 0
        assert clouds.shape == (SIZE, SIZE)
        assert np.isnan(after[:, hidden]).all()
        np.testing.assert_array_equal(after[:, ~hidden], before[:, ~hidden])


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({"CLM": (1,)}, "no mask CLM; its masks: SCL"),
        ({"scl": (1,)}, "no mask scl; its masks: SCL"),
        ({"SCL": (3, 12)}, "classes, 0 to 11; got 12"),
        ({"SCL": (-1,)}, "got -1"),
        ({"SCL": ()}, "got nothing"),
    ],
)
def test_masks_that_a_product_lacks(safe, masks, said):
    with pytest.raises(SceneError, match=said):
        hide(open_scene(safe), masks)


@pytest.mark.parametrize("number", [0, 3, 7, 256])
def test_numbers_that_are_no_bit(theia, number):
    with pytest.raises(SceneError, match=rf"values of its bits: 1, 2, 4, 8.*got {number}\."):
        hide(open_scene(theia), {"CLM": (1, number)})


def test_a_scene_without_masks():
    with pytest.raises(SceneError, match="its masks: none"):
        hide(open_scene(SAMPLE), {"SCL": (3,)})


def test_text():
    assert mask_text({"SCL": (9, 3), "CLM": (1,)}) == "SCL=3,9 CLM=1"


def test_what_is_hidden_is_nodata_in_the_result_and_nothing_else(tmp_path, safe, mtf_card):
    scene = open_scene(safe)
    path = superresolve_scene(
        safe, tmp_path / "o.tif", mtf_card, mask={"SCL": (4,)}, dtype="float32", compare="bicubic"
    )
    with rasterio.open(path) as dataset, rasterio.open(tmp_path / "o_bicubic.tif") as bicubic:
        result = dataset.read()
        assert dataset.tags()["MASK"] == bicubic.tags()["MASK"] == "SCL=4"
        np.testing.assert_array_equal(np.isnan(bicubic.read()), np.isnan(result))
    hidden = (classes(scene) == 4).repeat(2, axis=0).repeat(2, axis=1)
    there = np.isnan(scene.read((0, 0, scene.width, scene.height)))
    expected = there.repeat(2, axis=1).repeat(2, axis=2) | hidden
    np.testing.assert_array_equal(np.isnan(result), expected)


def test_a_mask_is_never_overwritten(theia, mtf_card):
    path = Path(open_scene(theia).masks["CLM"].path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="would be read"):
        superresolve_scene(theia, path, mtf_card, mask={"CLM": (1,)}, overwrite=True)
    assert path.read_bytes() == before


def test_hidden_pixels_leave_no_trace_in_the_result(tmp_path, mtf_card):
    """The numbers under a mask are another: neither the network nor a 20 m cell sees them."""
    numbers = sample_numbers()
    spoilt = {key: dn.copy() for key, dn in numbers.items()}
    green = coarser(numbers["B03"], 2)
    classes = np.where(green > np.percentile(green, 80), 9, 4).astype(np.uint8)
    for key, dn in spoilt.items():
        if key in {"B01", "B09", "B10"}:
            continue
        step = classes.shape[0] * 2 // dn.shape[0]
        cloud = (classes == 9) if step == 2 else (classes == 9).repeat(2, axis=0).repeat(2, axis=1)
        dn[cloud & (dn != NODATA)] = 20_000
    results = []
    for name, bands in (("clean", numbers), ("spoilt", spoilt)):
        product = write_safe(tmp_path / name, level="L2A", bands=bands)
        scl = next(product.rglob("*_SCL_20m.jp2"))
        with rasterio.open(scl) as dataset:
            profile = dataset.profile
        profile |= {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
        with rasterio.open(scl, "w", **profile) as dataset:
            dataset.write(classes, 1)
        path = superresolve_scene(
            product, tmp_path / f"{name}.tif", mtf_card, mask={"SCL": (9,)}, dtype="float32"
        )
        with rasterio.open(path) as dataset:
            results.append(dataset.read())
    assert 0 < np.isnan(results[0]).mean() < 1
    np.testing.assert_array_equal(*results)
