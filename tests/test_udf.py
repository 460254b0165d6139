"""The file that travels: one chunk's numerics and the User Defined Function."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import time
import tracemalloc
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import openeo
import openeo.udf
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from openeo.metadata import CubeMetadata, SpatialDimension
from openeo.udf.run_code import run_udf_code
from openeo.udf.udf_data import UdfData

from openeo_superres import ModelCard, list_models, load_card, udf
from openeo_superres.evaluate import bicubic
from openeo_superres.sensor import BAND_NAMES, BANDS
from openeo_superres.udf import Model, SuperresError

SOURCE = Path(udf.__file__).read_text(encoding="utf-8")


def holes(seed: int, shape: tuple[int, ...], *, per_band: bool) -> np.ndarray:
    """A nodata mask of a few rectangles and single pixels."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    for _ in range(rng.integers(1, 5)):
        band = rng.integers(shape[0]) if per_band else slice(None)
        row, column = (rng.integers(n) for n in shape[1:])
        height, width = rng.integers(1, 12, 2)
        mask[band, row : row + height, column : column + width] = True
    return mask


windows = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(1, 70), st.integers(1, 70))


def cut(image: np.ndarray, window: tuple[int, int, int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """A copy of a window, and the phase of its 20 m cells."""
    top, left, height, width = window
    return image[:, top : top + height, left : left + width].copy(), (-top % 2, -left % 2)


# ---- one chunk


@given(window=windows, seed=st.integers(0, 2**16), per_band=st.booleans())
@settings(max_examples=40)
def test_nodata_goes_out_exactly_where_it_came_in(image, mtf_model, window, seed, per_band):
    chunk, phase = cut(image, window)
    mask = holes(seed, chunk.shape, per_band=per_band)
    chunk[mask] = np.nan
    result = udf.superresolve_chunk(chunk, mtf_model, phase=phase)
    np.testing.assert_array_equal(np.isnan(result), mask.repeat(2, axis=1).repeat(2, axis=2))


@given(window=windows)
@settings(max_examples=20)
def test_nearest_neighbour_network_repeats_every_pixel(image, nearest_model, window):
    chunk, phase = cut(image, window)
    result = udf.superresolve_chunk(chunk, nearest_model, phase=phase)
    expected = chunk.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(result, expected)


@given(
    row=st.integers(0, 120),
    column=st.integers(0, 120),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**16),
    per_band=st.booleans(),
)
@settings(max_examples=40)
def test_a_pixel_depends_on_nothing_beyond_the_margin(
    image, mtf_model, row, column, height, width, seed, per_band
):
    """The core of a chunk is the same with the margin around it as with everything around it."""
    whole = image[:, :180, :180].copy()
    whole[holes(seed, whole.shape, per_band=per_band)] = np.nan
    margin = mtf_model.margin
    padded = np.pad(whole, ((0, 0), (margin, margin), (margin, margin)), constant_values=np.nan)
    height, width = min(height, 180 - row), min(width, 180 - column)
    chunk = padded[:, row : row + height + 2 * margin, column : column + width + 2 * margin]
    phase = ((margin - row) % 2, (margin - column) % 2)
    part = udf.superresolve_chunk(chunk, mtf_model, phase=phase, overlap=margin)
    expected = udf.superresolve_chunk(whole, mtf_model)
    expected = expected[:, 2 * row : 2 * (row + height), 2 * column : 2 * (column + width)]
    np.testing.assert_allclose(part, expected, rtol=2e-6, atol=0.01)


def test_empty_chunk_costs_no_inference(mtf_model):
    def run(_: np.ndarray) -> np.ndarray:
        raise AssertionError

    idle = Model(**{**vars(mtf_model), "run": run})
    result = udf.superresolve_chunk(np.full((10, 20, 30), np.nan, np.float32), idle)
    assert result.shape == (10, 40, 60)
    assert np.isnan(result).all()


def test_small_valid_box_does_not_pay_for_the_chunk(image, mtf_model):
    shapes = []

    def run(batch: np.ndarray) -> np.ndarray:
        shapes.append(batch.shape)
        return mtf_model.run(batch)

    chunk = np.full((10, 256, 256), np.nan, np.float32)
    chunk[:, 100:110, 200:220] = image[:, 100:110, 200:220]
    udf.superresolve_chunk(chunk, Model(**{**vars(mtf_model), "run": run}))
    ((_, _, height, width),) = shapes
    assert height <= 10 + 2 * mtf_model.margin
    assert width <= 20 + 2 * mtf_model.margin


HOLES = ((50, 60), (200, 120), (330, 50), (100, 300), (400, 200))


@pytest.mark.parametrize("size", [10, 40])
@pytest.mark.parametrize("name", list_models())
def test_next_to_a_hole_the_change_stays_within_twice_bicubics(image, name, size):
    """RMS of the change at the pixels that touch a hole; bicubic is filled with the nearest pixel.

    Over all bands; of a single one it may be a little more.
    """
    mask = np.zeros(image.shape[1:], bool)
    for row, column in HOLES:
        mask[row : row + size, column : column + size] = True
    holed = np.where(mask, np.float32(np.nan), image)
    coarse = nearest_fill(holed[4:, ::2, ::2])
    nearest = np.concatenate([nearest_fill(holed[:4]), coarse.repeat(2, axis=1).repeat(2, axis=2)])
    bicubic_change = bicubic(nearest) - bicubic(image)
    model = load_card(name).open(provider="cpu", threads=1)
    context = model.margin + 1 + (model.margin + 1) % 2
    ours, theirs = [], []
    for row, column in HOLES:
        rows, columns = (slice(n - context, n + size + context) for n in (row, column))
        after, before = (
            udf.superresolve_chunk(part[:, rows, columns], model, overlap=context - 1)
            for part in (holed, image)
        )
        # within a pixel of 10 m around the hole
        ring = np.ones((2 * size + 4, 2 * size + 4), bool)
        ring[2:-2, 2:-2] = False
        ours.append((after - before)[:, ring])
        rows, columns = (slice(2 * n - 2, 2 * (n + size) + 2) for n in (row, column))
        theirs.append(bicubic_change[:, rows, columns][:, ring])
    squares = [np.mean(np.concatenate(parts, axis=1) ** 2, axis=1) for parts in (ours, theirs)]
    our, their = np.sqrt(squares)
    assert np.sqrt(np.mean(our**2) / np.mean(their**2)) <= 2
    # B08, which is sharpened most, has no headroom
    assert (our / their).max() <= 2.1


def nearest_fill(image: np.ndarray, reach: int = 24) -> np.ndarray:
    """Each hole pixel takes the nearest valid one, by brute force within ``reach``."""
    filled = image.copy()
    for row, column in np.argwhere(np.isnan(image[0])):
        top, left = max(0, row - reach), max(0, column - reach)
        valid = np.argwhere(np.isfinite(image[0, top : row + reach, left : column + reach]))
        valid += (top, left)
        source = valid[((valid - (row, column)) ** 2).sum(axis=1).argmin()]
        filled[:, row, column] = image[:, source[0], source[1]]
    return filled


def test_wrong_output_shape_is_refused(image, mtf_model):
    broken = Model(**{**vars(mtf_model), "run": lambda batch: batch})
    with pytest.raises(SuperresError, match="expected scale 2"):
        udf.superresolve_chunk(image[:, :40, :40], broken)


# ---- nodata


@given(seed=st.integers(0, 2**16), density=st.floats(0.02, 0.98), shared=st.booleans())
@settings(max_examples=20)
def test_fill_weighs_valid_pixels_within_the_radius(seed, density, shared):
    rng = np.random.default_rng(seed)
    image, radius = rng.random((2, 13, 17), dtype=np.float32), 3
    image[:, rng.random(image.shape[1:]) < density] = np.nan
    if not shared:
        image[0, rng.random(image.shape[1:]) < density] = np.nan
    filled = udf.fill_nodata(image, radius, [-5.0, -7.0])
    for band, constant in enumerate((-5.0, -7.0)):
        valid = np.argwhere(np.isfinite(image[band]))
        for row, column in np.argwhere(np.isnan(image[band])):
            squared = ((valid - (row, column)) ** 2).sum(axis=1)
            near = squared <= radius**2
            expected = constant
            if near.any():
                expected = np.average(
                    image[band][tuple(valid[near].T)], weights=squared[near] ** (-udf.FILL_POWER / 2)
                )
            assert filled[band, row, column] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(filled[np.isfinite(image)], image[np.isfinite(image)])


def test_cell_means_use_the_valid_pixels_and_keep_equal_ones_exactly():
    cells = np.array([[[1, 3, np.nan, np.nan], [np.nan, 5, np.nan, np.nan]]], np.float32)
    np.testing.assert_array_equal(udf.cell_means(cells), [[[3, np.nan]]])
    equal = np.full((1, 2, 2), 1234.567, np.float32)
    np.testing.assert_array_equal(udf.cell_means(equal)[0, 0, 0], equal[0, 0, 0])


# ---- phase


@given(window=windows, seed=st.integers(0, 2**16))
@settings(max_examples=60)
def test_phase_comes_from_the_data(image, window, seed):
    chunk, phase = cut(image, window)
    assume(min(chunk.shape[1:]) >= 12)
    coarse = chunk[4:]
    assume(np.ptp(coarse[:, ::5, ::5]) > 500)
    coarse[:, holes(seed, coarse.shape, per_band=False)[0]] = np.nan
    assume(np.isfinite(coarse).mean() > 0.7)
    wrong = (1 - phase[0], 1 - phase[1])
    assert udf.replication_phase(coarse, default=wrong) == phase


@pytest.mark.parametrize("default", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_without_evidence_coordinates_decide(default):
    assert udf.replication_phase(np.full((6, 40, 40), 800, np.float32), default=default) == default
    assert udf.replication_phase(np.full((6, 40, 40), np.nan, np.float32), default=default) == default
    assert udf.replication_phase(np.full((6, 1, 1), 800, np.float32), default=default) == default


def test_evidence_against_counts_where_there_is_none_for():
    seam = np.array([[[1, 2], [1, 2]]], np.float32)
    assert udf.replication_phase(seam, default=(0, 1)) == (0, 1)


def test_a_flat_direction_leaves_that_axis_to_the_coordinates():
    stripes = np.arange(20, dtype=np.float32).repeat(2)[:, None].repeat(40, axis=1)[None]
    assert udf.replication_phase(stripes, default=(1, 1)) == (0, 1)


def test_blocks_that_differ_for_a_few_do_not_change_the_phase(image):
    coarse = image[4:, 101:201, 50:150].copy()
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(0, 100, (2, 300))
    coarse[:, rows, columns] += 7
    assert udf.replication_phase(coarse) == (1, 0)


def test_smoothly_resampled_bands_are_an_error_with_the_cure(sample):
    fine = np.stack([np.kron(band, np.ones((2, 2), np.float32)) for band in sample[1]])
    smooth = (fine + np.roll(fine, 1, axis=1) + np.roll(fine, 1, axis=2) + np.roll(fine, -1, axis=1)) / 4
    with pytest.raises(SuperresError, match="method 'near'"):
        udf.replication_phase(smooth)


@given(window=windows, factor=st.integers(2, 4), seed=st.integers(0, 2**16), density=st.floats(0, 0.02))
@settings(max_examples=60)
def test_strips_of_rows_decide_as_the_whole(image, window, factor, seed, density):
    """Whether they end early or not, and each block votes once."""
    rng = np.random.default_rng(seed)
    chunk = image[:4, 100:180, 200:280].repeat(factor, axis=1).repeat(factor, axis=2)
    chunk, _ = cut(chunk, (*(n % 7 for n in window[:2]), *window[2:]))
    chunk[:, : rng.integers(0, 40)] = rng.choice([np.nan, 800])
    altered = rng.random(chunk.shape[1:]) < density
    chunk[:, altered] += rng.choice([np.nan, 7])
    whole = udf.phase_votes(chunk, factor)
    with mock.patch.object(udf, "STRIP", 3):
        assert udf.replication_phase(chunk, factor) == udf.decide_phase(whole)
        with mock.patch.object(udf, "decide_phase") as decide, mock.patch.object(udf, "ENOUGH_BLOCKS", 1e9):
            udf.replication_phase(chunk, factor)
    np.testing.assert_array_equal(decide.call_args.args[0], whole)


def test_few_rows_are_asked_for_a_clear_phase(image):
    with mock.patch.object(udf, "phase_votes", wraps=udf.phase_votes) as votes:
        assert udf.replication_phase(image[4:, 1:], 2) == (1, 0)
    assert votes.call_count == 1


@pytest.mark.parametrize("phase", [(0, 0), (3, 1), (2, 2)])
def test_phase_of_other_factors(sample, phase):
    fine = sample[0].repeat(4, axis=1).repeat(4, axis=2)[:, 4 - phase[0] : 300, 4 - phase[1] : 300]
    expected = (phase[0] % 4, phase[1] % 4)
    assert udf.replication_phase(fine, 4) == expected


# ---- the User Defined Function


@pytest.fixture(scope="module")
def context(mtf_card: ModelCard) -> dict:
    return {
        "mode": "grid",
        "scale": mtf_card.scale,
        "bands": list(mtf_card.bands),
        "margin": mtf_card.margin,
        "sha256": mtf_card.sha256,
        "weights": udf.pack_weights(mtf_card.read_weights()),
    }


def on_fine_grid(image: np.ndarray) -> xr.DataArray:
    """What a back-end makes of the image with resample_spatial(5, "near"), on an even UTM origin."""
    fine = image.repeat(2, axis=1).repeat(2, axis=2)
    coords = {
        "bands": list(BAND_NAMES),
        "y": (5_400_000 - 2.5 - 5.0 * np.arange(fine.shape[1])).astype(np.float32),
        "x": (300_000 + 2.5 + 5.0 * np.arange(fine.shape[2])).astype(np.float32),
    }
    return xr.DataArray(fine, coords, ("bands", "y", "x"))


def execute(cube: xr.DataArray, context: dict) -> xr.DataArray:
    code = openeo.UDF(code=SOURCE, runtime="Python", context=context)
    return openeo.udf.execute_local_udf(code, cube).get_datacube_list()[0].get_array()


@given(top=st.integers(0, 9), left=st.integers(0, 9), height=st.integers(16, 90), width=st.integers(16, 90))
@settings(max_examples=25)
def test_grid_mode_keeps_the_shape_at_any_phase(image, mtf_model, context, top, left, height, width):
    """A chunk cut anywhere on the 5 m grid gives the same as its 10 m pixels."""
    fine = on_fine_grid(image[:, 200:260, 100:160])
    chunk = fine[:, top : top + height, left : left + width]
    result = execute(chunk, context)
    assert result.dims == chunk.dims
    assert result.dtype == np.float32
    xr.testing.assert_equal(result["x"], chunk["x"].astype(result["x"].dtype))
    rows, columns = slice(top // 2, -(-(top + height) // 2)), slice(left // 2, -(-(left + width) // 2))
    pixels = image[:, 200:260, 100:160][:, rows, columns]
    phase = (-rows.start % 2, -columns.start % 2)
    expected = udf.superresolve_chunk(pixels, mtf_model, phase=phase)
    expected = expected[:, top % 2 :, left % 2 :][:, : result.shape[1], : result.shape[2]]
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=0.01)


def test_upscale_mode_gives_twice_the_pixels_and_no_coordinates(cube, mtf_model, context):
    chunk = cube[:, 33:100, 10:90]
    result = execute(chunk, {**context, "mode": "upscale"})
    assert result.shape == (10, 134, 160)
    assert not {"x", "y"} & {*result.coords}
    assert result.dtype == np.float32
    expected = udf.superresolve_chunk(chunk.to_numpy(), mtf_model, phase=(1, 0))
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=0.01)


def test_dates_are_independent_and_keep_their_labels(image, context):
    first, second = (on_fine_grid(image[:, r : r + 40, 100:140]) for r in (100, 300))
    times = np.array(["2026-06-01", "2026-06-06"], "datetime64[ns]")
    both = xr.concat([first, second.assign_coords(y=first["y"])], dim=xr.DataArray(times, dims="t", name="t"))
    result = execute(both, context)
    assert result.dims == ("t", "bands", "y", "x")
    np.testing.assert_array_equal(result["t"], times)
    np.testing.assert_array_equal(result[0], execute(first, context))
    np.testing.assert_array_equal(result[1], execute(second, context))


def test_bands_go_by_name(image, context):
    chunk = on_fine_grid(image[:, 200:230, 100:130])
    expected = execute(chunk, context)
    order = np.random.default_rng(0).permutation(10)
    extra = chunk[:1].assign_coords(bands=["SCL"])
    shuffled = xr.concat([chunk.isel(bands=order), extra], dim="bands")
    result = execute(shuffled, context)
    assert list(result["bands"].to_numpy()) == [BAND_NAMES[i] for i in order]
    np.testing.assert_array_equal(result.sel(bands=list(BAND_NAMES)), expected)
    with pytest.raises(SuperresError, match=r"Add B8A when loading"):
        udf.select_bands(chunk.drop_sel(bands="B8A"), BAND_NAMES)


def test_offset_is_added_once(image, context):
    chunk = on_fine_grid(image[:, 200:230, 100:130])
    expected = execute(chunk, context)
    result = execute(chunk + 1000, {**context, "offset": -1000.0})
    np.testing.assert_allclose(result, expected, atol=0.01)


def test_reflectance_is_refused(image, context):
    chunk = on_fine_grid(image[:, 200:230, 100:130])
    with pytest.raises(SuperresError, match="Multiply by 10 000"):
        udf.superresolve_cube(chunk / 10_000, udf.Context.parse(context))
    # an offset does not hide it
    with pytest.raises(SuperresError, match="Multiply by 10 000"):
        udf.superresolve_cube(chunk / 10_000, udf.Context.parse({**context, "offset": -1000}))
    # a chunk of nodata and dark water, offset applied, is none
    udf.refuse_reflectance(np.array([np.nan, -3, 0], np.float32))
    udf.refuse_reflectance(np.full(5, np.nan, np.float32))


def test_overlap_in_the_context_leaves_the_core_as_it_was(image, context, mtf_card):
    chunk = on_fine_grid(image[:, 200:300, 100:200])[:, 1:, 1:]
    expected = execute(chunk, context).to_numpy()
    margin = mtf_card.margin
    result = execute(chunk, {**context, "overlap": margin}).to_numpy()
    core = (slice(None), slice(2 * margin, -2 * margin), slice(2 * margin, -2 * margin))
    np.testing.assert_allclose(result[core], expected[core], rtol=2e-6, atol=0.01)
    assert np.isnan(result[:, 0]).all()


def test_overlap_in_the_context_is_not_computed(image, context, mtf_card):
    """At either phase: what the network takes is the core and what its pixels depend on."""
    margin = mtf_card.margin
    whole = on_fine_grid(image[:, 200 : 302 + 2 * margin, 100 : 202 + 2 * margin])
    shapes = []
    original = udf.superresolve_chunk

    def spy(date: np.ndarray, model: Model, **options):
        def run(batch: np.ndarray) -> np.ndarray:
            shapes.append(batch.shape[2:])
            return model.run(batch)

        return original(date, Model(**{**vars(model), "run": run}), **options)

    settings_ = udf.Context.parse({**context, "overlap": margin})
    size = 2 * (100 + 2 * margin)
    with mock.patch.object(udf, "superresolve_chunk", spy):
        for top, left in ((0, 0), (1, 0), (1, 1)):
            chunk = whole[:, top : top + size, left : left + size]
            result = udf.superresolve_cube(chunk, settings_).to_numpy()
            inside = result[:, 2 * margin : -2 * margin, 2 * margin : -2 * margin]
            assert np.isfinite(inside).all()
    reach = margin - udf.FILL_RADIUS - udf.ALIGNMENT
    assert max(max(shape) for shape in shapes) <= 100 + 1 + 2 * reach + udf.ALIGNMENT


@pytest.mark.parametrize("mode", ["grid", "upscale"])
def test_chunk_of_another_size_than_asked_is_computed_whole(image, context, mtf_card, mode):
    """A back-end that hands over no overlap at the edges of the data gets no holes there."""
    size, overlap = 40, mtf_card.margin
    asked = {**context, "mode": mode, "overlap": overlap, "size": size}

    def prepare(part: np.ndarray) -> xr.DataArray:
        chunk = on_fine_grid(part)
        return chunk if mode == "grid" else chunk[:, ::2, ::2]

    whole = size + 2 * overlap
    padded = execute(prepare(image[:, :whole, :whole]), asked).to_numpy()
    assert np.isnan(padded[:, : 2 * overlap]).all()
    assert np.isfinite(padded[:, 2 * overlap : -2 * overlap, 2 * overlap : -2 * overlap]).all()
    cut = execute(prepare(image[:, overlap:whole, :whole]), asked).to_numpy()
    assert np.isfinite(cut).all()


@pytest.mark.parametrize(("mode", "finer"), [("grid", 1), ("upscale", 2)])
def test_what_arrives_is_not_changed(image, context, mode, finer):
    fine = on_fine_grid(image[:, 200:220, 100:120])
    chunk = fine[:, ::finer, ::finer].copy()
    before = chunk.copy()
    udf.superresolve_cube(chunk, udf.Context.parse({**context, "mode": mode, "offset": 100}))
    xr.testing.assert_identical(chunk, before)


@pytest.mark.parametrize(("mode", "finer"), [("grid", 1), ("upscale", 2)])
def test_chunk_of_nodata_needs_no_model(context, mode, finer):
    nowhere = {**context, "mode": mode, "weights": None, "model": "nowhere.onnx"}
    chunk = on_fine_grid(np.full((10, 20, 30), np.nan, np.float32))
    result = execute(chunk, nowhere)
    assert result.shape == (10, finer * 40, finer * 60)
    assert result.dtype == np.float32
    assert np.isnan(result).all()


@given(seed=st.integers(0, 2**16), per_band=st.booleans())
@settings(max_examples=20)
def test_holes_of_the_fine_grid_stay(image, context, seed, per_band):
    """Masked at 5 m: a hole that cuts a 10 m pixel takes no more than that pixel."""
    chunk = on_fine_grid(image[:, 200:240, 100:140])
    mask = holes(seed, chunk.shape, per_band=per_band)
    result = np.isnan(udf.superresolve_cube(chunk.where(~mask), udf.Context.parse(context)).to_numpy())
    assert result[mask].all()
    touched = mask.reshape(10, 40, 2, 40, 2).any(axis=(2, 4)).repeat(2, axis=1).repeat(2, axis=2)
    assert not result[~touched].any()


@pytest.mark.parametrize("mode", ["grid", "upscale"])
def test_smooth_20_m_bands_are_refused_on_a_back_end(image, context, mode):
    smooth = (image + np.roll(image, 1, axis=1) + np.roll(image, 1, axis=2)) / np.float32(3)
    chunk = np.concatenate([image[:4], smooth[4:]])[:, 200:260, 100:160]
    cube = on_fine_grid(chunk)
    if mode == "upscale":
        cube = cube[:, ::2, ::2]
    with pytest.raises(ValueError, match=r"replicated 2 x 2 .* method 'near'"):
        execute(cube, {**context, "mode": mode})


def test_memory_beside_the_chunk_is_its_result_and_little_more(image, context):
    """Array memory in multiples of the chunk: the result, the network's output, the rest on the 10 m grid."""
    chunk = on_fine_grid(image)
    settings_ = udf.Context.parse(context)
    udf.superresolve_cube(chunk[:, :40, :40], settings_)
    tracemalloc.start()
    try:
        udf.superresolve_cube(chunk, settings_)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / chunk.nbytes < 3.5


def test_too_little_memory_names_the_job_option(image, context, mtf_card, monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 7.59 MiB")

    chunk = on_fine_grid(image[:, :20, :20])
    model = mtf_card.open(provider="cpu", threads=1)
    with mock.patch.object(udf, "fill_nodata", fail), pytest.raises(SuperresError, match="python-memory"):
        udf.apply_datacube(chunk, context)
    onnxruntime = importlib.import_module("onnxruntime")
    said = RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer")
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", mock.Mock(side_effect=said))
    with pytest.raises(SuperresError, match=r"requested buffer.*python-memory"):
        model.run(np.zeros((1, 10, 20, 20), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown keys .'colour'."),
        ({"mode": "both"}, "'grid' or 'upscale'"),
        ({"weights": None}, "either 'model'"),
        ({"model": "here.onnx"}, "either 'model'"),
        ({"margin": 99}, "says margin 99, the model cubic_mtf has 26"),
        ({"scale": 4}, "says scale 4"),
        ({"overlap": 500}, "none inside an overlap of 500"),
        ({"size": 0.5}, "size 0.5; expected a whole number from 0 on"),
        ({"overlap": -1}, "overlap -1; expected a whole number from 0 on"),
        ({"threads": "4"}, "threads '4'; expected a whole number from 1 on"),
        ({"bands": None}, "bands None; expected a list of names"),
        ({"offset": "-1000"}, "offset '-1000'; expected a number"),
        ({"offset": float("nan")}, "offset nan; expected a number"),
        ({"weights": 5}, "can't be unpacked"),
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"weights": "!"}, "can't be unpacked"),
        ({"provider": "tpu"}, "Unknown provider"),
        ({"weights": None, "model": "nowhere.onnx"}, "udf-dependency-archives"),
    ],
)
def test_wrong_context_says_both_sides(image, context, monkeypatch, change, message):
    monkeypatch.setitem(sys.modules, udf.CACHE, types.ModuleType(udf.CACHE))
    chunk = on_fine_grid(image[:, :20, :20])
    with pytest.raises(ValueError, match=message):
        execute(chunk, {**context, **change})


def test_missing_context_key_is_named(context):
    del (short := dict(context))["sha256"]
    with pytest.raises(SuperresError, match=r"lacks \['sha256'\]"):
        udf.Context.parse(short)


def test_whole_numbers_may_come_as_floats(context):
    numbers = {"margin": float(context["margin"]), "overlap": 26.0, "threads": 1.0}
    assert udf.Context.parse({**context, **numbers}) == udf.Context.parse({**context, "overlap": 26})


@given(top=st.integers(0, 3), left=st.integers(0, 3), northward=st.booleans())
@settings(max_examples=16)
def test_where_pixels_do_not_tell_the_phase_coordinates_do(mtf_model, context, top, left, northward):
    """Flat ground with a hole that starts on a cell: only the right cells are all valid or all nodata."""
    fine = on_fine_grid(np.full((10, 60, 60), 900, np.float32))
    fine[:, 40:48, 48:52] = np.nan
    if northward:
        fine = fine[:, ::-1].assign_coords(y=fine["y"].to_numpy()[::-1] - 5_400_000)
    chunk = fine[:, top : top + 88, left : left + 84]
    result = execute(chunk, context)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(chunk))
    rows, columns = slice(top // 2, -(-(top + 88) // 2)), slice(left // 2, -(-(left + 84) // 2))
    pixels = fine.to_numpy()[:, ::2, ::2][:, rows, columns]
    expected = udf.superresolve_chunk(pixels, mtf_model, phase=(-rows.start % 2, -columns.start % 2))
    expected = expected[:, top % 2 :, left % 2 :][:, :88, :84]
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=0.01)


def test_few_blocks_do_not_refuse_a_cube(sample):
    """Three complete blocks that differ inside are no proof of smooth resampling."""
    few = sample[0][:, :3, :5]
    assert udf.replication_phase(few, default=(1, 0)) == (1, 0)


def test_infinite_numbers_vote_for_nothing(sample):
    smooth = sample[0][:, :60, :60].copy()
    smooth[:, :20] = np.inf
    with pytest.raises(SuperresError, match="method 'near'"):
        udf.replication_phase(smooth)


def test_threads_of_a_process_share_one_session(context, monkeypatch):
    opened = []
    monkeypatch.setitem(sys.modules, udf.CACHE, types.ModuleType(udf.CACHE))
    monkeypatch.setattr(udf, "_open", lambda *_: (time.sleep(0.05), opened.append(1)))
    content = udf.unpack_weights(context["weights"])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: udf.load_model(content, context["sha256"]), range(8)))
    assert len(opened) == 1


def test_metadata_is_finer_in_upscale_mode_only(context):
    dimensions = [SpatialDimension("x", [0, 100], step=10), SpatialDimension("y", [0, 100], step=10)]
    metadata = CubeMetadata(dimensions)
    assert udf.apply_metadata(metadata, context) is metadata
    fine = udf.apply_metadata(metadata, {**context, "mode": "upscale"})
    assert [d.step for d in fine.spatial_dimensions] == [5, 5]
    unknown = CubeMetadata([SpatialDimension("x", [0, 100]), SpatialDimension("y", [0, 100])])
    fine = udf.apply_metadata(unknown, {**context, "mode": "upscale"})
    assert [d.step for d in fine.spatial_dimensions] == [5, 5]


@given(content=st.binary(max_size=400))
def test_packed_weights_come_back(content):
    assert udf.unpack_weights(udf.pack_weights(content)) == content


# ---- what a back-end needs of the file


def test_the_file_stands_alone():
    tree = ast.parse(SOURCE)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    roots = {
        alias.name.split(".")[0] for node in imports if isinstance(node, ast.Import) for alias in node.names
    }
    modules = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    roots |= {(node.module or "").split(".")[0] for node in modules}
    assert all(node.level == 0 for node in modules)
    assert "__future__" not in roots
    assert roots <= {*sys.stdlib_module_names, "numpy", "xarray", "openeo"}
    assert "\ndef apply_metadata(" in SOURCE
    assert "\ndef apply_datacube(" in SOURCE


def test_onnxruntime_is_imported_only_when_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    exec(compile(SOURCE, "udf", "exec"), {})


def test_weights_are_unpacked_once(image, context, monkeypatch):
    monkeypatch.setitem(sys.modules, udf.CACHE, types.ModuleType(udf.CACHE))
    chunk = on_fine_grid(image[:, :20, :20])
    with mock.patch.object(udf, "unpack_weights", wraps=udf.unpack_weights) as unpack:
        for _ in range(3):
            udf.apply_datacube(chunk, dict(context))
        with pytest.raises(SuperresError, match="SHA-256"):
            udf.apply_datacube(chunk, {**context, "sha256": "0" * 64})
    assert unpack.call_count == 2


def test_both_runtimes_open_the_model_once(image, context, monkeypatch):
    """Jep executes the code anew for each chunk; the session outlives that."""
    sessions = []
    onnxruntime = importlib.import_module("onnxruntime")
    original = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *args, **kwargs: sessions.append(1) or original(*args, **kwargs),
    )
    monkeypatch.setitem(sys.modules, udf.CACHE, types.ModuleType(udf.CACHE))
    chunk = on_fine_grid(image[:, :20, :20])
    for _ in range(3):
        module: dict = {}
        exec(compile(SOURCE, "udf", "exec"), module)
        module["apply_datacube"](chunk, context)
    assert len(sessions) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime"), "onnxruntime is missing"),
        # 1.16 to 1.18 under numpy 2, and built for another Python
        (AttributeError("_ARRAY_API not found"), "onnxruntime 1.19 or later"),
        (ImportError(""), "onnxruntime 1.19 or later"),
        (
            ModuleNotFoundError("No module", name="onnxruntime.capi.state"),
            r"must fit Python 3\.\d+ and numpy",
        ),
    ],
)
def test_onnxruntime_trouble_names_cause_and_cure(monkeypatch, error, message):
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    for _ in range(2):
        with pytest.raises(SuperresError, match=f"{message}.*udf-dependency-archives"):
            udf._import_onnxruntime()


@pytest.mark.parametrize(
    ("version", "numpy", "fits"),
    [
        ("1.16.3", "1.26.4", True),
        ("1.18.1", "2.3.5", False),
        ("1.19.2", "2.3.5", True),
        ("2.0.0", "3.0", True),
    ],
)
def test_onnxruntime_older_than_numpy_2_is_refused_before_it_runs(monkeypatch, version, numpy, fits):
    """1.16 can be imported under numpy 2; its first run is a segmentation fault."""
    found = types.SimpleNamespace(__version__=version)
    monkeypatch.setattr(importlib, "import_module", lambda _: found)
    monkeypatch.setattr(np, "__version__", numpy)
    if fits:
        assert udf._import_onnxruntime() is found
    else:
        with pytest.raises(SuperresError, match=r"1\.18\.1 is too old.*udf-dependency-archives"):
            udf._import_onnxruntime()


def test_cuda_falls_back_with_a_message():
    with pytest.warns(UserWarning, match="running on the CPU"):
        assert udf._providers("cuda", ["CPUExecutionProvider"]) == ["CPUExecutionProvider"]
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert udf._providers("cuda", both) == both
        assert udf._providers("auto", both) == both
        assert udf._providers("cpu", both) == ["CPUExecutionProvider"]


def run_as_back_end(code: str, cube: xr.DataArray, context: dict) -> xr.DataArray:
    data = UdfData(datacube_list=[openeo.udf.XarrayDataCube(cube)], user_context=context)
    return run_udf_code(code, data).get_datacube_list()[0].get_array()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_dispatch_finds_apply_datacube_as_the_back_end_does(image, context, dtype):
    cube = on_fine_grid(image[:, :20, :20]).astype(dtype)
    result = run_as_back_end(SOURCE, cube, context)
    assert result.shape == (10, 40, 40)
    assert result.dtype == np.float32


@pytest.mark.parametrize("wrap", [openeo.udf.XarrayDataCube, lambda cube: cube])
def test_either_kind_of_cube_is_taken(image, context, wrap):
    """ "Python-Jep" calls the function of the executed file, without the dispatch."""
    module: dict = {}
    exec(compile(SOURCE, "udf", "exec"), module)
    cube = on_fine_grid(image[:, :20, :20])
    result = module["apply_datacube"](wrap(cube), context)
    np.testing.assert_array_equal(result.get_array(), run_as_back_end(SOURCE, cube, context))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import base64", "from __future__ import annotations\nimport base64"),
        ("apply_datacube(cube: XarrayDataCube,", "apply_datacube(data: XarrayDataCube,"),
        (", context: dict) -> XarrayDataCube", ", settings: dict) -> XarrayDataCube"),
        ("context: dict) -> XarrayDataCube:", "context: dict):"),
    ],
)
def test_what_the_dispatch_does_not_find(image, context, old, new):
    """Why the file is as it is: any of these, and back-ends say that there is no UDF."""
    assert SOURCE.count(old) == 1
    with pytest.raises(openeo.udf.OpenEoUdfException, match="No UDF found"):
        run_as_back_end(SOURCE.replace(old, new), on_fine_grid(image[:, :20, :20]), context)


def test_nothing_but_apply_datacube_is_a_udf():
    """The dispatch takes the first function that looks like one."""
    module: dict = {}
    exec(compile(SOURCE, "udf", "exec"), module)
    names = {"apply_timeseries", "apply_hypercube", "apply_datacube", "apply_vectorcube"}
    assert names & module.keys() == {"apply_datacube"}
    for function in filter(inspect.isfunction, module.values()):
        annotations = [p.annotation for p in inspect.signature(function).parameters.values()]
        assert UdfData not in annotations


def test_coarse_bands_agree_with_the_sensor():
    assert {band.name for band in BANDS if band.resolution == 20} == udf.COARSE_BANDS
