import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image
from products import write_safe

from openeo_superres import __version__, build_process, list_models, load_card, stream
from openeo_superres.cli import main
from openeo_superres.evaluate import bicubic, consistency
from openeo_superres.sensor import BAND_NAMES, BANDS_10M, BANDS_20M, upsample_cubic

SAMPLE = Path(__file__).parents[1] / "examples/data"
MODEL = "cubic_mtf"
ARCHIVE = "https://example.com/model.zip"
PART = ("--model", MODEL, "--window", "100", "200", "40", "30")


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def read(path):
    with rasterio.open(path, driver="GTiff") as dataset:
        return dataset.read(), dataset.profile


def write(path, pixels, names, resolution):
    """A GeoTIFF of the sample's place with named bands."""
    _, profile = read(SAMPLE / "virginia_10m.tif")
    transform = rasterio.Affine(resolution, 0, profile["transform"].c, 0, -resolution, profile["transform"].f)
    shape = {"count": len(names), "height": pixels.shape[1], "width": pixels.shape[2]}
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint16", crs=profile["crs"], transform=transform, **shape
    ) as dataset:
        dataset.write(pixels.astype(np.uint16))
        dataset.descriptions = names
    return path


# ---- what must fail, and how


def not_a_raster(folder):
    (folder / "scene.tif").write_text("no raster\n")
    return ("run", folder / "scene.tif", folder / "out.tif"), ["scene.tif", "GeoTIFF"]


def not_there(folder):
    return ("run", folder / "no_scene.tif", folder / "out.tif"), ["no_scene.tif"]


def empty_folder(folder):
    (folder / "scene").mkdir()
    return ("run", folder / "scene", folder / "out.tif"), ["scene", "B02"]


def truncated(folder, share=0.5):
    for path in SAMPLE.glob("*.tif"):
        content = path.read_bytes()
        kept = int(len(content) * share) if "20m" in path.name else len(content)
        (folder / path.name).write_bytes(content[:kept])
    return ("run", folder / "virginia_10m.tif", folder / "out.tif"), ["virginia_20m.tif", "complete"]


def hardly_truncated(folder):
    return truncated(folder, 0.98)


def missing_band(folder):
    pixels, _ = read(SAMPLE / "virginia_10m.tif")
    names = [band.name for band in BANDS_10M]
    write(folder / "scene_10m.tif", pixels[:3, :64, :64], names[:3], 10)
    pixels, _ = read(SAMPLE / "virginia_20m.tif")
    write(folder / "scene_20m.tif", pixels[:, :32, :32], [band.name for band in BANDS_20M], 20)
    return ("run", folder / "scene_10m.tif", folder / "out.tif"), ["B08"]


def smoothly_resampled(folder):
    fine, _ = read(SAMPLE / "virginia_10m.tif")
    coarse, _ = read(SAMPLE / "virginia_20m.tif")
    coarse = upsample_cubic(coarse[:, :32, :32].astype(np.float32), 2)
    pixels = np.concatenate([fine[:, :64, :64], coarse.clip(1, 10_000)])
    scene = write(folder / "scene.tif", pixels, BAND_NAMES, 10)
    return ("run", scene, folder / "out.tif"), ["resampled smoothly", "scene.tif"]


def existing_output(folder):
    (folder / "out.tif").write_text("mine")
    return ("run", SAMPLE, folder / "out.tif"), ["out.tif", "exists"]


def no_such_output_folder(folder):
    return ("run", SAMPLE, folder / "none/out.tif"), ["none", "does not exist"]


def unknown_model(folder):
    return ("run", SAMPLE, folder / "out.tif", "--model", "edsr_of_mine"), ["edsr_of_mine", MODEL]


def model_that_is_no_card(folder):
    (folder / "model.json").write_text("{}")
    return ("run", SAMPLE, folder / "out.tif", "--model", folder / "model.json"), ["model.json", "card"]


def corrupted_weights(folder):
    card = load_card(MODEL).path.with_suffix(".json")
    shutil.copy(card, folder / "mine.json")
    weights = bytearray(card.with_suffix(".onnx").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / f"{MODEL}.onnx").write_bytes(weights)
    return ("run", SAMPLE, folder / "out.tif", "--model", folder / "mine.json"), ["SHA-256"]


def demo_with_corrupted_weights(folder):
    (_, _, _, *model), said = corrupted_weights(folder)
    return ("demo", "--sample", SAMPLE, "--output", folder / "demo", *model), said


def window_outside(folder):
    return ("run", SAMPLE, folder / "out.tif", "--window", 500, 0, 13, 10), ["512 x 512"]


def box_outside(folder):
    box = ("--bbox", 10, 50, 11, 51, "--crs", "EPSG:4326")
    return ("run", SAMPLE, folder / "out.tif", *box), ["bounding box"]


def unknown_crs(folder):
    box = ("--bbox", 10, 50, 11, 51, "--crs", "EPSG:1")
    return ("run", SAMPLE, folder / "out.tif", *box), ["EPSG:1"]


def window_of_three_numbers(folder):
    return ("run", SAMPLE, folder / "out.tif", "--window", 1, 2, 3), ["--window"]


def box_the_wrong_way_round(folder):
    return ("run", SAMPLE, folder / "out.tif", "--bbox", 436740, 4163120, 436700, 4163000), ["west < east"]


def crs_without_a_box(folder):
    return ("run", SAMPLE, folder / "out.tif", "--crs", "EPSG:32618"), ["without a bounding box"]


def window_and_box(folder):
    box = ("--bbox", 436740, 4162820, 437140, 4163120)
    return ("run", SAMPLE, folder / "out.tif", "--window", 0, 0, 9, 9, *box), ["a window and a bounding box"]


def area_that_is_not_there(folder):
    return ("run", SAMPLE, folder / "out.tif", "--area", folder / "none.geojson"), ["none.geojson"]


def area_that_is_no_geojson(folder):
    (folder / "area.shp").write_bytes(b"\0\0\x27\x0a")
    return ("run", SAMPLE, folder / "out.tif", "--area", folder / "area.shp"), ["area.shp is no GeoJSON"]


def area_in_metres(folder):
    ring = [[436740, 4162820], [437140, 4162820], [437140, 4163120], [436740, 4162820]]
    (folder / "area.json").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return ("run", SAMPLE, folder / "out.tif", "--area", folder / "area.json"), ["area.json", "OGC:CRS84"]


def area_elsewhere(folder):
    ring = [[10, 50], [11, 50], [11, 51], [10, 50]]
    (folder / "area.json").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return ("run", SAMPLE, folder / "out.tif", "--area", folder / "area.json"), ["area.json", "outside"]


def area_over_which_the_item_would_be_written(folder):
    ring = [[-75.716, 37.606], [-75.706, 37.606], [-75.706, 37.612], [-75.716, 37.606]]
    (folder / "out.json").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    area = ("--area", folder / "out.json", "--overwrite")
    return ("run", SAMPLE, folder / "out.tif", *area), ["out.json is what would be read"]


def mask_of_a_scene_without(folder):
    return ("run", SAMPLE, folder / "out.tif", "--mask", "SCL=3,8,9,10"), ["no mask SCL", "its masks: none"]


def mask_without_numbers(folder):
    return ("run", SAMPLE, folder / "out.tif", "--mask", "SCL"), ["'SCL'", "SCL=3,8,9,10"]


def mask_by_words(folder):
    return ("run", SAMPLE, folder / "out.tif", "--mask", "SCL=clouds"), ["SCL=clouds", "SCL=3,8,9,10"]


def class_that_is_none(folder):
    product = write_safe(folder, level="L2A", size=60)
    return ("run", product, folder / "out.tif", "--mask", "SCL=3,42"), ["0 to 11", "got 42"]


def mask_of_another_product(folder):
    product = write_safe(folder, level="L2A", size=60)
    return ("run", product, folder / "out.tif", "--mask", "CLM=1"), ["no mask CLM", "its masks: SCL"]


def unknown_band(folder):
    return ("run", SAMPLE, folder / "out.tif", "--bands", "B04,red"), ["'red'", "B04,B08"]


def band_at_60_m(folder):
    return ("run", SAMPLE, folder / "out.tif", "--bands", "B04,B09"), ["B09", "B02, B03, B04"]


def band_twice(folder):
    return ("run", SAMPLE, folder / "out.tif", "--bands", "B04,B4"), ["each once"]


def no_band(folder):
    return ("run", SAMPLE, folder / "out.tif", "--bands", ""), ["--bands"]


def output_missing(folder):  # noqa: ARG001
    return ("run", SAMPLE), ["alone", "SOURCE", "OUTPUT"]


def source_and_output_missing(folder):  # noqa: ARG001
    return ("run",), ["OUTPUT"]


def several_into_a_file(folder):
    return ("run", SAMPLE, SAMPLE, folder / "out.tif"), ["several products", "folder"]


def no_date(folder):
    return ("run", SAMPLE, folder / "out.tif", "--date", "2026-06-01"), ["2026-06-01", "not known"]


def inspect_no_date(folder):  # noqa: ARG001
    return ("inspect", SAMPLE, "--date", "2026-06-01"), ["2026-06-01", "--date"]


def overwrite_and_skip(folder):
    flags = ("--overwrite", "--skip-existing")
    return ("run", SAMPLE, folder / "out.tif", *flags), ["expected one of them"]


def verify_without_a_manifest(folder):
    return ("run", SAMPLE, folder / "out.tif", "--verify"), ["manifest.safe"]


def inspect_verify_without_a_manifest(folder):  # noqa: ARG001
    return ("inspect", SAMPLE, "--verify"), ["manifest.safe"]


def damaged_product(folder):
    product = write_safe(folder, level="L2A", size=60)
    band = next(product.rglob("*_B8A_20m.jp2"))
    band.write_bytes(band.read_bytes()[:-40])
    return ("inspect", product, "--verify"), ["_B8A_20m.jp2"]


def result_as_a_source(folder):
    pixels = np.full((10, 20, 20), 900)
    write(folder / "scene_SR5M_mine.tif", pixels, BAND_NAMES, 5)
    return ("run", folder / "scene_SR5M_mine.tif", folder / "out.tif"), ["pixels of 5"]


def picture_as_output(folder):
    return ("run", SAMPLE, folder / "out.png"), ["ends in .tif"]


def item_in_the_way(folder):
    (folder / "out.json").write_text("mine")
    return ("run", SAMPLE, folder / "out.tif"), ["out.json exists", "--overwrite"]


def style_in_the_way(folder):
    (folder / "out_bicubic.qml").write_text("mine")
    return ("run", SAMPLE, folder / "out.tif", "--compare", "bicubic"), ["out_bicubic.qml exists"]


def empty_name(folder):
    return ("run", "", folder / "out.tif"), ["Error"]


def name_that_is_too_long(folder):
    return ("run", SAMPLE, folder / f"{'x' * 300}.tif"), ["name too long"]


def unknown_option(folder):
    return ("run", SAMPLE, folder / "out.tif", "--quick"), ["--quick"]


def unknown_type(folder):
    return ("run", SAMPLE, folder / "out.tif", "--dtype", "int8"), ["int8", "float32"]


def no_threads(folder):
    return ("run", SAMPLE, folder / "out.tif", "--threads", 0), ["--threads"]


def inspect_no_raster(folder):
    (folder / "scene.tif").write_bytes(b"II*\0")
    return ("inspect", folder / "scene.tif"), ["scene.tif"]


def unknown_command(folder):
    return ("superresolve", SAMPLE, folder / "out.tif"), ["superresolve"]


def demo_without_sample(folder):
    return ("demo", "--sample", folder / "none", "--output", folder / "demo"), ["none", "checkout"]


def demo_of_another_scene(folder):
    (folder / "scene").mkdir()
    for path, size in ((SAMPLE / "virginia_10m.tif", 64), (SAMPLE / "virginia_20m.tif", 32)):
        pixels, _ = read(path)
        bands = BANDS_10M if size == 64 else BANDS_20M
        names = [band.name for band in bands]
        write(folder / "scene" / path.name, pixels[:, :size, :size], names, bands[0].resolution)
    return ("demo", "--sample", folder / "scene", "--output", folder / "demo"), ["another scene"]


def demo_into_a_file(folder):
    (folder / "demo").write_text("mine")
    return ("demo", "--sample", SAMPLE, "--output", folder / "demo"), ["demo", "can't be made"]


def process_over_a_file(folder):
    (folder / "process.json").write_text("mine")
    return ("udp", "-o", folder / "process.json"), ["process.json", "--overwrite"]


def process_with_chunks_below_the_overlap(folder):
    return ("udp", "--size", "20", "-o", folder / "process.json"), ["20", "overlap of"]


def process_with_a_path_as_weights(folder):
    return ("udp", "--weights", "model.zip", "-o", folder / "process.json"), ["model.zip", "https://"]


def bundle_of_no_wheel(folder):
    (folder / "wheel.whl").write_text("no wheel")
    return ("bundle", "-o", folder, "--wheel", folder / "wheel.whl"), ["wheel.whl", "as a wheel"]


def bundle_into_a_file(folder):
    (folder / "file").write_text("")
    return ("bundle", "-o", folder / "file"), ["file", "can't be written"]


@pytest.mark.parametrize(
    "mistake",
    [
        not_a_raster,
        not_there,
        empty_folder,
        truncated,
        hardly_truncated,
        missing_band,
        smoothly_resampled,
        existing_output,
        no_such_output_folder,
        unknown_model,
        model_that_is_no_card,
        corrupted_weights,
        demo_with_corrupted_weights,
        window_outside,
        box_outside,
        unknown_crs,
        window_of_three_numbers,
        box_the_wrong_way_round,
        crs_without_a_box,
        window_and_box,
        area_that_is_not_there,
        area_that_is_no_geojson,
        area_in_metres,
        area_elsewhere,
        area_over_which_the_item_would_be_written,
        mask_of_a_scene_without,
        mask_without_numbers,
        mask_by_words,
        class_that_is_none,
        mask_of_another_product,
        unknown_band,
        band_at_60_m,
        band_twice,
        no_band,
        output_missing,
        source_and_output_missing,
        several_into_a_file,
        no_date,
        inspect_no_date,
        overwrite_and_skip,
        verify_without_a_manifest,
        inspect_verify_without_a_manifest,
        damaged_product,
        result_as_a_source,
        picture_as_output,
        item_in_the_way,
        style_in_the_way,
        empty_name,
        name_that_is_too_long,
        unknown_option,
        unknown_type,
        no_threads,
        inspect_no_raster,
        unknown_command,
        demo_without_sample,
        process_over_a_file,
        process_with_chunks_below_the_overlap,
        process_with_a_path_as_weights,
        bundle_of_no_wheel,
        bundle_into_a_file,
        demo_of_another_scene,
        demo_into_a_file,
    ],
    ids=lambda mistake: mistake.__name__,
)
def test_a_mistake_gets_one_line_and_status_2(mistake, tmp_path, capfd):
    arguments, said = mistake(tmp_path)
    if arguments[0] in {"run", "demo"} and "--model" not in arguments:
        arguments = (*arguments, "--model", MODEL)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1
    for words in said:
        assert words in result.stderr
    # what libraries in C have to say would be a second line
    assert capfd.readouterr().err == ""
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_no_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    result = call("run", SAMPLE, tmp_path / "out.tif", *PART)
    tmp_path.chmod(0o700)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "out.tif" in result.stderr
    assert not any(tmp_path.iterdir())


def test_interrupted(tmp_path, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(stream, "superresolve_chunk", interrupt)
    result = call("run", SAMPLE, tmp_path / "out.tif", *PART)
    assert result.exit_code == 130
    assert result.stderr.startswith("Interrupted")
    assert result.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_warning_is_one_line_and_no_failure(tmp_path, recwarn):
    result = call("run", SAMPLE, tmp_path / "out.tif", *PART, "--provider", "cuda")
    if result.stderr:  # a machine without CUDA
        assert result.stderr.startswith("Warning: CUDA")
        assert result.stderr.count("\n") == 1
    assert result.exit_code == 0
    assert not recwarn


def test_a_defect_of_ours_is_no_mistake_of_the_user(tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise ZeroDivisionError

    monkeypatch.setattr(stream, "superresolve_chunk", fail)
    result = call("run", SAMPLE, tmp_path / "out.tif", *PART)
    assert isinstance(result.exception, ZeroDivisionError)
    assert not any(tmp_path.iterdir())


# ---- what must work


def test_window_and_box_are_the_same_pixels(tmp_path):
    by_window = call("run", SAMPLE, tmp_path / "window.tif", *PART)
    box = ("--bbox", 436740, 4162820, 437140, 4163120, "--crs", "EPSG:32618")
    by_box = call("run", SAMPLE, tmp_path / "box.tif", "--model", MODEL, *box)
    for result, name in ((by_window, "window.tif"), (by_box, "box.tif")):
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(str(tmp_path / name))
        # no terminal, no progress
        assert result.stderr == ""
    pixels, profile = read(tmp_path / "window.tif")
    assert pixels.shape == (10, 60, 80)
    assert profile["transform"] == rasterio.Affine(5, 0, 436740, 0, -5, 4163120)
    other, other_profile = read(tmp_path / "box.tif")
    assert other_profile["transform"] == profile["transform"]
    np.testing.assert_array_equal(other, pixels)


def test_a_window_is_a_part_of_the_whole(demonstration, tmp_path):
    call("run", SAMPLE, tmp_path / "out.tif", *PART)
    pixels, _ = read(tmp_path / "out.tif")
    whole, _ = read(demonstration / f"virginia_SR5M_{MODEL}.tif")
    # rounding to whole DN may fall either way
    part = whole[:, 400:460, 200:280].astype(int)
    assert np.abs(pixels - part).max() <= 1


def test_run_into_a_folder_with_comparison(tmp_path):
    result = call("run", SAMPLE, tmp_path, *PART, "--compare", "bicubic", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    name = f"data_SR5M_{MODEL}"
    beside = {f"{name}.json", f"{name}.qml", f"{name}_bicubic.qml"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.tif", f"{name}_bicubic.tif", *beside}
    assert read(tmp_path / f"{name}.tif")[0].dtype == np.float32


def test_overwrite(tmp_path):
    (tmp_path / "out.tif").write_text("mine")
    assert call("run", SAMPLE, tmp_path / "out.tif", *PART, "--overwrite").exit_code == 0
    assert read(tmp_path / "out.tif")[0].shape == (10, 60, 80)


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demonstration") / "demo"
    result = call("demo", "--sample", SAMPLE, "--output", folder, "--model", MODEL)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (folder / "printed.txt").write_text(result.stdout)
    return folder


def test_demo_writes_a_raster_and_a_picture(demonstration):
    pixels, profile = read(demonstration / f"virginia_SR5M_{MODEL}.tif")
    assert pixels.shape == (10, 1024, 1024)
    assert profile["transform"] == rasterio.Affine(5, 0, 435740, 0, -5, 4165120)
    with Image.open(demonstration / f"virginia_SR5M_{MODEL}.png") as picture:
        assert min(picture.size) > 1000
        drawn = np.asarray(picture)
    middle = drawn.shape[1] // 2
    left, right = drawn[:, 20 : middle - 20], drawn[:, middle + 20 :]
    assert left.std() > 20
    assert right.std() > 20


def test_demo_prints_what_it_measured(demonstration):
    printed = (demonstration / "printed.txt").read_text()
    fine, coarse = (read(SAMPLE / f"virginia_{resolution}m.tif")[0] for resolution in (10, 20))
    image = np.concatenate([fine, coarse.repeat(2, axis=1).repeat(2, axis=2)]).astype(np.float32)
    output = read(demonstration / f"virginia_SR5M_{MODEL}.tif")[0].astype(np.float32)
    for name, result in ((MODEL, output), ("bicubic", bicubic(image))):
        errors = consistency(result, image)
        line = next(line for line in printed.splitlines() if line.split()[0] == name)
        assert f"{errors[:4].mean():.2f}" in line
        assert f"{errors[4:].mean():.2f}" in line
    for path in demonstration.glob("virginia*"):
        assert str(path) in printed


def test_second_demo_overwrites_with_the_same_bytes(demonstration):
    paths = sorted(demonstration.glob("virginia*"))
    before = [path.read_bytes() for path in paths]
    assert len(before) == 2
    paths[0].write_text("stale")
    result = call("demo", "--sample", SAMPLE, "--output", demonstration, "--model", MODEL)
    assert result.exit_code == 0, result.output
    assert [path.read_bytes() for path in paths] == before


def test_models_as_json_are_the_cards():
    result = call("models", "--json")
    assert result.exit_code == 0
    listed = json.loads(result.stdout)
    assert [model["name"] for model in listed] == list_models()
    for model in listed:
        card = load_card(model["name"])
        assert (model["scale"], model["margin"], model["parameters"], model["sha256"]) == (
            card.scale,
            card.margin,
            card.parameters,
            card.sha256,
        )


def test_models_as_a_table():
    result = call("models")
    assert result.exit_code == 0
    for name in list_models():
        assert name in result.stdout


def test_inspect_as_json():
    result = call("inspect", SAMPLE, "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert (facts["width"], facts["height"], facts["crs"]) == (512, 512, "EPSG:32618")
    assert facts["bounds"] == [435740, 4160000, 440860, 4165120]
    assert list(facts["bands"]) == list(BAND_NAMES)
    assert [facts["bands"][name]["resolution"] for name in ("B02", "B8A")] == [10, 20]
    assert facts["output"]["width"] == 1024
    # ten bands of two bytes
    assert facts["output"]["uncompressed_bytes"]["int16"] == 1024 * 1024 * 20


def test_inspect_as_a_table():
    result = call("inspect", SAMPLE)
    assert result.exit_code == 0
    for words in ("EPSG:32618", "512 x 512", "1024 x 1024", "21.0 MB as int16"):
        assert words in result.stdout


def test_inspect_a_product(tmp_path):
    product = write_safe(tmp_path, level="L2A", baseline="05.11", sensed="20260601T100029")
    facts = json.loads(call("inspect", product, "--verify", "--json").stdout)
    assert (facts["level"], facts["baseline"], facts["masks"]) == ("L2A", "05.11", ["SCL"])
    assert facts["date"].startswith("2026-06-01T10:00:29")
    assert (facts["offset"], facts["name"]) == (-1000, product.stem)
    assert facts["verified"] > 10
    output = facts["output"]
    assert output["free_bytes"] > 0
    assert output["temporary_bytes"]["int16"] > output["uncompressed_bytes"]["int16"]
    said = call("inspect", product, "--verify").stdout
    for words in ("05.11", "SCL", "2026-06-01", "checksums", "free here", "while it is made"):
        assert words in said


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in ("run", "inspect", "models", "udp", "bundle", "demo"))]
)
def test_help(command):
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage")


def test_no_command_is_a_call_for_help():
    assert call().stdout == call("--help").stdout


# ---- for a back-end


def test_udp_is_the_process_definition(tmp_path):
    shown = call("udp", "--model", MODEL)
    assert json.loads(shown.stdout) == build_process(MODEL)
    options = ("--model", MODEL, "--id", "mine", "--mode", "upscale", "--size", "100", "--weights", ARCHIVE)
    written = call("udp", *options, "--collection", "SENTINEL2_L1C", "-o", tmp_path / "process.json")
    assert written.exit_code == 0
    assert "process mine" in written.stdout
    assert json.loads((tmp_path / "process.json").read_text()) == build_process(
        MODEL, process_id="mine", mode="upscale", size=100, weights=ARCHIVE, collection_id="SENTINEL2_L1C"
    )


def test_bundle_says_hashes_and_what_to_paste(tmp_path):
    wheel = tmp_path / "onnxruntime-9.8.7-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("onnxruntime/__init__.py", "")
        archive.writestr("onnxruntime/capi/library.so", "")
    options = ("bundle", "--model", MODEL, "--wheel", wheel, "--url", "https://example.com", "-o", tmp_path)
    facts = json.loads(call(*options, "--json").stdout)
    said = call(*options).stdout
    for archive in facts["archives"]:
        content = Path(archive["path"]).read_bytes()
        assert (archive["size"], archive["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert archive["sha256"] in said
    pasted = {}
    exec(said[said.index("weights =") :], pasted)
    assert (pasted["weights"], pasted["job_options"]) == (facts["weights"], facts["job_options"])
    assert facts["weights"].startswith("https://example.com/cubic_mtf-")


# ---- as a process


def execute(*code):
    return subprocess.run([sys.executable, *code], capture_output=True, text=True, check=False)


def test_module_is_the_command():
    result = execute("-m", "openeo_superres", "--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert __version__ in result.stdout


def test_missing_extra_gets_one_line():
    code = "import sys; sys.modules['click'] = None; from openeo_superres.__main__ import run; run()"
    result = execute("-c", code)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "click" in result.stderr
    assert "openeo-superres[cli]" in result.stderr


# ---- the process as a whole


def start(*arguments, **options):
    command = [sys.executable, "-m", "openeo_superres", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_end_in_one_line_and_leave_nothing(tmp_path, name):
    process = start("run", SAMPLE, tmp_path / "out.tif", "--model", "cubic_mtf", "--threads", 1)
    deadline = time.monotonic() + 200
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    _, said = process.communicate()
    assert (process.returncode, said) == (130, "Interrupted: nothing was left half-written.\n")
    assert not any(tmp_path.iterdir())


def test_libraries_in_c_say_nothing(tmp_path):
    """A file that may not grow: libtiff would print a line of its own."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = start("run", SAMPLE, tmp_path / "out.tif", "--model", "cubic_mtf", preexec_fn=limit)
    _, said = process.communicate()
    assert process.returncode == 2
    assert said.startswith("Error: ")
    assert "out.tif can't be written" in said
    assert said.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_nothing_is_written_into_the_home_folder(tmp_path):
    """onnxruntime keeps a diary of its use there unless it is told not to."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    process = start("run", SAMPLE, tmp_path / "out.tif", *PART, env=environment)
    process.communicate()
    assert process.returncode == 0
    assert not any(home.rglob("*"))


def test_output_that_the_terminal_can_not_show(tmp_path):
    source = tmp_path / "ümläut"
    source.symlink_to(SAMPLE.absolute())
    process = start("inspect", source, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    shown, said = process.communicate()
    assert (process.returncode, said) == (0, "")
    assert "\\xfc" in shown
