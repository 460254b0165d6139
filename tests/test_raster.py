import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import write_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_validate

from openeo_superres import cog, raster, stream
from openeo_superres.card import ModelCard
from openeo_superres.cog import ENCODINGS
from openeo_superres.errors import OutputError, SceneError, SuperresError
from openeo_superres.raster import bicubic_model, superresolve_scene
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BAND_NAMES, BANDS
from openeo_superres.space import output_bytes
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS, Model, superresolve_chunk

SAMPLE = Path(__file__).parents[1] / "examples/data"
CRS = "EPSG:32618"
WEST, NORTH = 435740.0, 4165120.0
WINDOW = (61, 102, 75, 58)
"""Odd column, even row, of the sample; a part with land and water."""
RADIUS = 3


def blur(images):
    """A network that looks RADIUS pixels far, to the left and up more than elsewhere."""
    padded = np.pad(images, ((0, 0), (0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS)), mode="edge")
    height, width = images.shape[2:]
    result = np.zeros_like(images)
    for y in range(2 * RADIUS + 1):
        for x in range(2 * RADIUS + 1):
            weight = np.float32(1 / (1 + y + 2 * x))
            result += weight * padded[:, :, y : y + height, x : x + width]
    return result.repeat(2, axis=2).repeat(2, axis=3)


BLUR = Model("blur", 2, RADIUS + FILL_RADIUS + ALIGNMENT, BAND_NAMES, (1000.0,) * 10, blur)


class BlurCard(ModelCard):
    def open(self, provider="auto", threads=None):  # noqa: ARG002
        return BLUR


@pytest.fixture(scope="session")
def blur_card():
    return BlurCard("blur", Path("blur.onnx"), "0" * 64, 2, BLUR.margin, BAND_NAMES, 0, {})


def write_stack(path, image, *, phase=(0, 0), nodata=None):
    """Ten named bands on a grid whose 20 m cells start at ``phase``."""
    transform = Affine(10, 0, WEST + 10 * phase[1], 0, -10, NORTH - 10 * phase[0])
    _, height, width = image.shape
    profile = {"count": 10, "height": height, "width": width, "dtype": image.dtype, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", crs=CRS, transform=transform, **profile) as file:
        file.write(image)
        file.descriptions = BAND_NAMES
    return path


def crop(image, window):
    col, row, width, height = window
    return image[:, row : row + height, col : col + width]


def read(path):
    with rasterio.open(path, driver="GTiff") as dataset:
        return dataset.read()


def dn(path):
    """The result as another reader sees it: masked by nodata, scaled to reflectance, times 10 000."""
    with rasterio.open(path, driver="GTiff") as dataset:
        stored = dataset.read(masked=True).astype(np.float64)
        scales, offsets = (np.array(v)[:, None, None] for v in (dataset.scales, dataset.offsets))
        return ((stored * scales + offsets) * 1e4).filled(np.nan)


def nothing_but(folder, *names):
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


# ---- pixels


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_tiled_equals_whole(tmp_path, image, blur_card, data):
    size = data.draw(st.integers(7, 90), "size")
    phase = data.draw(st.tuples(st.integers(0, 1), st.integers(0, 1)), "phase")
    part = crop(image, WINDOW)[:, phase[0] % 2 :, (phase[1] + WINDOW[0]) % 2 :].astype(np.float32)
    seed = data.draw(st.integers(0, 99), "holes")
    rng = np.random.default_rng(seed)
    for _ in range(seed % 4):
        row, col = rng.integers(0, part.shape[1]), rng.integers(0, part.shape[2])
        part[rng.integers(0, 10) :, row : row + rng.integers(1, 30), col : col + rng.integers(1, 30)] = np.nan
    source = write_stack(tmp_path / "scene.tif", part, phase=phase, nodata=np.nan)
    scene = open_scene(source)
    assert scene.phase == phase
    height, width = part.shape[1:]
    col, row = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    window = (col, row, data.draw(st.integers(1, width - col)), data.draw(st.integers(1, height - row)))
    result = superresolve_scene(
        source, tmp_path / "o.tif", blur_card, window=window, size=size, dtype="float32", overwrite=True
    )
    whole = superresolve_chunk(part, BLUR, phase=phase)
    expected = crop(whole, tuple(2 * n for n in window))
    np.testing.assert_array_equal(read(result), expected)


def test_a_real_model_tiled_equals_whole(tmp_path, image, mtf_card, mtf_model):
    part = crop(image, WINDOW)
    whole = superresolve_chunk(part, mtf_model, phase=(0, 1))
    source = write_stack(tmp_path / "scene.tif", part.astype(np.uint16), phase=(0, 1))
    result = read(
        superresolve_scene(source, tmp_path / "o.tif", mtf_card, size=30, dtype="float32", provider="cpu")
    )
    assert np.all(np.abs(result - whole) <= np.maximum(0.01, 2e-6 * np.abs(whole)))


def test_wide_scenes_are_read_in_parts(tmp_path, image, blur_card, monkeypatch):
    whole = read(superresolve_scene(SAMPLE, tmp_path / "a.tif", blur_card, window=WINDOW))
    monkeypatch.setattr(stream, "STRIP", 40)
    parts = read(superresolve_scene(SAMPLE, tmp_path / "b.tif", blur_card, window=WINDOW, size=13))
    np.testing.assert_array_equal(parts, whole)
    assert image.shape[2] > WINDOW[2] > 40


@pytest.mark.parametrize("dtype", ENCODINGS)
def test_pixels_survive_every_encoding(tmp_path, image, nearest_card, dtype):
    part = crop(image, (60, 102, 76, 58)).copy()
    part[2, 8:10, 10:14] = np.nan
    part[6, 20:24, 30:32] = np.nan
    source = write_stack(tmp_path / "scene.tif", part, nodata=np.nan)
    result = superresolve_scene(source, tmp_path / "o.tif", nearest_card, dtype=dtype)
    expected = part.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(dn(result), expected, atol=1e-6)
    with rasterio.open(result, driver="GTiff") as dataset:
        assert set(dataset.dtypes) == {dtype}
    # and our own reader understands what we write
    again = open_scene(write_stack(tmp_path / "scene2.tif", read(result)[:, ::2, ::2]))
    assert again.width == part.shape[2]


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("int16", [-32768, -32767, -1000, -1, 0, 0, 2, 2, 32767, 32767]),
        ("uint16", [0, 1, 1, 999, 1000, 1000, 1002, 1002, 33768, 65535]),
    ],
)
def test_encoding_rounds_then_clips(dtype, stored):
    values = np.array([np.nan, -40000, -1000, -0.6, -0.4, 0.5, 1.5, 2.4, 32768, 1e9], np.float32)
    encoded = ENCODINGS[dtype].encode(values)
    assert encoded.dtype == dtype
    assert encoded.tolist() == stored


def test_saturated_pixels_stay_valid(tmp_path, image, nearest_card):
    part = crop(image, (60, 102, 40, 40)).astype(np.uint16)
    part[:4] = 65535
    source = write_stack(tmp_path / "scene.tif", part)
    for dtype, highest in (("int16", 32767), ("uint16", 64535), ("float32", 65535)):
        result = dn(superresolve_scene(source, tmp_path / f"{dtype}.tif", nearest_card, dtype=dtype))
        np.testing.assert_allclose(result[:4], highest)


def test_bicubic_beside(tmp_path, image, nearest_card):
    part = crop(image, WINDOW)
    superresolve_scene(
        SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW, compare="bicubic", dtype="float32", size=33
    )
    nothing_but(tmp_path, "o.tif", "o_bicubic.tif")
    np.testing.assert_array_equal(read(tmp_path / "o.tif"), part.repeat(2, axis=1).repeat(2, axis=2))
    # context beyond the window is the scene's: the whole, cut out
    whole = superresolve_chunk(image[:, 50:220, 20:200], bicubic_model())
    expected = crop(whole, (2 * (WINDOW[0] - 20), 2 * (WINDOW[1] - 50), 2 * WINDOW[2], 2 * WINDOW[3]))
    bicubic = read(tmp_path / "o_bicubic.tif")
    np.testing.assert_allclose(bicubic, expected, atol=0.01)
    assert np.abs(bicubic - read(tmp_path / "o.tif")).max() > 50


def test_a_model_of_another_scale_beside_bicubic(tmp_path, monkeypatch):
    """What is told to others: the space that both take, the threads that were asked for."""
    told = []
    for name in ("check_space", "stream"):
        original = getattr(raster, name)

        def watched(*given, original=original, **options):
            told.append(options)
            return original(*given, **options)

        monkeypatch.setattr(raster, name, watched)
    card = write_model(tmp_path, scale=4, name="four")
    superresolve_scene(SAMPLE, tmp_path / "o.tif", card, window=WINDOW, compare="bicubic", threads=1)
    ours, bicubic = read(tmp_path / "o.tif"), read(tmp_path / "o_bicubic.tif")
    assert ours.shape == bicubic.shape == (10, 232, 300)
    assert np.corrcoef(ours.ravel(), bicubic.ravel())[0, 1] > 0.9
    assert (told[0]["scale"], told[0]["files"], told[1]["threads"]) == (4, 2, 1)


def test_an_empty_scene_is_nodata(tmp_path, nearest_card):
    source = write_stack(tmp_path / "scene.tif", np.zeros((10, 30, 40), np.uint16))
    result = superresolve_scene(source, tmp_path / "o.tif", nearest_card)
    assert np.all(read(result) == -32768)


# ---- the file


def test_the_file_says_what_it_is(tmp_path, nearest_card):
    result = superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=(0, 0, 300, 290))
    valid, errors, remarks = cog_validate(result, strict=True)
    assert (valid, errors, remarks) == (True, [], [])
    nothing_but(tmp_path, "o.tif")
    with rasterio.open(result, driver="GTiff") as dataset:
        assert dataset.crs.to_epsg() == 32618
        assert dataset.res == (5, 5)
        assert dataset.descriptions == BAND_NAMES
        assert set(dataset.scales) == {1e-4}
        assert set(dataset.offsets) == {0}
        assert dataset.nodata == -32768
        assert dataset.overviews(1) == [2]
        assert dataset.colorinterp[:4] == (
            ColorInterp.blue,
            ColorInterp.green,
            ColorInterp.red,
            ColorInterp.undefined,
        )
        tags = dataset.tags()
        assert (tags["MODEL"], tags["MODEL_SHA256"]) == (nearest_card.name, nearest_card.sha256)
        assert tags["PROCESSING_SOFTWARE"] == tags["TIFFTAG_SOFTWARE"]
        assert tags["PROCESSING_SOFTWARE"].startswith("openeo-superres ")
        for index in (1, 10):
            pixels, statistics = dataset.read(index), dataset.tags(index)
            assert float(statistics["STATISTICS_MINIMUM"]) == pixels.min()
            assert float(statistics["STATISTICS_MAXIMUM"]) == pixels.max()
            assert float(statistics["STATISTICS_MEAN"]) == pytest.approx(pixels.mean())
            assert float(statistics["STATISTICS_STDDEV"]) == pytest.approx(pixels.std())


def test_overviews_go_down_to_a_block(tmp_path, nearest_card, monkeypatch):
    monkeypatch.setattr(cog, "BLOCK", 128)
    result = superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=(0, 0, 300, 30))
    with rasterio.open(result, driver="GTiff") as dataset:
        assert [dataset.overviews(index) for index in dataset.indexes] == [[2, 4, 8]] * 10


@pytest.mark.parametrize("window", [None, WINDOW, (511, 511, 1, 1), (3, 0, 2, 511)])
def test_outer_bounds_are_those_of_the_window(tmp_path, nearest_card, window):
    result = superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=window)
    col, row, width, height = window or (0, 0, 512, 512)
    with rasterio.open(result, driver="GTiff") as dataset:
        assert (dataset.width, dataset.height) == (2 * width, 2 * height)
        west, north = WEST + 10 * col, NORTH - 10 * row
        assert tuple(dataset.bounds) == (west, north - 10 * height, west + 10 * width, north)


@pytest.mark.parametrize(("dtype", "tags"), [("uint16", (0, 1e-4, -0.1)), ("float32", (np.nan, 1e-4, 0))])
def test_tags_of_other_types(tmp_path, nearest_card, dtype, tags):
    result = superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW, dtype=dtype)
    with rasterio.open(result, driver="GTiff") as dataset:
        np.testing.assert_equal((dataset.nodata, dataset.scales[9], dataset.offsets[9]), tags)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == ("3" if dtype == "float32" else "2")


def test_deflate_where_there_is_no_zstd(tmp_path, nearest_card, monkeypatch):
    monkeypatch.setattr(cog, "compression", lambda: "DEFLATE")
    result = superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW)
    with rasterio.open(result, driver="GTiff") as dataset:
        assert dataset.compression.value == "DEFLATE"


def test_twice_gives_the_same_bytes(tmp_path, nearest_card):
    digests = set()
    for threads in (1, None):
        result = superresolve_scene(
            SAMPLE, tmp_path / "o.tif", nearest_card, window=(0, 0, 300, 300), threads=threads, overwrite=True
        )
        digests.add(hashlib.sha256(result.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_folder_gets_a_name(tmp_path, nearest_card):
    source = SAMPLE / "virginia_10m.tif"
    result = superresolve_scene(source, tmp_path, nearest_card, window=WINDOW)
    assert result == tmp_path / "virginia_10m_SR5M_nearest.tif"
    nothing_but(tmp_path, result.name)


def test_progress_ends_at_the_whole(tmp_path, nearest_card):
    calls = []
    superresolve_scene(
        SAMPLE,
        tmp_path / "o.tif",
        nearest_card,
        window=WINDOW,
        size=40,
        progress=lambda *call: calls.append(call),
    )
    total = WINDOW[2] * WINDOW[3]
    assert calls == sorted(calls)
    assert len(calls) == 4
    assert calls[-1] == (total, total)


def test_output_bytes_of_a_tile():
    assert output_bytes(10980, 10980) == 21960 * 21960 * 10 * 2
    assert output_bytes(100, 50, dtype="float32", bands=4) == 200 * 100 * 4 * 4


# ---- where


def test_a_box_is_widened_to_whole_pixels(tmp_path, nearest_card):
    bbox = (WEST + 101, NORTH - 259, WEST + 250, NORTH - 30)
    result = superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, bbox=bbox)
    with rasterio.open(result, driver="GTiff") as dataset:
        assert tuple(dataset.bounds) == (WEST + 100, NORTH - 260, WEST + 250, NORTH - 30)


def test_a_box_in_degrees(tmp_path, nearest_card):
    wanted = (WEST + 100, NORTH - 260, WEST + 250, NORTH - 30)
    bbox = transform_bounds(CRS, "EPSG:4326", *wanted)
    result = superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, bbox=bbox, crs="EPSG:4326")
    with rasterio.open(result, driver="GTiff") as dataset:
        bounds = np.array(dataset.bounds)
    # a box of meridians and parallels is a little larger than the one in UTM
    assert np.all((bounds - wanted) * [-1, -1, 1, 1] >= 0)
    assert np.abs(bounds - wanted).max() <= 20


def test_a_box_is_cut_to_the_scene(tmp_path, nearest_card):
    bbox = (WEST - 1000, NORTH - 40, WEST + 60, NORTH + 1000)
    result = superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, bbox=bbox)
    with rasterio.open(result, driver="GTiff") as dataset:
        assert tuple(dataset.bounds) == (WEST, NORTH - 40, WEST + 60, NORTH)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": (500, 0, 13, 5)}, "512 x 512 pixels"),
        ({"window": (-1, 0, 5, 5)}, "512 x 512 pixels"),
        ({"window": (0, 0, 0, 5)}, "empty"),
        ({"bbox": (0, 0, 10, 10)}, r"outside of the scene.*435740\.0"),
        ({"bbox": (WEST + 20, NORTH - 20, WEST + 10, NORTH)}, "west < east"),
        ({"bbox": (WEST, NORTH - 20, float("nan"), NORTH)}, "west < east"),
        ({"bbox": (1, 2, 3, 4), "crs": "EPSG:4326"}, "outside"),
        ({"bbox": (1, 2, 3, 4), "crs": "EPSG:0"}, "EPSG:0"),
        ({"bbox": (1, 2, 3, 4), "crs": 'LOCAL_CS["x"]'}, "LOCAL_CS"),
        ({"bbox": (1, 2, 3, 4), "window": WINDOW}, "expected one of them"),
        ({"crs": "EPSG:4326"}, "without a bounding box"),
    ],
)
def test_windows_that_are_not_there(tmp_path, nearest_card, options, said):
    with pytest.raises(SceneError, match=said):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, **options)
    nothing_but(tmp_path)


@pytest.mark.parametrize(
    "options", [{"dtype": "int8"}, {"compare": "nearest"}, {"size": 0}, {"threads": 0}, {"threads": -1}]
)
def test_unknown_options(tmp_path, nearest_card, options):
    with pytest.raises(SuperresError, match="expected dtype int16"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, **options)


def test_a_scene_that_was_opened_with_too_few_bands(tmp_path, nearest_card):
    scene = open_scene(SAMPLE, BAND_NAMES[:9])
    with pytest.raises(SceneError, match=f"without {BAND_NAMES[9]}; model nearest needs"):
        superresolve_scene(scene, tmp_path / "o.tif", nearest_card)
    nothing_but(tmp_path)


# ---- whole or not at all


def test_an_existing_file_stays(tmp_path, nearest_card):
    target = tmp_path / "o.tif"
    target.write_text("mine")
    with pytest.raises(OutputError, match=r"o\.tif exists"):
        superresolve_scene(SAMPLE, target, nearest_card, window=WINDOW)
    assert target.read_text() == "mine"
    superresolve_scene(SAMPLE, target, nearest_card, window=WINDOW, overwrite=True)
    assert read(target).shape == (10, 2 * WINDOW[3], 2 * WINDOW[2])
    nothing_but(tmp_path, "o.tif")


@pytest.mark.parametrize("name", ["o.tif", "o.json"])
def test_a_file_that_appears_in_the_meantime_stays(tmp_path, nearest_card, name):
    """Of another run, which was faster."""
    with pytest.raises(OutputError, match=f"{name} exists"):
        superresolve_scene(
            SAMPLE,
            tmp_path / "o.tif",
            nearest_card,
            window=WINDOW,
            sidecars=True,
            progress=lambda *_: (tmp_path / name).write_text("theirs"),
        )
    nothing_but(tmp_path, name)
    assert (tmp_path / name).read_text() == "theirs"


def test_a_link_is_replaced_not_followed(tmp_path, nearest_card):
    """The result is whole where its name is, on that disk; what the link led to stays."""
    (tmp_path / "mine.tif").write_text("mine")
    for name, target in (("a.tif", "mine.tif"), ("b.tif", "none.tif")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(OutputError, match=f"{name} exists"):
            superresolve_scene(SAMPLE, tmp_path / name, nearest_card, window=WINDOW)
        superresolve_scene(SAMPLE, tmp_path / name, nearest_card, window=WINDOW, overwrite=True)
        assert not (tmp_path / name).is_symlink()
    nothing_but(tmp_path, "a.tif", "b.tif", "mine.tif")
    assert (tmp_path / "mine.tif").read_text() == "mine"


def test_an_existing_comparison_stays(tmp_path, nearest_card):
    (tmp_path / "o_bicubic.tif").write_text("mine")
    with pytest.raises(OutputError, match=r"o_bicubic\.tif exists"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW, compare="bicubic")
    nothing_but(tmp_path, "o_bicubic.tif")


def test_the_source_is_never_overwritten(tmp_path, image, nearest_card):
    source = write_stack(tmp_path / "scene.tif", crop(image, WINDOW))
    before = source.read_bytes()
    with pytest.raises(OutputError, match="would be read"):
        superresolve_scene(source, source, nearest_card, overwrite=True)
    assert source.read_bytes() == before


def test_the_model_s_card_is_never_overwritten(tmp_path):
    card = write_model(tmp_path)
    before = (tmp_path / "nearest.json").read_bytes()
    with pytest.raises(OutputError, match=r"nearest\.json is what would be read"):
        superresolve_scene(SAMPLE, tmp_path / "nearest.tif", card, sidecars=True, overwrite=True)
    assert (tmp_path / "nearest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing/o.tif", "does not exist"), ("o.png", "ends in .tif"), ("file/o.tif", "does not exist")],
)
def test_places_that_can_not_be_written(tmp_path, nearest_card, name, said):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=said):
        superresolve_scene(SAMPLE, tmp_path / name, nearest_card)
    nothing_but(tmp_path, "file")


def test_no_permission(tmp_path, nearest_card, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    # root may write anywhere, so the system's refusal is played
    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card)
    nothing_but(tmp_path)


def test_a_folder_in_the_way_is_found_before_the_work(tmp_path, nearest_card):
    (tmp_path / "o_bicubic.tif").mkdir()
    with pytest.raises(OutputError, match=r"o_bicubic\.tif is a folder"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, compare="bicubic", overwrite=True)
    nothing_but(tmp_path, "o_bicubic.tif")


def test_a_result_that_can_not_be_finished_leaves_none_of_its_kind(tmp_path, nearest_card, monkeypatch):
    """Two files are made; what fails with the second one keeps back the first."""
    validate, calls = cog.CogWriter._validate, []

    def second_fails(writer):
        calls.append(writer)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        validate(writer)

    monkeypatch.setattr(cog.CogWriter, "_validate", second_fails)
    with pytest.raises(OutputError, match="No space left"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW, compare="bicubic")
    nothing_but(tmp_path)


def test_a_result_of_another_place_is_refused(tmp_path, nearest_card, monkeypatch):
    copy = rasterio.shutil.copy

    def shifted(tiles, part, **options):
        with rasterio.open(tiles, "r+", driver="GTiff") as dataset:
            dataset.transform = dataset.transform @ Affine.translation(1, 0)
        copy(tiles, part, **options)

    monkeypatch.setattr("rasterio.shutil.copy", shifted)
    with pytest.raises(OutputError, match="has transform"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW)
    nothing_but(tmp_path)


def test_the_last_chunk_fails_as_the_others(tmp_path, nearest_card, monkeypatch):
    """It is written behind the last inference."""
    write, calls = cog.CogWriter.write, []

    def fail(writer, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise OutputError("the last one")
        write(writer, *arguments)

    monkeypatch.setattr(cog.CogWriter, "write", fail)
    with pytest.raises(OutputError, match="the last one"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW, size=40)
    nothing_but(tmp_path)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("before", [True, False])
def test_an_interrupted_run_leaves_nothing_new(tmp_path, nearest_card, interruption, before):
    target = tmp_path / "o.tif"
    if before:
        target.write_text("mine")

    def progress(done, total):
        assert any(path.name.startswith(".o.tif.") for path in tmp_path.iterdir())
        if done > total / 2:
            raise interruption

    with pytest.raises(interruption):
        superresolve_scene(
            SAMPLE,
            target,
            nearest_card,
            window=WINDOW,
            size=20,
            compare="bicubic",
            overwrite=True,
            progress=progress,
        )
    if before:
        nothing_but(tmp_path, "o.tif")
        assert target.read_text() == "mine"
    else:
        nothing_but(tmp_path)


@pytest.mark.parametrize("stage", ["rasterio.shutil.copy", "openeo_superres.cog.cog_validate"])
def test_a_failing_conversion_leaves_nothing(tmp_path, nearest_card, monkeypatch, stage):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage, fail)
    with pytest.raises(OutputError, match="No space left"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW)
    nothing_but(tmp_path)


def test_a_damaged_scene_leaves_nothing(tmp_path, image, nearest_card):
    source = write_stack(tmp_path / "scene.tif", crop(image, (0, 0, 200, 200)).astype(np.uint16))
    content = source.read_bytes()
    # the header is whole, and so are the pixels that tell the phase
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openeo_superres.grid._native_phase", lambda _: (0, 0))
        source.write_bytes(content[: len(content) * 3 // 4])
        with pytest.raises(SceneError, match=r"scene\.tif can't be read"):
            superresolve_scene(source, tmp_path / "o.tif", nearest_card, size=50)
    nothing_but(tmp_path, "scene.tif")


def test_an_interrupt_does_not_wait_for_the_conversion(tmp_path, nearest_card, monkeypatch):
    """It takes minutes of a tile, in GDAL, which hears no signal; it ends where it can't read on."""

    def convert(tiles, _part, **_):
        assert tiles.stat().st_size
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            if not tiles.stat().st_size:
                raise RasterioIOError("can't be read")
            time.sleep(0.01)

    monkeypatch.setattr("rasterio.shutil.copy", convert)
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW)
    assert time.perf_counter() - started < 9
    nothing_but(tmp_path)


def test_an_interrupt_when_a_file_was_just_made(tmp_path, nearest_card, monkeypatch):
    enter = cog.CogWriter.__enter__

    def interrupted(writer):
        enter(writer)
        raise KeyboardInterrupt

    monkeypatch.setattr(cog.CogWriter, "__enter__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW)
    nothing_but(tmp_path)


def test_nothing_that_describes_an_earlier_raster_stays(tmp_path, nearest_card):
    """GDAL would take statistics beside a file for its own."""
    stale = (
        '<PAMDataset><PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MAXIMUM">77</MDI></Metadata>'
        "</PAMRasterBand></PAMDataset>"
    )
    for name in ("o.tif", "o.tif.ovr", "o.tif.msk", "o_bicubic.tif.aux.xml", "other.tif.ovr", "o.txt"):
        (tmp_path / name).touch()
    (tmp_path / "o.tif.aux.xml").write_text(stale)
    superresolve_scene(
        SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW, compare="bicubic", overwrite=True
    )
    nothing_but(tmp_path, "o.tif", "o_bicubic.tif", "o.txt", "other.tif.ovr")
    with rasterio.open(tmp_path / "o.tif") as dataset:
        assert float(dataset.tags(1)["STATISTICS_MAXIMUM"]) == dataset.read(1).max()


@pytest.mark.parametrize("moment", ["build_item", "build_style"])
def test_a_new_raster_never_lies_beside_the_item_of_an_earlier_one(
    tmp_path, nearest_card, monkeypatch, moment
):
    def make():
        superresolve_scene(
            SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW, sidecars=True, overwrite=True
        )

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    make()
    nothing_but(tmp_path, "o.json", "o.qml", "o.tif")
    monkeypatch.setattr(raster, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        make()
    nothing_but(tmp_path, "o.tif", *(["o.json"] if moment == "build_style" else []))


def test_leftovers_of_killed_runs_are_removed(tmp_path, nearest_card):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead, alive = child.pid, os.getppid()
    ends = ("tif.{}.part", "tif.{}.part.tiles", "tif.{}.part.ovr.tmp", "json.{}.part", "qml.{}.part")
    names = [f".o.{end.format(pid)}" for pid in (dead, alive) for end in ends]
    others = [f".other.tif.{dead}.part", f".o.tif.{dead}", ".o.tif.x.part"]
    for name in (*names, *others):
        (tmp_path / name).touch()
    superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=WINDOW, sidecars=True)
    nothing_but(tmp_path, "o.json", "o.qml", "o.tif", *names[len(ends) :], *others)


KILLED = """
import os, signal, sys
from openeo_superres.raster import superresolve_scene
def progress(done, total):
    if done == total:
        os.kill(os.getpid(), signal.SIGKILL)
superresolve_scene(*sys.argv[1:], window=(60, 102, 60, 60), size=16, progress=progress)
"""


def test_a_killed_run_leaves_no_result_and_the_next_one_cleans_up(tmp_path, nearest_card):
    target = tmp_path / "o.tif"
    command = [sys.executable, "-c", KILLED, SAMPLE, target, nearest_card.path.with_suffix(".json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [path.name for path in tmp_path.iterdir()]
    assert left
    assert all(name.startswith(".o.tif.") for name in left)
    superresolve_scene(SAMPLE, target, nearest_card, window=WINDOW)
    nothing_but(tmp_path, "o.tif")


def spoil(path):
    """Zeros in the middle of a file, as a disk that was full for a moment leaves them."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    path.write_bytes(content)


def forget(path):
    """A pixel that was never written."""
    with rasterio.open(path, "r+", driver="GTiff") as dataset:
        dataset.write(np.full((1, 1), -32768, np.int16), 7, window=((5, 6), (8, 9)))


def limited(share):
    """Run the conversion where no file may grow beyond a share of the whole result."""

    def convert(copy, tiles, part, options):
        copy(tiles, part, **options)
        size = part.stat().st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * size), hard))
        try:
            copy(tiles, part, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return convert


def spoilt(copy, tiles, part, options):
    copy(tiles, part, **options)
    spoil(part)


def forgotten(copy, tiles, part, options):
    forget(tiles)
    copy(tiles, part, **options)


@pytest.mark.parametrize(
    "convert",
    [limited(0.01), limited(0.3), limited(0.7), limited(0.99), limited(0.99999), spoilt, forgotten],
    ids=["1 %", "30 %", "70 %", "99 %", "all but a few bytes", "zeros", "a pixel"],
)
def test_what_the_disk_did_not_keep_is_no_result(tmp_path, nearest_card, monkeypatch, convert):
    copy = rasterio.shutil.copy
    monkeypatch.setattr(
        "rasterio.shutil.copy", lambda tiles, part, **options: convert(copy, tiles, part, options)
    )
    with pytest.raises(OutputError, match=r"o\.tif .*(can't be written|not written whole)"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", nearest_card, window=(0, 0, 200, 200))
    nothing_but(tmp_path)


def test_bands_that_scenes_lack(tmp_path, nearest_card):
    card = BlurCard("thermal", nearest_card.path, nearest_card.sha256, 2, 6, (*BAND_NAMES, "B10"), 0, {})
    with pytest.raises(SuperresError, match="thermal needs bands B10"):
        superresolve_scene(SAMPLE, tmp_path / "o.tif", card)


def test_bicubic_has_its_margin():
    """What lies farther than the margin changes nothing."""
    rng = np.random.default_rng(0)
    near = rng.normal(1000, 300, (10, 60, 60)).astype(np.float32)
    coarse = [i for i, band in enumerate(BANDS) if band.resolution == 20]
    near[coarse] = near[coarse][:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    far = near.copy()
    reach = bicubic_model().margin
    far[:, : 30 - reach], far[:, 31 + reach :] = 1e4, -1e4
    far[:, :, : 30 - reach], far[:, :, 31 + reach :] = -1e4, 1e4
    results = [superresolve_chunk(chunk, bicubic_model())[:, 60:62, 60:62] for chunk in (near, far)]
    np.testing.assert_array_equal(*results)
