"""The picture of what models do at 5 m."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="the train extra is not installed: make train-setup")

from conftest import SAMPLE, write_model

from openeo_superres.evaluate import bicubic
from openeo_superres.picture import comparison
from training import gallery
from training.chart import COLOURS

PICTURES = Path(__file__).parents[1] / "docs/images"


@pytest.fixture(scope="module")
def images(image):
    """Bicubic, and something sharper, of a part of the sample: by label (10, 256, 256)."""
    part = image[:, 256:384, 256:384]
    return {"bicubic": bicubic(part), "nearest": part.repeat(2, axis=1).repeat(2, axis=2)}


def colours_of(picture):
    return {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3)}


def test_windows_above_spectra_below(images):
    view = (20, 30, 80, 60)
    picture = gallery.gallery(images, view, zoom=2)
    windows = {label: image[:, 60:180, 40:200] for label, image in images.items()}
    above = comparison(windows, zoom=2)
    np.testing.assert_array_equal(np.asarray(picture)[: above.height], np.asarray(above))
    assert picture.width == above.width
    assert picture.height == above.height + round(gallery.SPECTRA_HEIGHT * gallery.DPI)


def test_every_model_has_its_line_and_the_picture_its_width(images):
    picture = gallery.spectra(images, 1203)
    assert picture.width == 1203
    drawn = [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS]
    assert drawn[1] in colours_of(picture)
    three = gallery.spectra({**images, "third": images["nearest"] + images["bicubic"]}, 1203)
    assert drawn[2] in colours_of(three) - colours_of(picture)


def test_lines_are_profiles_over_cycles_per_km(images):
    """Nearest pixels have more beyond 50 cycles per km, where a 10 m pixel measures nothing."""
    figure = gallery.new_figure(8, 4)
    levels, differences = figure.subplots(1, 2)
    gallery._spectrum(levels, differences, images, "B04")
    base, other = (line.get_xydata() for line in differences.lines[:2])
    assert (base[:, 1] == 0).all()
    assert (other[:, 0] == base[:, 0]).all()
    assert 99 < other[-1, 0] < 100
    assert other[other[:, 0] > 75, 1].mean() > 3 > abs(other[other[:, 0] < 10, 1].mean())
    assert [line.get_label() for line in levels.lines[:2]] == ["bicubic", "nearest"]
    assert levels.texts[0].get_text() == "Nyquist of 10 m pixels"


def test_profiles_are_of_the_image_less_its_mean(images):
    """Else the mean, at the zero-padded edge, drowns the finest detail."""
    band = images["bicubic"][2]
    np.testing.assert_allclose(gallery.profile(band + 5000), gallery.profile(band), atol=0.01)


def test_more_models_than_colours_are_all_drawn(images):
    many = {f"model {k}": images["nearest"] for k in range(len(COLOURS) + 1)}
    figure = gallery.new_figure(8, 4)
    levels, differences = figure.subplots(1, 2)
    gallery._spectrum(levels, differences, many, "B07")
    assert [line.get_label() for line in levels.lines[: len(many)]] == list(many)


@pytest.mark.parametrize("view", [(-1, 0, 8, 8), (0, 0, 8, 0), (121, 0, 8, 8), (0, 121, 8, 8)])
def test_a_window_outside_is_refused(images, view):
    with pytest.raises(ValueError, match="Expected a window inside 128 x 128 pixels of 10 m"):
        gallery.gallery(images, view)


def test_models_of_another_scale_are_refused(image, tmp_path):
    card = write_model(tmp_path, scale=4)
    with pytest.raises(ValueError, match="wide has scale 4"):
        gallery.results({"wide": card}, image)


def test_command(tmp_path, monkeypatch, capsys):
    path = tmp_path / "gallery.png"
    arguments = ["cubic_mtf", "--sample", SAMPLE, "--output", path, "--zoom", 2]
    monkeypatch.setattr(sys, "argv", ["gallery", *map(str, arguments)])
    gallery.main()
    assert capsys.readouterr().out.startswith(f"{path}: bicubic, cubic_mtf; ")
    with Image.open(path) as picture:
        assert picture.width > 600
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edsr_4"], "Unknown model 'edsr_4'"),
        (["cubic_mtf", "--sample", "none"], "none"),
        (["cubic_mtf", "--sample", SAMPLE, "--zoom", 0], "expected a number above 0, got 0"),
        (["cubic_mtf", "--sample", SAMPLE, "--window", 0, 0, 8, 600], "Expected a window inside 512 x 512"),
        (["cubic_mtf", "--sample", SAMPLE, "--output", __file__ + "/a.png"], "test_gallery.py"),
    ],
)
def test_mistakes_get_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gallery", "--output", "a.png", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        gallery.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", sorted(PICTURES.glob("*.png")), ids=lambda path: path.name)
def test_pictures_of_the_documentation_are_small(path):
    assert path.stat().st_size < 1_000_000
