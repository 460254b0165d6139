import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from products import write_safe
from theia_files import write_theia

from openeo_superres import batch, raster, scene
from openeo_superres.batch import find_products
from openeo_superres.cli import main
from openeo_superres.errors import SceneError
from openeo_superres.sensor import BAND_NAMES

SAMPLE = Path(__file__).parents[1] / "examples/data"
DAYS = ("2026-06-01", "2026-06-06")


@pytest.fixture(scope="module")
def card(nearest_card):
    return nearest_card.path.with_suffix(".json")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, image):
    """A folder with two scenes, and what is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("one", "two"):
        write_stack(folder / f"{name}.tif", image)
    (folder / "readme.txt").write_text("no scene")
    (folder / "logs").mkdir()
    (folder / ".hidden.tif").write_text("no scene")
    return folder


@pytest.fixture(scope="module")
def series(tmp_path_factory, cube):
    path = tmp_path_factory.mktemp("series") / "cube.nc"
    part = cube[:, 100:130, 200:240]
    dates = xr.concat([part, part + 100], "t").assign_coords(t=np.array(DAYS, "datetime64[ns]"))
    data = dates.transpose("t", "bands", "y", "x").to_dataset("bands")
    wkt = rasterio.crs.CRS.from_epsg(32618).to_wkt()
    for band in data.data_vars:
        data[band].attrs["grid_mapping"] = "crs"
    data["crs"] = ((), 0, {"crs_wkt": wkt})
    data.to_netcdf(path, engine="h5netcdf")
    return path


def write_stack(path, image):
    with rasterio.open(SAMPLE / "virginia_10m.tif") as source:
        profile = {"crs": source.crs, "transform": source.transform}
    with rasterio.open(
        path, "w", driver="GTiff", count=10, height=40, width=40, dtype="uint16", **profile
    ) as file:
        file.write(image[:, :40, :40].astype(np.uint16))
        file.descriptions = BAND_NAMES
    return path


def names(folder, suffix=".tif"):
    return sorted(path.name for path in folder.glob(f"*{suffix}"))


@pytest.fixture
def call(card):
    def run(*arguments):
        given = [*map(str, arguments)]
        return CliRunner().invoke(main, ["run", *given, "--model", str(card)])

    return run


def failures(result):
    """Lines on stderr; all must be errors, none may span lines."""
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert all(line.startswith("Error: ") for line in lines)
    return lines


# ---- what is found


def found(*sources, **options):
    return [
        (
            Path(product.source).name,
            product.found if isinstance(product.found, SceneError) else product.found.name,
        )
        for product in find_products(map(str, sources), BAND_NAMES, **options)
    ]


def test_a_folder_of_products(pictures):
    assert found(pictures) == [("one.tif", "one"), ("two.tif", "two")]


def test_several_sources_in_their_order(pictures):
    assert [name for name, _ in found(pictures / "two.tif", SAMPLE, pictures)] == [
        "two.tif",
        "data",
        "one.tif",
        "two.tif",
    ]


def test_results_beside_are_no_products(tmp_path, pictures):
    for name in ("one", "one_SR5M_edsr_4x32", "one_SR2.5M_mine_bicubic"):
        shutil.copy(pictures / "one.tif", tmp_path / f"{name}.tif")
    assert found(tmp_path) == [("one.tif", "one")]


def test_pairs_are_found_once(tmp_path):
    for place in ("a", "b"):
        for path in SAMPLE.glob("*.tif"):
            shutil.copy(path, tmp_path / path.name.replace("virginia", place))
    assert [scene for _, scene in found(tmp_path)] == ["a_10m", "b_10m"]


@pytest.mark.parametrize("zipped", [True, False])
def test_products_of_several_kinds(tmp_path, image, zipped):
    safe = write_safe(tmp_path, level="L2A", zipped=zipped)
    theia = write_theia(tmp_path, zipped=not zipped)
    write_stack(tmp_path / "stack.tif", image)
    assert {name for name, _ in found(tmp_path)} == {safe.name, theia.name, "stack.tif"}


@pytest.mark.parametrize("name", ["{}.zip", "{}.SAFE.zip"])
def test_a_zip_beside_what_it_holds_is_no_second_product(tmp_path, name):
    zipped = write_safe(tmp_path, level="L2A", zipped=True)
    product = write_safe(tmp_path, level="L2A")
    zipped.rename(tmp_path / name.format(product.stem))
    assert found(tmp_path) == [(product.name, product.stem)]


def test_a_broken_product_in_a_folder_is_told(tmp_path, pictures):
    shutil.copy(pictures / "two.tif", tmp_path / "b.tif")
    (tmp_path / "a.tif").write_bytes((pictures / "one.tif").read_bytes()[:1000])
    (_, error), second = found(tmp_path)
    assert isinstance(error, SceneError)
    assert "a.tif" in str(error)
    assert second == ("b.tif", "b")


def test_a_folder_with_broken_ones_alone(tmp_path):
    (tmp_path / "a.tif").write_text("no raster")
    ((name, error),) = found(tmp_path)
    assert name == "a.tif"
    assert "a.tif can't be read" in str(error)


def test_a_folder_without_any(tmp_path):
    (tmp_path / "readme.txt").write_text("no raster")
    ((name, error),) = found(tmp_path)
    assert name == tmp_path.name
    assert f"{tmp_path} is no scene" in str(error)


def test_a_damaged_product_is_no_folder_of_them(tmp_path):
    """Whatever lies in it, the product itself was meant."""
    product = write_safe(tmp_path, level="L2A")
    next(product.rglob("*_B8A_20m.jp2")).unlink()
    (product / "a.tif").write_text("no raster")
    ((name, error),) = found(product)
    assert name == product.name
    assert "B8A" in str(error)


def test_dates(series):
    assert len(found(series)) == 2
    ((name, scene),) = found(series, date=DAYS[1])
    assert name == "cube.nc"
    assert DAYS[1].replace("-", "") in scene
    ((_, error),) = found(series, date="2025")
    assert "has nothing of 2025; its dates: 2026-06-01" in str(error)


# ---- what becomes of it


def test_every_product_gets_a_result(tmp_path, pictures, call):
    result = call(pictures, SAMPLE, tmp_path, "--window", 0, 0, 20, 20)
    assert (result.exit_code, result.stderr) == (0, "")
    assert names(tmp_path) == [f"{name}_SR5M_nearest.tif" for name in ("data", "one", "two")]
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        str(tmp_path / f"{name}_SR5M_nearest.tif") for name in ("one", "two", "data")
    ]


def test_every_date_gets_a_result(tmp_path, series, call):
    assert call(series, tmp_path).exit_code == 0
    there = names(tmp_path)
    assert len(there) == 2
    levels = []
    for name, day in zip(there, DAYS, strict=True):
        with rasterio.open(tmp_path / name) as dataset:
            levels.append(dataset.read(1).mean())
        item = json.loads((tmp_path / name).with_suffix(".json").read_text())
        assert (item["properties"].get("start_datetime") or item["properties"]["datetime"]).startswith(day)
    assert levels[1] - levels[0] == pytest.approx(100)


def test_one_date_into_a_file(tmp_path, series, call):
    assert call(series, tmp_path / "o.tif", "--date", DAYS[1]).exit_code == 0
    (line,) = failures(call(series, tmp_path / "all.tif"))
    assert "several dates" in line
    assert "--date" in line
    (line,) = failures(call(series, tmp_path, "--date", "2026-07"))
    assert "its dates: 2026-06-01" in line
    assert names(tmp_path) == ["o.tif"]


def test_several_products_need_a_folder(tmp_path, pictures, call):
    for output in ("o.tif", "none"):
        (line,) = failures(call(pictures, tmp_path / output))
        assert "several products" in line
    assert not any(tmp_path.iterdir())


def test_a_failure_does_not_stop_the_others(tmp_path, pictures, call):
    missing = tmp_path / "none.tif"
    output = tmp_path / "out"
    output.mkdir()
    result = call(pictures / "one.tif", missing, pictures / "two.tif", output)
    (line,) = failures(result)
    assert "none.tif" in line
    assert names(output) == ["one_SR5M_nearest.tif", "two_SR5M_nearest.tif"]
    assert len(result.stdout.splitlines()) == 2


def test_a_folder_that_may_not_be_listed_does_not_stop_the_others(tmp_path, pictures, call, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    iterdir = Path.iterdir

    def refusing(path):
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    # root may read anything, so the system's refusal is played
    monkeypatch.setattr(Path, "iterdir", refusing)
    monkeypatch.setattr(batch, "open_scenes", refusing_open(closed))
    (line,) = failures(call(closed, pictures, tmp_path))
    assert "closed can't be read: Permission denied" in line
    assert len(names(tmp_path)) == 2


def refusing_open(closed):
    def open_scenes(source, bands):
        if source == str(closed):
            raise SceneError(f"{source} can't be opened: Permission denied.")
        return scene.open_scenes(source, bands)

    return open_scenes


def test_memory_that_is_short_does_not_stop_the_others(tmp_path, pictures, call, monkeypatch):
    superresolve = batch.superresolve_scene

    def short(scene, *arguments, **options):
        if scene.name == "one":
            raise MemoryError
        return superresolve(scene, *arguments, **options)

    monkeypatch.setattr(batch, "superresolve_scene", short)
    result = call(pictures, tmp_path, "--json")
    (line,) = failures(result)
    assert "Memory is short" in line
    assert "Memory is short" in json.loads(result.stdout)[0]["error"]
    assert names(tmp_path) == ["two_SR5M_nearest.tif"]


def test_two_products_of_one_name(tmp_path, pictures, image, call):
    (tmp_path / "other").mkdir()
    twin = write_stack(tmp_path / "other/one.tif", image)
    output = tmp_path / "out"
    output.mkdir()
    for options in ((), ("--overwrite",)):
        lines = failures(call(pictures / "one.tif", twin, output, *options))
        assert "different names" in lines[-1]


def test_json(tmp_path, pictures, call):
    missing = str(tmp_path / "none.tif")
    result = call(pictures / "one.tif", missing, tmp_path, "--json")
    made, error = json.loads(result.stdout)
    assert failures(result)
    assert (error["source"], "none.tif" in error["error"]) == (missing, True)
    path = Path(made["path"])
    content = path.read_bytes()
    assert path == tmp_path / "one_SR5M_nearest.tif"
    assert (made["size"], made["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (made["scene"], made["model"], made["skipped"]) == ("one", "nearest", False)


def test_what_is_complete_is_skipped(tmp_path, pictures, call):
    first = tmp_path / "one_SR5M_nearest.tif"
    assert call(pictures / "one.tif", tmp_path).exit_code == 0
    assert len(failures(call(pictures, tmp_path))) == 1
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    again = call(pictures, tmp_path, "--skip-existing")
    assert again.exit_code == 0
    assert f"{first}: there already" in again.stdout
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    facts = json.loads(call(pictures, tmp_path, "--skip-existing", "--json").stdout)
    assert [fact["skipped"] for fact in facts] == [True, True]
    assert facts[0]["size"] == first.stat().st_size


@pytest.mark.parametrize("suffix", [".json", ".qml"])
def test_what_was_interrupted_before_its_last_file_is_made_again(tmp_path, pictures, call, suffix):
    source = pictures / "one.tif"
    assert call(source, tmp_path).exit_code == 0
    lost = (tmp_path / "one_SR5M_nearest.tif").with_suffix(suffix)
    lost.unlink()
    assert call(source, tmp_path, "--skip-existing").exit_code == 0
    assert lost.exists()


def test_a_result_without_what_it_is_compared_with_is_made_again(tmp_path, pictures, call):
    source, bicubic = pictures / "one.tif", tmp_path / "one_SR5M_nearest_bicubic.tif"
    assert call(source, tmp_path).exit_code == 0
    for complete in (False, True):
        result = call(source, tmp_path, "--skip-existing", "--compare", "bicubic")
        assert (result.exit_code, bicubic.exists()) == (0, True)
        assert ("there already" in result.stdout) == complete


def test_files_of_others_are_no_result(tmp_path, pictures, call):
    """A file that has an item's name, but no raster beside it, is not ours."""
    (tmp_path / "one_SR5M_nearest.json").write_text("mine")
    (line,) = failures(call(pictures / "one.tif", tmp_path, "--skip-existing"))
    assert "one_SR5M_nearest.json exists" in line
    shutil.copy(pictures / "one.tif", tmp_path / "one_SR5M_nearest.tif")
    (tmp_path / "one_SR5M_nearest.qml").write_text("mine")
    (line,) = failures(call(pictures / "one.tif", tmp_path, "--skip-existing"))
    assert "is not the STAC item" in line


def test_an_interruption_leaves_the_finished_ones(tmp_path, pictures, call, monkeypatch):
    stream, calls = raster.stream, []

    def interrupt(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return stream(*arguments, **options)

    monkeypatch.setattr(raster, "stream", interrupt)
    result = call(pictures, tmp_path)
    assert result.exit_code == 130
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".qml", ".tif"]
    monkeypatch.undo()
    assert call(pictures, tmp_path, "--skip-existing").exit_code == 0
    assert names(tmp_path) == ["one_SR5M_nearest.tif", "two_SR5M_nearest.tif"]


def test_verify(tmp_path, call):
    safe = write_safe(tmp_path, level="L2A")
    assert "files verified" in call(safe, tmp_path / "o.tif", "--verify").stdout
    band = next(safe.rglob("*_B04_10m.jp2"))
    content = bytearray(band.read_bytes())
    content[-20] ^= 1
    band.write_bytes(content)
    (line,) = failures(call(safe, tmp_path / "other.tif", "--verify"))
    assert "_B04_10m.jp2 differs" in line
    assert not (tmp_path / "other.tif").exists()


def test_bands_in_the_order_that_was_asked(tmp_path, pictures, call):
    for name, bands in (("all.tif", ()), ("some.tif", ("--bands", "b8a,B4,B02"))):
        assert call(pictures / "one.tif", tmp_path / name, *bands, "--compare", "bicubic").exit_code == 0
    for end in ("", "_bicubic"):
        with (
            rasterio.open(tmp_path / f"all{end}.tif") as whole,
            rasterio.open(tmp_path / f"some{end}.tif") as part,
        ):
            assert part.descriptions == ("B8A", "B04", "B02")
            indexes = [whole.descriptions.index(band) + 1 for band in part.descriptions]
            np.testing.assert_array_equal(part.read(), whole.read(indexes))
