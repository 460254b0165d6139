import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from openeo_superres.errors import OutputError
from openeo_superres.picture import (
    COMPOSITES,
    GAP,
    LABEL_HEIGHT,
    Composite,
    colours,
    comparison,
    save_png,
    stretch_limits,
)
from openeo_superres.sensor import BAND_NAMES


def panel(picture, row, column, shape, zoom):
    """Pixels of one panel, below its label."""
    height, width = (zoom * n for n in shape)
    top = GAP + row * (height + LABEL_HEIGHT + GAP) + LABEL_HEIGHT
    left = GAP + column * (width + GAP)
    return np.asarray(picture)[top : top + height, left : left + width]


@given(rows=st.integers(2, 20), columns=st.integers(2, 20), zoom=st.integers(1, 4))
def test_panels_hold_each_pixel_zoomed_and_nothing_else(image, rows, columns, zoom):
    view = image[:, 300 : 300 + rows, 320 : 320 + columns]
    composite = Composite("true colour", ("B04", "B03", "B02"))
    picture = comparison({"a": view, "b": view[:, ::-1]}, [composite], zoom=zoom)
    bands = view[[BAND_NAMES.index(band) for band in composite.bands]]
    drawn = colours(bands, stretch_limits(bands)).repeat(zoom, axis=0).repeat(zoom, axis=1)
    np.testing.assert_array_equal(panel(picture, 0, 0, (rows, columns), zoom), drawn)
    np.testing.assert_array_equal(panel(picture, 0, 1, (rows, columns), zoom), drawn[::-1])


def test_one_stretch_for_all_results(image):
    view = image[:, 200:260, 300:380]
    picture = comparison({"as it is": view, "darker": view / 2}, zoom=1)
    for row in range(len(COMPOSITES)):
        left, right = (panel(picture, row, column, (60, 80), 1) for column in (0, 1))
        assert right.mean() < left.mean()


@pytest.mark.parametrize("label", ["edsr", "carn_3x3x64g4sw_gan"])
def test_labels_stay_over_their_panel(image, label):
    view = image[:, :64, :110]
    both = comparison({label: view, "b": view}, zoom=2)
    alone = comparison({label: view}, zoom=2)
    # as wide as the panel and the gaps: what is drawn there is the same without a neighbour
    heights = slice(GAP, GAP + LABEL_HEIGHT)
    width = GAP + 220
    left = np.asarray(both)[heights, :width]
    np.testing.assert_array_equal(left, np.asarray(alone)[heights, :width])
    assert (np.asarray(both)[heights, width : width + GAP] == 255).all()
    assert (left < 128).any()


def test_colours_rise_with_the_numbers_and_clip():
    ramp = np.broadcast_to(np.arange(300, dtype=np.float32), (3, 1, 300))
    drawn = colours(ramp, np.array([[50.0] * 3, [250.0] * 3]))
    assert drawn.shape == (1, 300, 3)
    assert (np.diff(drawn[0].astype(int), axis=0) >= 0).all()
    assert (drawn[0, :51] == 0).all()
    assert (drawn[0, 250:] == 255).all()


def test_nodata_is_black_and_a_flat_band_is_drawn():
    view = np.full((3, 4, 4), 700, np.float32)
    view[:, 1, 2] = np.nan
    drawn = colours(view, stretch_limits(view))
    assert (drawn[1, 2] == 0).all()
    assert drawn.shape == (4, 4, 3)


def test_png_reads_back_and_replaces(tmp_path):
    picture = Image.new("RGB", (5, 4), (1, 2, 3))
    path = tmp_path / "a.png"
    path.write_text("stale")
    assert save_png(picture, path) == path
    with Image.open(path) as read:
        np.testing.assert_array_equal(np.asarray(read), np.asarray(picture))
    assert list(tmp_path.iterdir()) == [path]


def test_png_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match=r"a\.png"):
        save_png(Image.new("RGB", (5, 4)), tmp_path / "none/a.png")
    path = tmp_path / "folder.png"
    path.mkdir()
    with pytest.raises(OutputError, match=r"folder\.png"):
        save_png(Image.new("RGB", (5, 4)), path)
    assert list(tmp_path.iterdir()) == [path]
