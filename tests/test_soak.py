"""The engine for long and again: memory that stays, pixels and bytes that are the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from openeo_superres import DEFAULT_MODEL, load_card, local, superresolve_local, superresolve_scene
from openeo_superres.udf import superresolve_chunk

SAMPLE = Path(__file__).parents[1] / "examples" / "data"
WARM_UP = 60
SOAK = """
import json, os, sys
from pathlib import Path

import numpy as np
import xarray as xr
from openeo.udf import XarrayDataCube

from openeo_superres import load_card
from openeo_superres.sensor import BAND_NAMES
from openeo_superres.udf import apply_datacube

card = load_card("cubic_mtf")
context = {
    "mode": "upscale", "scale": 2, "bands": card.bands, "margin": card.margin, "sha256": card.sha256,
    "model": str(card.path), "provider": "cpu",
}
image = np.load(sys.argv[1], mmap_mode="r")
rng = np.random.default_rng(5)
resident = []
for number in range(int(sys.argv[2])):
    edge = 64 + 16 * (number % 4)
    row, column = rng.integers(0, image.shape[1] - edge, 2)
    chunk = np.array(image[:, row : row + edge, column : column + edge])
    chunk[:, rng.integers(edge), : rng.integers(edge)] = np.nan
    cube = xr.DataArray(chunk, {"bands": list(BAND_NAMES)}, ("bands", "y", "x"))
    result = apply_datacube(XarrayDataCube(cube), context).get_array()
    assert result.shape == (10, 2 * edge, 2 * edge)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident.append(pages * os.sysconf("SC_PAGE_SIZE"))
print(json.dumps(resident))
"""
"""What a back-end's worker does all day: chunks of a few sizes, with nodata, in one process."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_does_not_grow_over_300_chunks(image, tmp_path):
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-c", SOAK, str(tmp_path / "image.npy"), str(WARM_UP + 300)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resident = np.array(json.loads(done.stdout))
    before, after = resident[WARM_UP - 20 : WARM_UP].max(), resident[-20:].max()
    assert after < 1.05 * before


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path, driver="GTiff") as result:
        return result.read()


def test_a_scene_is_the_same_again(tmp_path):
    """The same options give the same bytes; more threads the same pixels, unrounded."""

    def run(name: str, threads: int) -> Path:
        return superresolve_scene(
            SAMPLE,
            tmp_path / name,
            DEFAULT_MODEL,
            window=(31, 60, 110, 90),
            size=64,
            dtype="float32",
            provider="cpu",
            threads=threads,
        )

    first, again, threaded = run("first.tif", 1), run("again.tif", 1), run("threaded.tif", 2)
    assert first.read_bytes() == again.read_bytes()
    np.testing.assert_array_equal(pixels(first), pixels(threaded))
    assert np.isfinite(pixels(first)).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_tiles_does_not_matter(cube, monkeypatch, seed):
    part = cube[:, 101:200, 33:150].copy(deep=True)
    part[:, 30:50, 40:60] = np.nan
    ordered = superresolve_local(part, DEFAULT_MODEL, size=40, threads=1)
    tiles = local._tiles
    rng = np.random.default_rng(seed)

    def shuffled(shape, size):
        flat = [tile for row in tiles(shape, size) for tile in row]
        return [[flat[index] for index in rng.permutation(len(flat))]]

    monkeypatch.setattr(local, "_tiles", shuffled)
    again = superresolve_local(part, DEFAULT_MODEL, size=40, threads=1)
    assert again.to_numpy().tobytes() == ordered.to_numpy().tobytes()


def test_chunks_leave_nothing_behind_in_a_session(image):
    """A session that has seen other shapes and other pixels gives what a new one gives."""
    model = load_card(DEFAULT_MODEL).open("cpu", 1)
    rng = np.random.default_rng(3)
    chunks = [image[:, 2 * i : 2 * i + 40 + 6 * i, : 70 - 4 * i].copy() for i in range(6)]
    chunks[2][:, 5:9] = np.nan
    first = [superresolve_chunk(chunk, model) for chunk in chunks]
    for index in rng.permutation(12) % 6:
        assert superresolve_chunk(chunks[index], model).tobytes() == first[index].tobytes()
