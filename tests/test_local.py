"""Cubes on this machine: any size, numpy or dask, with or without dates."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers the accessor .rio)
import xarray as xr
from conftest import is_slow
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_superres import SuperresError, list_models, local, superresolve_local
from openeo_superres.sensor import BAND_NAMES

windows = st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(1, 120), st.integers(1, 120))


def cut(cube: xr.DataArray, window: tuple[int, int, int, int], seed: int | None = None) -> xr.DataArray:
    """A window of the cube, with a few rectangles of nodata where a seed is given."""
    top, left, height, width = window
    part = cube[:, top : top + height, left : left + width].copy(deep=True)
    if seed is not None:
        rng = np.random.default_rng(seed)
        for _ in range(4):
            row, column, band = rng.integers(height), rng.integers(width), rng.integers(10)
            bands = slice(None) if rng.random() < 0.7 else slice(band, band + 1)
            part[bands, row : row + rng.integers(1, 30), column : column + rng.integers(1, 30)] = np.nan
    return part


@given(window=windows, size=st.sampled_from([16, 22, 48, 80]), seed=st.integers(0, 2**16))
@settings(max_examples=20)
def test_tiled_equals_whole(cube, window, size, seed):
    part = cut(cube, window, seed)
    whole = superresolve_local(part, "cubic_mtf", size=512, threads=1)
    tiled = superresolve_local(part, "cubic_mtf", size=size, threads=1)
    np.testing.assert_allclose(tiled, whole, rtol=2e-6, atol=0.01)


@pytest.mark.parametrize("name", list_models())
def test_tiled_equals_whole_for_every_shipped_model(cube, name):
    part = cut(cube, (37, 50, 45, 50) if is_slow(name) else (37, 50, 131, 150), seed=11)
    whole = superresolve_local(part, name, size=512, threads=1)
    for size in (30,) if is_slow(name) else (30, 64):
        tiled = superresolve_local(part, name, size=size, threads=1)
        limit = np.maximum(0.01, 2e-6 * np.abs(whole))
        assert not (np.abs(tiled - whole) > limit).any()
        np.testing.assert_array_equal(np.isnan(tiled), np.isnan(whole))


@given(window=windows, seed=st.integers(0, 2**16))
@settings(max_examples=30)
def test_nodata_stays_where_it_was(cube, window, seed):
    part = cut(cube, window, seed)
    result = superresolve_local(part, "cubic_mtf", threads=1)
    mask = np.isnan(part.to_numpy()).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(np.isnan(result), mask)


@given(window=windows, northward=st.booleans())
@settings(max_examples=30)
def test_same_region(cube, nearest_card, window, northward):
    part = cut(cube, window)
    if northward:
        part = part[:, ::-1]
    result = superresolve_local(part, nearest_card.path.with_suffix(".json"))
    assert result.shape == (10, 2 * part.shape[1], 2 * part.shape[2])
    assert result.dtype == np.float32
    for axis, sign in (("x", 1), ("y", 1 if northward and part.sizes["y"] > 1 else -1)):
        centres = result[axis].to_numpy()
        assert centres.dtype == np.float64
        np.testing.assert_array_equal(np.diff(centres), sign * 5.0)
        assert centres[0] - sign * 2.5 == float(part[axis][0]) - sign * 5.0
        assert centres[-1] + sign * 2.5 == float(part[axis][-1]) + sign * 5.0
    np.testing.assert_array_equal(result, part.to_numpy().repeat(2, axis=1).repeat(2, axis=2))


def test_coordinates_survive_float32_where_it_is_coarse(cube, nearest_card):
    """Near y = 9 200 000 float32 holds whole metres only: 10 m centres pass, 5 m centres need float64."""
    north = cube[:, :100, :100].assign_coords(y=(9_200_155 - 10 * np.arange(100)).astype(np.float32))
    result = superresolve_local(north, nearest_card.path.with_suffix(".json"))
    np.testing.assert_array_equal(result["y"], 9_200_157.5 - 5.0 * np.arange(200))


def test_dask_gives_the_same_lazily(cube):
    part = cut(cube, (33, 10, 151, 130), seed=5)
    expected = superresolve_local(part, "cubic_mtf", size=64, threads=1)

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError

    with dask.config.set(scheduler=refuse):
        lazy = superresolve_local(part.chunk({"bands": 3, "y": 50, "x": 70}), "cubic_mtf", size=64)
    assert lazy.chunks is not None
    assert lazy.dtype == np.float32
    computed = lazy.compute(scheduler="threads", num_workers=2)
    xr.testing.assert_identical(computed.drop_vars(()), expected)


@pytest.mark.parametrize("chunk", [48, 96, 192])
def test_tiles_share_what_they_load(cube, nearest_card, chunk):
    part, loads = cut(cube, (0, 0, 192, 192)).to_numpy(), []

    def load(block_info):
        (_, rows, columns) = block_info[None]["array-location"]
        loads.append((rows, columns))
        return part[:, slice(*rows), slice(*columns)]

    chunks = ((10,), *((chunk,) * (192 // chunk) for _ in "yx"))
    source = da.map_blocks(load, chunks=chunks, dtype=np.float32, meta=np.empty((0,) * 3, np.float32))
    lazy = xr.DataArray(source, {"bands": list(BAND_NAMES)}, ("bands", "y", "x"))
    result = superresolve_local(lazy, nearest_card, size=48)
    assert not loads
    np.testing.assert_array_equal(result.compute(), part.repeat(2, axis=1).repeat(2, axis=2))
    assert len(loads) == len({*loads}) == (192 // chunk) ** 2


@pytest.mark.parametrize("axis", ["x", "y"])
def test_dask_asks_tiles_everywhere_for_the_phase(cube, axis):
    """Where the first tiles are nodata and coordinates mislead, the others tell."""
    part = cut(cube, (101, 101, 256, 256))
    part = part.where(np.arange(256) >= 16 if axis == "x" else xr.DataArray(np.arange(256) >= 16, dims="y"))
    part = part.assign_coords(x=part["x"] + 10, y=part["y"] + 10)
    expected = superresolve_local(part, "cubic_mtf", threads=1)
    lazy, some = superresolve_local(part.chunk(), "cubic_mtf", size=16), (slice(None), *[slice(90, 130)] * 2)
    np.testing.assert_allclose(lazy[some].compute(), expected[some], rtol=2e-6, atol=0.01)
    smooth = part.rolling(x=3, center=True).mean().chunk()
    with pytest.raises(SuperresError, match="method 'near'"):
        superresolve_local(smooth, "cubic_mtf", size=16)[some].compute()


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_the_smallest_tiles_see_every_cell(cube, nearest_card, corner):
    """Cells that lie across tiles vote, too: with the wrong phase 20 m bands would be averaged."""
    part = cut(cube, (100 + corner[0], 100 + corner[1], 14, 14))
    for tried in (part, part.chunk()):
        result = superresolve_local(tried, nearest_card, size=2, threads=1)
        np.testing.assert_array_equal(result, part.to_numpy().repeat(2, axis=1).repeat(2, axis=2))


def test_voters_are_spread_over_tiles_and_dates():
    rows = local._tiles((7, 10, 8192, 4096), 512)
    voters = local._voters(rows, 7)
    assert {date for date, _ in voters} == {*range(7)}
    assert {tile[0] for _, tile in voters} == {0, 5 * 512, 10 * 512, 15 * 512}
    assert {tile[2] for _, tile in voters} == {0, 2 * 512, 4 * 512, 7 * 512}
    dates = [date for date, _ in local._voters([[(0, 10, 0, 10)]], 40)]
    assert (len(dates), dates[0], dates[-1]) == (16, 0, 37)


def test_a_lazy_result_says_reflectance_too(cube):
    with pytest.raises(SuperresError, match="Multiply by 10 000"):
        superresolve_local((cut(cube, (0, 0, 60, 60)) / 10_000).chunk(), "cubic_mtf").compute()


def test_dates_one_by_one(cube):
    first, second = cut(cube, (0, 1, 60, 60)), cut(cube, (0, 1, 60, 60), seed=1) + 50
    dates = np.array(["2026-06-01", "2026-06-06"], "datetime64[ns]")
    both = xr.concat([first, second], dim=xr.DataArray(dates, dims="t", name="t"))
    for cube_of_dates in (both, both.chunk({"t": 1})):
        result = superresolve_local(cube_of_dates, "cubic_mtf", size=32, threads=1)
        assert result.dims == ("t", "bands", "y", "x")
        np.testing.assert_array_equal(result["t"], dates)
        for date, alone in zip(result, (first, second), strict=True):
            np.testing.assert_array_equal(date, superresolve_local(alone, "cubic_mtf", size=32, threads=1))


def test_phase_is_decided_once_for_the_whole_cube(cube):
    """A tile of flat water alone could not tell; the cube can."""
    part = cut(cube, (101, 101, 120, 120))
    part[:, :64, :64] = part[:, :1, :1].to_numpy()
    whole = superresolve_local(part, "cubic_mtf", size=512, threads=1)
    shifted = part.assign_coords(x=part["x"] + 10, y=part["y"] + 10)
    np.testing.assert_allclose(superresolve_local(shifted, "cubic_mtf", size=32, threads=1), whole, atol=0.01)


def test_bands_go_by_name_and_others_are_dropped(cube):
    part = cut(cube, (0, 0, 40, 50))
    expected = superresolve_local(part, "cubic_mtf")
    order = np.random.default_rng(2).permutation(10)
    mask = part[:1].assign_coords(bands=["SCL"])
    shuffled = xr.concat([mask, part.isel(bands=order)], dim="bands").transpose("y", "x", "bands")
    result = superresolve_local(shuffled, "cubic_mtf")
    assert result.dims == ("y", "x", "bands")
    assert list(result["bands"].to_numpy()) == [BAND_NAMES[i] for i in order]
    xr.testing.assert_equal(result.sel(bands=list(BAND_NAMES)).transpose("bands", "y", "x"), expected)


def test_attributes_and_references_fit_the_result(cube, nearest_card):
    part = cut(cube, (0, 0, 20, 30))
    reference = xr.DataArray(0, attrs={"crs_wkt": "any", "GeoTransform": "435740 10 0 4165120 0 -10"})
    part = part.assign_coords(spatial_ref=reference).assign_attrs(platform="Sentinel-2A")
    result = superresolve_local(part, nearest_card.path.with_suffix(".json"))
    assert result.attrs["platform"] == "Sentinel-2A"
    assert result.attrs["long_name"] == BAND_NAMES
    left, width, _, top, _, height = map(float, result["spatial_ref"].attrs["GeoTransform"].split())
    assert (left, width, top, height) == (435740, 5, 4165120, -5)
    assert part["spatial_ref"].attrs["GeoTransform"] == "435740 10 0 4165120 0 -10"
    assert result.rio.resolution() == (5, -5)
    assert result.rio.bounds() == part.rio.bounds()


def test_a_grid_mapping_of_any_name_goes_along(cube, nearest_card):
    part = cut(cube, (0, 0, 20, 30)).drop_attrs().rio.write_crs("EPSG:32618", grid_mapping_name="crs")
    part["crs"].attrs["GeoTransform"] = "435740 10 0 4165120 0 -10"
    result = superresolve_local(part, nearest_card)
    assert result.rio.crs.to_epsg() == 32618
    assert result.rio.resolution() == (5, -5)
    assert result.rio.bounds() == part.rio.bounds()


def test_input_is_not_changed(cube):
    part = cut(cube, (0, 0, 30, 30), seed=2)
    before = part.copy(deep=True)
    superresolve_local(part, "cubic_mtf")
    xr.testing.assert_identical(part, before)


def test_integers_are_numbers_too(cube):
    part = cut(cube, (0, 0, 30, 30))
    xr.testing.assert_equal(
        superresolve_local(part.astype(np.int16), "cubic_mtf"), superresolve_local(part, "cubic_mtf")
    )


def test_same_input_same_bytes(cube):
    part = cut(cube, (10, 10, 100, 100), seed=3)
    first, second = (superresolve_local(part, "cubic_mtf", size=32) for _ in range(2))
    assert first.to_numpy().tobytes() == second.to_numpy().tobytes()


@pytest.mark.parametrize("name", list_models())
def test_consistency_is_kept_in_a_tiled_cube(cube, name):
    """Aggregated with the sensor's PSF, the result gives the input back."""
    from openeo_superres.evaluate import consistency  # noqa: PLC0415

    edge, size = (96, 48) if is_slow(name) else (256, 64)
    part = cut(cube, (0, 0, edge, edge))
    result = superresolve_local(part, name, size=size)
    errors = consistency(result.to_numpy(), part.to_numpy())
    assert errors.mean() <= 2
    assert errors.max() < 4


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda c: c.drop_sel(bands="B11"), {}, "Add B11"),
        (lambda c: c.drop_vars("bands"), {}, "no labels"),
        (lambda c: c.rename(x="lon"), {}, "lacks dimension x"),
        (lambda c: c, {"size": 7}, "even size"),
        (lambda c: c, {"model": "carn_x3"}, r"Available: .*cubic_mtf"),
        (lambda c: c.rolling(x=3, center=True).mean(), {}, "method 'near'"),
        (lambda c: c / 10_000, {}, "looks like reflectance"),
        (lambda c: c.to_numpy(), {}, "Expected an xarray.DataArray, got ndarray"),
        (lambda c: c[:, :0], {}, "is empty"),
        (lambda c: c.assign_coords(x=c["x"] / 2), {}, "x coordinates are 5 m apart"),
    ],
)
def test_wrong_input_says_what_to_do(cube, change, options, message):
    with pytest.raises(SuperresError, match=message):
        superresolve_local(change(cut(cube, (0, 0, 40, 40))), **{"model": "cubic_mtf", **options})
