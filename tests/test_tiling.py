"""Any tiling gives the same pixels: over sizes, tile sizes, phases, holes and kinds of chunks.

More of the same stands where a path is tested: cubes (test_local), one chunk's margin (test_udf), scenes
(test_raster), every network (test_networks).
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_superres import load_card, superresolve_local
from openeo_superres.udf import Context, Model, superresolve_chunk, superresolve_cube

windows = st.tuples(st.integers(0, 150), st.integers(0, 150), st.integers(1, 90), st.integers(1, 90))
"""Top, left, height, width: on odd and even pixels, down to a single one."""
holes = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 9)),
        *[st.floats(0, 1)] * 2,
        *[st.integers(1, 40)] * 2,
    ),
    max_size=4,
)
"""Band or all of them, where as a share of height and width, height, width."""


def cut(cube: xr.DataArray, window, gaps) -> xr.DataArray:
    """A window of the scene with rectangles of nodata."""
    top, left, height, width = window
    part = cube[:, top : top + height, left : left + width].copy(deep=True)
    for band, down, across, rows, columns in gaps:
        row, column = int(down * (height - 1)), int(across * (width - 1))
        part[slice(None) if band is None else band, row : row + rows, column : column + columns] = np.nan
    return part


def assert_same(tiled, whole) -> None:
    tiled, whole = np.asarray(tiled), np.asarray(whole)
    np.testing.assert_array_equal(np.isnan(tiled), np.isnan(whole))
    limit = np.maximum(0.01, 2e-6 * np.abs(whole))
    excess = np.abs(tiled - whole) - limit
    assert np.isnan(excess).all() or np.nanmax(excess) <= 0


@given(window=windows, gaps=holes, share=st.floats(0.15, 1))
@settings(max_examples=60)
def test_tiles_of_any_size(cube, window, gaps, share):
    part = cut(cube, window, gaps)
    size = 2 * max(1, round(share * max(window[2:]) / 2))
    whole = superresolve_local(part, "cubic_mtf", threads=1)
    assert_same(superresolve_local(part, "cubic_mtf", size=size, threads=1), whole)


@given(window=windows, gaps=holes, size=st.integers(15, 40).map(lambda half: 2 * half))
@settings(max_examples=20)
def test_tiles_of_a_network(cube, window, gaps, size):
    part = cut(cube, window, gaps)
    whole = superresolve_local(part, "edsr_2x32", threads=1)
    assert_same(superresolve_local(part, "edsr_2x32", size=size, threads=1), whole)


@given(
    window=windows,
    gaps=holes,
    size=st.integers(12, 40).map(lambda half: 2 * half),
    chunks=st.tuples(*[st.integers(9, 90)] * 2, st.integers(1, 10)),
)
@settings(max_examples=20)
def test_chunks_of_dask_do_not_matter(cube, window, gaps, size, chunks):
    """Not even by the last bit."""
    part = cut(cube, window, gaps)
    lazy = part.chunk(dict(zip(("y", "x", "bands"), chunks, strict=True)))
    result = superresolve_local(lazy, "cubic_mtf", size=size).compute(scheduler="sync")
    np.testing.assert_array_equal(result, superresolve_local(part, "cubic_mtf", size=size, threads=1))


@pytest.fixture(scope="module")
def context() -> Context:
    card = load_card("cubic_mtf")
    return Context(
        mode="grid",
        scale=card.scale,
        bands=card.bands,
        margin=card.margin,
        sha256=card.sha256,
        model=str(card.path),
        provider="cpu",
    )


@given(
    window=st.tuples(st.integers(0, 150), st.integers(0, 150), st.integers(20, 70), st.integers(20, 70)),
    gaps=holes,
    core=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.integers(1, 60), st.integers(1, 60)),
)
@settings(max_examples=40)
def test_chunks_of_a_back_end(cube, context, window, gaps, core):
    """Chunks of the 5 m grid, cut anywhere with the margin around, each of which decides the phase alone."""
    part = cut(cube, window, gaps)
    whole = superresolve_local(part, "cubic_mtf", threads=1).to_numpy()
    around = 2 * context.margin
    fine = part.to_numpy().repeat(2, axis=1).repeat(2, axis=2)
    fine = np.pad(fine, ((0, 0), (around, around), (around, around)), constant_values=np.nan)
    height, width = whole.shape[1:]
    top, left = int(core[0] * height), int(core[1] * width)
    bottom, right = min(height, top + core[2]), min(width, left + core[3])
    coords = {
        "bands": part["bands"],
        "y": float(part["y"][0]) + 2.5 - 5 * (np.arange(top, bottom + 2 * around) - around),
        "x": float(part["x"][0]) - 2.5 + 5 * (np.arange(left, right + 2 * around) - around),
    }
    chunk = xr.DataArray(
        fine[:, top : bottom + 2 * around, left : right + 2 * around], coords, ("bands", "y", "x")
    )
    result = superresolve_cube(chunk, context)[:, around:-around, around:-around]
    assert_same(result, whole[:, top:bottom, left:right])


@given(seed=st.integers(0, 2**16), shift=st.integers(-1500, 15_000))
@settings(max_examples=20)
def test_numbers_of_any_size(image, mtf_model: Model, seed, shift):
    """Dark, negative and saturated pixels keep the tolerance, too."""
    rng = np.random.default_rng(seed)
    margin = mtf_model.margin
    whole = image[:, :100, :120] + np.float32(shift)
    whole[:, ::31, ::17] = rng.choice([-999, 0, 28_000, 65_535])
    row, column = rng.integers(0, 100 - 20), rng.integers(0, 120 - 20)
    padded = np.pad(whole, ((0, 0), (margin, margin), (margin, margin)), constant_values=np.nan)
    chunk = padded[:, row : row + 20 + 2 * margin, column : column + 20 + 2 * margin]
    phase = ((margin - row) % 2, (margin - column) % 2)
    tile = superresolve_chunk(chunk, mtf_model, phase=phase, overlap=margin)
    expected = superresolve_chunk(whole, mtf_model)[:, 2 * row : 2 * row + 40, 2 * column : 2 * column + 40]
    assert_same(tile, expected)
