import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from openeo_superres import raster, space
from openeo_superres.errors import OutputError
from openeo_superres.raster import superresolve_scene
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BAND_NAMES
from openeo_superres.space import check_space, peak_bytes

SAMPLE = Path(__file__).parents[1] / "examples/data"
WHOLE = (0, 0, 512, 512)


@pytest.fixture(scope="module")
def scene():
    return open_scene(SAMPLE)


def free(monkeypatch, size):
    usage = shutil.disk_usage("/")._replace(free=size)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_peak_is_about_what_is_taken(tmp_path, mtf_card, monkeypatch, dtype):
    """Of what lies beside the result while it is made, and the result."""
    seen = []
    validate = raster.CogWriter.finish

    def watch(writer):
        tiles = sum(path.stat().st_size for path in tmp_path.iterdir())
        validate(writer)
        seen.append(tiles + sum(path.stat().st_size for path in tmp_path.iterdir()))

    monkeypatch.setattr(raster.CogWriter, "finish", watch)
    superresolve_scene(SAMPLE, tmp_path / "o.tif", mtf_card, window=(0, 0, 256, 256), dtype=dtype)
    assert 0.6 < seen[0] / peak_bytes(256, 256, dtype=dtype) < 1.2


def test_a_disk_that_can_not_hold_it(tmp_path, nearest_card, monkeypatch):
    free(monkeypatch, 1_000_000)
    with pytest.raises(OutputError, match=r"1\.0 MB free.*about 46.1 MB.*--window"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card)
    assert not any(tmp_path.iterdir())


def test_a_part_or_some_bands_fit(tmp_path, scene, nearest_card, monkeypatch):
    free(monkeypatch, 1_000_000)
    assert superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=(0, 0, 64, 64)).exists()
    check_space(tmp_path, scene, (0, 0, 128, 128), bands=("B11",))


def test_it_does_not_refuse_what_may_fit(tmp_path, scene, monkeypatch):
    """A third of what the sample takes is the limit; what is flat or nodata takes next to nothing."""
    likely = peak_bytes(512, 512)
    free(monkeypatch, likely // 2)
    check_space(tmp_path, scene, WHOLE, bands=BAND_NAMES)
    free(monkeypatch, likely // 100)
    with pytest.raises(OutputError):
        check_space(tmp_path, scene, WHOLE, bands=BAND_NAMES)
    for image in (np.full((10, 64, 64), np.nan, np.float32), np.full((10, 64, 64), 900, np.float32)):
        monkeypatch.setattr(type(scene), "opened", lambda _, image=image: Opened(image))
        check_space(tmp_path, scene, WHOLE, bands=BAND_NAMES)


def test_it_looks_at_the_part_that_is_asked_for(tmp_path, scene, monkeypatch):
    """Half of the scene is nodata: a disk too small for the other half may hold it."""
    opened = type(scene).opened

    @contextmanager
    def half(self):
        with opened(self) as read:
            yield lambda window: read(window) if window[0] >= 256 else np.full((10, *window[:1:-1]), np.nan)

    monkeypatch.setattr(type(scene), "opened", half)
    free(monkeypatch, 1_000_000)
    check_space(tmp_path, scene, (0, 0, 250, 512), bands=BAND_NAMES)
    with pytest.raises(OutputError):
        check_space(tmp_path, scene, (262, 0, 250, 512), bands=BAND_NAMES)


class Opened:
    def __init__(self, image):
        self.image = image

    def __enter__(self):
        return lambda _: self.image

    def __exit__(self, *_):
        pass


def test_two_results_take_twice(tmp_path, scene, monkeypatch):
    free(monkeypatch, 12_000_000)
    check_space(tmp_path, scene, WHOLE, bands=BAND_NAMES)
    with pytest.raises(OutputError, match="92"):
        check_space(tmp_path, scene, WHOLE, bands=BAND_NAMES, files=2)
