"""The part of a scene that is judged: it never has nodata, and lies on whole 20 m cells."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_superres.errors import SceneError
from openeo_superres.evaluate import part
from openeo_superres.evaluate.part import clear_part, find_part, read_part
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BANDS_10M, BANDS_20M

SAMPLE = Path(__file__).parents[1] / "examples/data"


def write(folder, x10, x20, *, west=0):
    """A pair of GeoTIFFs; the 20 m one starts ``west`` pixels of 10 m to the west of the other."""
    for name, pixels, bands, size in (("10m", x10, BANDS_10M, 10), ("20m", x20, BANDS_20M, 20)):
        left = 435_740 - (10 * west if size == 20 else 0)
        profile = {
            "count": len(bands),
            "height": pixels.shape[1],
            "width": pixels.shape[2],
            "dtype": "uint16",
            "crs": "EPSG:32618",
            "transform": Affine(size, 0, left, 0, -size, 4_165_120),
        }
        with rasterio.open(folder / f"scene_{name}.tif", "w", driver="GTiff", **profile) as target:
            target.write(pixels.astype(np.uint16))
            target.descriptions = [band.name for band in bands]
    return open_scene(folder)


@pytest.fixture
def holed(sample, tmp_path):
    """A scene of 512 x 512 pixels with nodata in the middle, in one 10 m band and in one 20 m band."""
    x10, x20 = sample[0].copy(), sample[1].copy()
    x10[2, 230:300, 200:280] = 0
    x20[5, 10, 40] = 0
    return write(tmp_path, x10, x20)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 20),
    cols=st.integers(1, 20),
    share=st.floats(0, 0.3),
    most=st.integers(2, 12),
    least=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_part_is_clear_and_none_larger_is(rows, cols, share, most, least, seed):
    clear = np.random.default_rng(seed).random((rows, cols)) >= share
    found = clear_part(clear, most, least)

    def places(edge):
        height, width = min(edge, rows), min(edge, cols)
        return [
            (col, row, width, height)
            for row in range(rows - height + 1)
            for col in range(cols - width + 1)
            if min(height, width) >= least and clear[row : row + height, col : col + width].all()
        ]

    edges = [edge for edge in range(1, min(most, max(rows, cols)) + 1) if places(edge)]
    if found is None:
        assert not [edge for edge in edges if edge >= least]
        return
    best = places(edges[-1])
    assert found in best

    def distance(place):
        col, row, width, height = place
        return (row + height / 2 - rows / 2) ** 2 + (col + width / 2 - cols / 2) ** 2

    assert distance(found) == min(map(distance, best))


def test_a_small_scene_without_nodata_is_taken_whole(sample, tmp_path):
    assert find_part(open_scene(SAMPLE)) == (0, 0, 512, 512)
    # sizes that no protocol takes as they are
    scene = write(tmp_path, sample[0][:, :150, :202], sample[1][:, :75, :101])
    assert find_part(scene) == (0, 0, 202, 150)


def test_nodata_is_gone_around(holed):
    col, row, width, height = found = find_part(holed)
    assert np.isfinite(holed.read(found)).all()
    assert (width % part.CELL, height % part.CELL, col % 2, row % 2) == (0, 0, 0, 0)
    # the cells on its right
    assert (width, height) == (224, 224)
    x10, x20 = read_part(holed, found)
    np.testing.assert_array_equal(x10, holed.read(found)[:4])
    np.testing.assert_array_equal(x20.repeat(2, axis=1).repeat(2, axis=2), holed.read(found)[4:])


@settings(max_examples=10)
@given(st.data())
def test_no_hole_is_in_what_was_found(sample, tmp_path_factory, data):
    x10, x20 = sample[0].copy(), sample[1].copy()
    # too few to be in each of the 16 parts of the least size that lie beside each other
    for image, most in ((x10, 2), (x20, 1)):
        for _ in range(data.draw(st.integers(0, most))):
            band, row, col = (data.draw(st.integers(0, n - 1)) for n in image.shape)
            size = data.draw(st.integers(1, 60))
            image[band, row : row + size, col : col + size] = 0
    scene = write(tmp_path_factory.mktemp("scene"), x10, x20)
    found = find_part(scene)
    assert np.isfinite(scene.read(found)).all()
    assert min(found[2:]) >= part.SMALLEST


def test_of_a_large_scene_the_middle_is_taken(monkeypatch, sample, tmp_path):
    monkeypatch.setattr(part, "LARGEST", 256)
    assert find_part(open_scene(SAMPLE)) == (128, 128, 256, 256)
    assert find_part(open_scene(SAMPLE), whole=True) == (0, 0, 512, 512)
    # a narrow one gives what it has
    scene = write(tmp_path, sample[0][:, :160], sample[1][:, :80])
    assert find_part(scene) == (128, 0, 256, 160)


def test_the_search_goes_outwards(monkeypatch, sample, tmp_path):
    """The middle is looked at first; what is farther only if no part of the largest size is there."""
    monkeypatch.setattr(part, "LARGEST", 128)
    x10 = sample[0].copy()
    x10[0, 256, 256] = 0
    scene = write(tmp_path, x10, sample[1])
    asked = []
    clear_cells = part._clear_cells

    def watched(scene, region, threads):
        asked.append(region)
        return clear_cells(scene, region, threads)

    monkeypatch.setattr(part, "_clear_cells", watched)
    found = find_part(scene)
    assert asked == [(192, 192, 128, 128), (128, 128, 256, 256)]
    assert found[2:] == (128, 128)
    assert np.isfinite(scene.read(found)).all()


def test_parts_start_on_20_m_cells(sample, tmp_path):
    scene = write(tmp_path, sample[0][:, :200, :301], sample[1][:, :100, :151], west=1)
    assert scene.phase == (0, 1)
    found = find_part(scene)
    assert found == (1, 0, 300, 200)
    x10, x20 = read_part(scene, found)
    np.testing.assert_array_equal(x10, sample[0][:, :200, 1:301])
    np.testing.assert_array_equal(x20, sample[1][:, :100, 1:151])
    # what was asked for becomes smaller, never larger
    assert find_part(scene, window=(10, 11, 160, 150)) == (11, 12, 158, 148)


def test_what_was_asked_for_must_be_clear(holed):
    for asked in ({"whole": True}, {"window": (150, 200, 150, 150)}):
        with pytest.raises(SceneError, match=r"are nodata; expected none\. Give --window another part"):
            read_part(holed, find_part(holed, **asked))


def test_too_small_parts_are_refused(sample, tmp_path):
    with pytest.raises(SceneError, match="126 x 300 pixels is too small"):
        find_part(open_scene(SAMPLE), window=(0, 0, 127, 300))
    x10 = sample[0].copy()
    x10[0, ::120, ::120] = 0
    with pytest.raises(SceneError, match="no part of 128 x 128 pixels"):
        find_part(write(tmp_path, x10, sample[1]))
    with pytest.raises(SceneError, match="512 x 512"):
        find_part(open_scene(SAMPLE), window=(400, 0, 200, 200))
