"""NetCDF cubes, as openEO back-ends and xarray write them."""

import struct
import threading
import zlib
from dataclasses import replace
from functools import partial

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner

from openeo_superres import superresolve_local, superresolve_scene
from openeo_superres.cli import main
from openeo_superres.errors import SceneError
from openeo_superres.readers import cdf
from openeo_superres.scene import open_scene, open_scenes
from openeo_superres.sensor import BAND_NAMES

HEIGHT, WIDTH = 60, 44
WINDOW = (-3, -2, WIDTH + 5, HEIGHT + 4)
DATES = np.array(["2026-06-01", "2026-06-06", "2026-06-11"], "datetime64[ns]")
WKT = rasterio.crs.CRS.from_epsg(32618).to_wkt()


@pytest.fixture(scope="module")
def small(cube):
    """A part of the scene, (bands, y, x): float32 DN with holes, 20 m cells start at row 1, column 1."""
    part = cube[:, 101 : 101 + HEIGHT, 201 : 201 + WIDTH].copy()
    part.data[0, 3, 4] = part.data[:, 20:23, 30:33] = np.nan
    return part


@pytest.fixture(scope="module")
def series(small):
    """Three dates of it, (t, bands, y, x): the first is hidden by clouds, the second flat."""
    dates = xr.concat([small * np.nan, small * 0 + 900, small], "t").assign_coords(t=DATES)
    return dates.transpose("t", "bands", "y", "x")


def geotrellis(cube, *, fill=32767, dtype="i2", crs=True):
    """A variable per band, as the back-end writes them, and how they are stored."""
    data = cube.rename("x").to_dataset("bands")
    for name in data.data_vars:
        data[name].encoding = {"dtype": dtype, "_FillValue": fill}
        data[name].attrs = {"long_name": name, "units": "", "grid_mapping": "crs"}
    data["x"].attrs = {"standard_name": "projection_x_coordinate", "units": "m"}
    if "t" in data:
        data["t"].encoding = {"units": "days since 1990-01-01", "dtype": "i4"}
    if crs:
        data["crs"] = ((), np.bytes_(b""), {"crs_wkt": WKT, "spatial_ref": WKT})
    return data


def written(path, data, **options):
    data.to_netcdf(path, engine="h5netcdf", **options)
    return path


def expected(cube):
    """What a read of WINDOW gives."""
    return np.pad(cube.to_numpy(), ((0, 0), (2, 2), (3, 2)), constant_values=np.nan)


def classic(path, variables, *, version=2, records=None):  # noqa: C901
    """Write a classic file: {name: (dims, numbers, attrs)}; the dimension ``records`` is that of records."""
    types = {"i1": 1, "S1": 2, "i2": 3, "i4": 4, "f4": 5, "f8": 6, "u1": 7, "u2": 8, "u4": 9}

    def padded(content):
        return content + bytes(-len(content) % 4)

    def count(number):
        return struct.pack(">Q" if version == 5 else ">I", number)

    def text(name):
        return count(len(name)) + padded(name.encode())

    def attributes(attrs):
        listed = b""
        for name, value in attrs.items():
            array = np.frombuffer(value.encode(), "S1") if isinstance(value, str) else np.atleast_1d(value)
            kind = array.dtype.str[1:]
            listed += text(name) + struct.pack(">I", types[kind]) + count(array.size)
            listed += padded(array.astype(array.dtype.newbyteorder(">")).tobytes())
        return struct.pack(">I", 12 if attrs else 0) + count(len(attrs)) + listed

    dims, length = {}, 0
    for names, numbers, _ in variables.values():
        dims |= dict(zip(names, np.shape(numbers), strict=True))
    if records:
        length, dims = dims[records], {records: dims[records], **dims}
    order = list(dims)

    def header(begins):
        out = b"CDF" + bytes([version]) + count(length) + struct.pack(">I", 10) + count(len(dims))
        out += b"".join(text(d) + count(0 if d == records else size) for d, size in dims.items())
        out += attributes({}) + struct.pack(">I", 11) + count(len(variables))
        for (name, (names, numbers, attrs)), begin in zip(variables.items(), begins, strict=True):
            out += text(name) + count(len(names)) + b"".join(count(order.index(d)) for d in names)
            out += attributes(attrs) + struct.pack(">I", types[numbers.dtype.str[1:]]) + count(0)
            out += struct.pack(">I" if version == 1 else ">Q", begin)
        return out

    parts = [n.astype(n.dtype.newbyteorder(">")) for _, n, _ in variables.values()]
    moving = [bool(records and names[:1] == (records,)) for names, _, _ in variables.values()]
    begins, at = [0] * len(parts), len(header([0] * len(parts)))
    for i in sorted(range(len(parts)), key=lambda i: moving[i]):
        begins[i], at = at, at + len(padded((parts[i][:1] if moving[i] else parts[i]).tobytes()))
    body = b"".join(padded(p.tobytes()) for p, m in zip(parts, moving, strict=True) if not m)
    alone = sum(moving) == 1
    for record in range(length):
        rows = [p[record : record + 1].tobytes() for p, m in zip(parts, moving, strict=True) if m]
        body += b"".join(row if alone else padded(row) for row in rows)
    path.write_bytes(header(begins) + body)
    return path


def plain(cube, dtype=">i2", fill=32767):
    """Variables for :func:`classic` of a cube (..., bands, y, x)."""
    numbers = {
        name: cube.sel(bands=name).fillna(fill).to_numpy().astype(np.dtype(dtype).newbyteorder("="))
        for name in BAND_NAMES
    }
    lead = cube.dims[:-3]
    found = {axis: ((axis,), cube[axis].to_numpy(), {}) for axis in ("y", "x")}
    found["crs"] = ((), np.array(0, "i4"), {"crs_wkt": WKT})
    if lead:
        found["t"] = (("t",), np.array([0, 5, 10], "i4"), {"units": "days since 2026-06-01"})
    attrs = {"_FillValue": np.array([fill], numbers["B02"].dtype), "grid_mapping": "crs"}
    return found | {name: ((*lead, "y", "x"), image, attrs) for name, image in numbers.items()}


# ---- shapes that cubes have


@pytest.mark.parametrize(
    "shape",
    ["variables", "bands y x", "band labels", "y x bands", "one date", "time", "rioxarray", "band_1", "text"],
)
def test_each_layout_reads_alike(tmp_path, small, shape):
    data = {
        "variables": lambda: geotrellis(small),
        "bands y x": lambda: small,
        "band labels": lambda: small.rename(bands="band"),
        "y x bands": lambda: small.transpose("y", "x", "bands"),
        "one date": lambda: small.expand_dims(t=DATES[:1]),
        "time": lambda: small.assign_coords(time=DATES[0]),
        "rioxarray": lambda: (
            small.rename(bands="band")
            .assign_coords(band=range(1, 11), spatial_ref=((), 0, {"crs_wkt": WKT}))
            .assign_attrs(long_name=list(BAND_NAMES), grid_mapping="spatial_ref")
        ),
        "band_1": lambda: xr.Dataset(
            {
                f"band_{i}": image.drop_vars("bands").assign_attrs(long_name=str(image["bands"].item()))
                for i, image in enumerate(small, 1)
            }
        ),
        "text": lambda: small.assign_coords(bands=np.array(BAND_NAMES, "S3")),
    }[shape]()
    scene = open_scene(written(tmp_path / "cube.nc", data))
    assert (scene.kind, scene.name, scene.bands, scene.phase) == ("NetCDF", "cube", BAND_NAMES, (1, 1))
    assert scene.date == ("2026-06-01" if shape in {"one date", "time"} else None)
    assert scene.bounds == (437750.0, 4163510.0, 437750.0 + 10 * WIDTH, 4163510.0 + 10 * HEIGHT)
    assert (scene.crs and scene.crs.to_epsg()) == (32618 if shape in {"variables", "rioxarray"} else None)
    np.testing.assert_array_equal(scene.read(WINDOW), expected(small))


def test_a_scene_per_date_with_one_phase(tmp_path, series, small):
    """The first date is hidden and the second flat: the third tells the phase of all, not the coordinates."""
    series = series.assign_coords(x=series["x"] + 10)
    for name, data in (("variables", geotrellis(series)), ("stack", series)):
        scenes = open_scenes(written(tmp_path / f"{name}.nc", data))
        assert [scene.date for scene in scenes] == ["2026-06-01", "2026-06-06", "2026-06-11"]
        assert [scene.name for scene in scenes] == [f"{name}_202606{day}" for day in ("01", "06", "11")]
        assert {scene.phase for scene in scenes} == {(1, 1)}
        for scene, date in zip(scenes, series, strict=True):
            np.testing.assert_array_equal(scene.read(WINDOW), expected(date))
        np.testing.assert_array_equal(
            open_scene(scenes[0].path, date="2026-06-11").read(WINDOW), expected(small)
        )
    with pytest.raises(SceneError, match=r"several dates \(2026-06-01, 2026-06-06"):
        open_scene(scenes[0].path)


def test_flat_dates_alone_leave_the_phase_to_the_coordinates(tmp_path, series):
    assert open_scenes(written(tmp_path / "flat.nc", series[:2]))[1].phase == (1, 1)
    shifted = series[:2].assign_coords(x=series["x"] + 10)
    assert open_scenes(written(tmp_path / "east.nc", shifted))[1].phase == (1, 0)


def test_times_of_a_day_stay(tmp_path, series):
    data = series[:2].assign_coords(t=DATES[:2] + np.timedelta64(36_029, "s"))
    scenes = open_scenes(written(tmp_path / "a.nc", data))
    assert [scene.date for scene in scenes] == ["2026-06-01T10:00:29", "2026-06-06T10:00:29"]
    assert scenes[0].name == "a_20260601T100029"


@pytest.mark.parametrize("axes", [("y",), ("x", "y")])
def test_rows_from_south_to_north(tmp_path, small, axes):
    upward = small.isel(y=slice(None, None, -1))
    if "x" not in axes:
        scene = open_scene(written(tmp_path / "up.nc", upward))
        assert (scene.phase, scene.bounds[3]) == ((1, 1), 4164110.0)
        np.testing.assert_array_equal(scene.read(WINDOW), expected(small))
        np.testing.assert_array_equal(scene.read((5, 7, 9, 4)), small.to_numpy()[:, 7:11, 5:14])
    else:
        with pytest.raises(SceneError, match="flipped"):
            open_scene(written(tmp_path / "mirrored.nc", upward.isel(x=slice(None, None, -1))))


def test_coordinates_in_single_precision(tmp_path, small):
    """Beyond 8 388 608 m they keep whole metres alone."""
    far = small.assign_coords(y=(small["y"] + 5_000_000).astype("f4"), x=small["x"].astype("f4"))
    scene = open_scene(written(tmp_path / "far.nc", far))
    assert scene.transform[:6] == (10, 0, 437750, 0, -10, 9164110)


@pytest.mark.parametrize("version", [1, 2, 5])
@pytest.mark.parametrize("records", [None, "t"])
def test_classic_files(tmp_path, series, version, records):
    path = classic(tmp_path / "c.nc", plain(series), version=version, records=records)
    scenes = open_scenes(path)
    assert [scene.date for scene in scenes] == ["2026-06-01", "2026-06-06", "2026-06-11"]
    assert (scenes[0].phase, scenes[0].crs.to_epsg()) == ((1, 1), 32618)
    for scene, date in zip(scenes, series, strict=True):
        np.testing.assert_array_equal(scene.read(WINDOW), expected(date))


@pytest.mark.parametrize("alone", [True, False])
def test_records_of_odd_sizes(tmp_path, alone):
    """They are filled up to four bytes, unless the records are of one variable alone."""
    numbers = {name: np.arange(i, i + 15, dtype="i2").reshape(5, 3) for i, name in enumerate("ab")}
    parts = {name: (("t", "x"), numbers[name], {}) for name in ("a" if alone else "ab")}
    path = classic(tmp_path / "c.nc", {"x": (("x",), np.arange(3, dtype="i2"), {}), **parts}, records="t")
    with cdf.opened_variables(str(path)) as variables:
        for name in parts:
            np.testing.assert_array_equal(variables[name].whole(), numbers[name])
            part = variables[name].read((slice(2, 4), slice(1, 3)))
            np.testing.assert_array_equal(part, numbers[name][2:4, 1:3])
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(OSError, match="but the file ends"), cdf.opened_variables(str(path)):
        pass


def test_a_classic_stack_with_labels_of_characters(tmp_path, small):
    labels = np.array([list(name) for name in BAND_NAMES], "S1")
    parts = {axis: ((axis,), small[axis].to_numpy(), {}) for axis in ("y", "x")}
    parts["bands"] = (("bands", "string3"), labels, {})
    parts["cube"] = (("bands", "y", "x"), small.to_numpy(), {"_FillValue": np.array([np.nan], "f4")})
    scene = open_scene(classic(tmp_path / "c.nc", parts))
    np.testing.assert_array_equal(scene.read(WINDOW), expected(small))


# ---- numbers


@pytest.mark.parametrize(
    ("encoding", "offset"),
    [
        ({"dtype": "i2", "_FillValue": -32768}, 0),
        ({"dtype": "u2", "_FillValue": 65535}, 0),
        ({"dtype": "f8", "_FillValue": -1.0}, 0),
        ({"dtype": "i4", "_FillValue": -30_000, "add_offset": 1000}, 0),
        ({"dtype": "i2", "_FillValue": -1, "scale_factor": np.float32(0.5)}, 0),
    ],
)
def test_numbers_are_decoded_once(tmp_path, small, encoding, offset):
    """As xarray decodes them."""
    data = small.round().to_dataset(name="cube")
    data["cube"].encoding = encoding
    path = written(tmp_path / "a.nc", data)
    scene = open_scene(path)
    assert scene.offset == offset
    np.testing.assert_array_equal(scene.read(WINDOW), expected(data["cube"]))
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        np.testing.assert_array_equal(scene.read(WINDOW), expected(opened["cube"].astype("f4")))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, -0.1])
def test_scales_that_make_reflectance_make_dn(tmp_path, small, kind, offset):
    raw = (small.round() - offset * 10_000).fillna(0).astype("u2").to_dataset(name="cube")
    raw["cube"].attrs = {"scale_factor": kind(1e-4), "add_offset": kind(offset), "_FillValue": np.uint16(0)}
    scene = open_scene(written(tmp_path / "a.nc", raw))
    assert (scene.files[0].gain, scene.offset) == (1, offset * 10_000)
    np.testing.assert_array_equal(scene.read(WINDOW), expected(small.round()))


@pytest.mark.parametrize(("dtype", "nodata"), [("u2", 65535), ("i2", -32767), ("f4", 9.969209968386869e36)])
def test_netcdf_has_a_fill_value_of_its_own(tmp_path, small, dtype, nodata):
    """The back-end's merged cubes name none; 0 is a number there."""
    raw = small.round().fillna(nodata).astype(dtype)
    raw[1, 5, 5] = 0
    raw = raw.to_dataset(name="cube")
    raw["cube"].encoding = {"_FillValue": None}
    read = open_scene(written(tmp_path / "a.nc", raw)).read((0, 0, WIDTH, HEIGHT))
    np.testing.assert_array_equal(np.isnan(read), np.isnan(small))
    assert read[1, 5, 5] == 0


def test_numbers_without_a_sign_stored_with_one(tmp_path, small):
    raw = small.round().fillna(65535) + 30_000 * (small["y"] > small["y"][30])
    raw = raw.clip(max=65535).astype("u2").astype("i2").to_dataset(name="cube")
    raw["cube"].attrs["_Unsigned"] = "true"
    path = written(tmp_path / "a.nc", raw)
    read = open_scene(path).read((0, 0, WIDTH, HEIGHT))
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        numbers = opened["cube"].to_numpy()
    assert numbers.dtype == np.uint16
    assert read[np.isfinite(read)].max() > 32767
    np.testing.assert_array_equal(read, np.where(numbers == 65535, np.nan, numbers.astype("f4")))


def test_two_values_for_nodata(tmp_path, small):
    raw = small.round().fillna(-1).astype("i2")
    raw[2, 40, 40] = -2
    raw = raw.to_dataset(name="cube")
    raw["cube"].attrs = {"_FillValue": np.int16(-1), "missing_value": np.int16(-2)}
    read = open_scene(written(tmp_path / "a.nc", raw)).read((0, 0, WIDTH, HEIGHT))
    assert np.isnan(read[2, 40, 40])
    assert np.isnan(read).sum() == np.isnan(small).sum() + 1


def test_reflectance_is_refused_on_whichever_date(tmp_path, series):
    with pytest.raises(SceneError, match=r"a\.nc: Expected digital numbers .* Multiply by 10 000"):
        open_scenes(written(tmp_path / "a.nc", series / 10_000))


# ---- the same pixels on each way


@pytest.mark.parametrize("upward", [False, True])
def test_local_and_the_command_line_give_the_same_pixels(tmp_path, series, mtf_card, upward):
    data = series.round().isel(y=slice(None, None, -1)) if upward else series.round()
    path = written(tmp_path / "cube.nc", data)
    with xr.open_dataarray(path, engine="h5netcdf") as cube:
        local = superresolve_local(cube.load(), mtf_card).sortby("y", ascending=False)
    for i in range(3):
        date = str(DATES[i])[:10]
        scene = open_scene(path, date=date)
        output = tmp_path / f"{i}.tif"
        superresolve_scene(scene, output, mtf_card, dtype="float32", threads=1)
        with rasterio.open(output) as result:
            np.testing.assert_allclose(result.read(), local[i], rtol=2e-6, atol=0.01)
            assert result.bounds.top == 4164110.0
            assert result.tags()["SOURCE"] == f"cube_{date.replace('-', '')}"


def test_the_command_line_reads_one_date(tmp_path, small, mtf_card):
    path = written(tmp_path / "cube.nc", geotrellis(small.round()))
    done = CliRunner().invoke(
        main, ["run", str(path), str(tmp_path), "--model", "cubic_mtf", "--dtype", "float32"]
    )
    assert done.exit_code == 0, done.output
    local = superresolve_local(small.round(), mtf_card)
    with rasterio.open(tmp_path / "cube_SR5M_cubic_mtf.tif") as result:
        np.testing.assert_allclose(result.read(), local, rtol=2e-6, atol=0.01)
        assert result.crs.to_epsg() == 32618


# ---- only what is needed is read


def test_windows_are_read_and_nothing_else(tmp_path, series, monkeypatch):
    scene = open_scenes(written(tmp_path / "a.nc", series))[2]
    asked = []

    def note(name, read, slices):
        asked.append((name, slices))
        return read(slices)

    def variables(file, raw, real=cdf._hdf5_variables):
        found = real(file, raw)
        for name, it in found.items():
            found[name] = replace(it, read=partial(note, name, it.read))
        return found

    monkeypatch.setattr(cdf, "_hdf5_variables", variables)
    scene.read((5, 7, 9, 4))
    large = [slices for name, slices in asked if len(slices) == 4]
    assert large == [(slice(2, 3), slice(0, 10), slice(7, 11), slice(5, 14))]


def test_an_open_scene_is_read_from_another_thread(tmp_path, small):
    scene = open_scene(written(tmp_path / "a.nc", geotrellis(small)))
    results = []
    with scene.opened(threads=2) as read:
        for _ in range(3):
            thread = threading.Thread(target=lambda: results.append(read(WINDOW)))
            thread.start()
            thread.join()
    assert len(results) == 3
    for result in results:
        np.testing.assert_array_equal(result, expected(small))


def test_xarray_may_have_the_file_open(tmp_path, small):
    path = written(tmp_path / "a.nc", small)
    with xr.open_dataarray(path, engine="h5netcdf") as cube:
        np.testing.assert_array_equal(open_scene(path).read((0, 0, WIDTH, HEIGHT)), cube)


# ---- what can't be read


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: it.drop_sel(bands="B8A"), "lacks band B8A"),
        (lambda it: it.drop_vars("bands"), "no bands on a grid"),
        (lambda it: it.drop_vars("y"), "no coordinates of y"),
        (lambda it: it.assign_coords(x=it["x"] / 1e5, y=it["y"] / 1e5), r"pixels of 0\.0001"),
        (lambda it: it.assign_coords(x=it["x"] * 2, y=it["y"] * 2), "pixels of 20"),
        (lambda it: it.assign_coords(x=it["x"] + 10 * (it["x"] > it["x"][20])), "uneven x"),
        (lambda it: it.expand_dims(level=2), "a dimension level of 2"),
        (lambda it: it.expand_dims(t=2), "no coordinates of t"),
        (lambda it: it.expand_dims(t=[1, 2]), "without units"),
        (lambda it: it.assign_attrs(crs="nowhere"), "a CRS that can't be read"),
        (lambda it: it.assign_coords(bands=["B02", *BAND_NAMES[:9]]), "several bands named B02"),
        (lambda it: it.astype(complex).real.astype("S4"), "no bands on a grid"),
    ],
)
def test_cubes_that_are_refused(tmp_path, small, change, said):
    with pytest.raises(SceneError, match=said):
        open_scenes(written(tmp_path / "a.nc", change(small)))


def test_bands_on_different_grids_are_refused(tmp_path, small):
    data = geotrellis(small)
    data["B12"] = data["B12"][:, ::2].drop_vars("x").rename(x="x2")
    with pytest.raises(SceneError, match=r"no bands|lacks band B12"):
        open_scenes(written(tmp_path / "a.nc", data))


def test_smoothly_resampled_bands_are_refused(tmp_path, small):
    smooth = small.rolling(x=3, min_periods=1).mean().rolling(y=3, min_periods=1).mean()
    with pytest.raises(SceneError, match=r"a\.nc.*resampled"):
        open_scenes(written(tmp_path / "a.nc", smooth))


def test_what_lies_in_other_files_is_refused(tmp_path, small):
    """HDF5 would read any file that a NetCDF names, as pixels."""
    (tmp_path / "secret").write_bytes(bytes(HEIGHT * WIDTH * 4))
    honest = written(tmp_path / "honest.nc", geotrellis(small))
    for kind in ("external storage", "virtual", "link", "soft link"):
        path = tmp_path / f"{kind}.nc"
        path.write_bytes(honest.read_bytes())
        with h5py.File(path, "a") as file:
            del file["B03"]
            if kind == "external storage":
                file.create_dataset(
                    "B03", (HEIGHT, WIDTH), "f4", external=[(str(tmp_path / "secret"), 0, 10**5)]
                )
            elif kind == "virtual":
                layout = h5py.VirtualLayout((HEIGHT, WIDTH), "f4")
                layout[:] = h5py.VirtualSource(str(honest), "B03", (HEIGHT, WIDTH))
                file.create_virtual_dataset("B03", layout)
            else:
                file["B03"] = (
                    h5py.SoftLink("/B04") if kind == "soft link" else h5py.ExternalLink(honest, "/B03")
                )
        with pytest.raises(SceneError, match=r"its B03 is (a link|stored in other files)"):
            open_scenes(path)


@pytest.mark.parametrize(
    ("shape", "chunks", "said"),
    [
        ((10**9, 10**9), (64, 64), "10_?00000 in a dimension"),
        ((20_000, 20_000), (20_000, 20_000), "don't fit into memory"),
    ],
)
def test_sizes_that_fit_no_memory_are_refused(tmp_path, shape, chunks, said):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file.create_dataset("B02", shape, "u2", chunks=chunks)
        for axis, size in zip("yx", shape, strict=True):
            file.create_dataset(axis, (size,), "f8", chunks=(1024,)).make_scale(axis)
            file["B02"].dims["yx".index(axis)].attach_scale(file[axis])
    with pytest.raises(SceneError, match=said):
        open_scenes(tmp_path / "a.nc")


@pytest.mark.parametrize("checksum", [False, True])
def test_chunks_may_unpack_to_their_size_and_no_more(tmp_path, monkeypatch, checksum):
    monkeypatch.setattr(cdf, "LARGEST_CHUNK", 1 << 13)
    numbers = np.random.default_rng(0).integers(0, 9, (100, 60)).astype("u2")
    with h5py.File(tmp_path / "a.nc", "w") as file:
        options = {"compression": "gzip", "shuffle": True, "fletcher32": checksum, "fillvalue": 7}
        stored = file.create_dataset("B02", (100, 90), "u2", chunks=(50, 60), **options)
        stored[:, :60] = numbers  # the chunks beyond are never written
    with cdf.opened_variables(str(tmp_path / "a.nc")) as variables:
        read = variables["B02"].read((slice(40, 100), slice(10, 90)))
    np.testing.assert_array_equal(read[:, :50], numbers[40:, 10:])
    assert (read[:, 50:] == 7).all()
    with h5py.File(tmp_path / "a.nc", "a") as file:
        file["B02"].id.write_direct_chunk((50, 0), zlib.compress(bytes(50 * 60 * 2 + 5)))
    with cdf.opened_variables(str(tmp_path / "a.nc")) as variables:
        variables["B02"].read((slice(0, 50), slice(0, 90)))
        with pytest.raises(OSError, match=r"chunk at \(50, 0\) unpacks to more than its 6000 bytes"):
            variables["B02"].read((slice(49, 51), slice(0, 1)))


def test_what_is_packed_twice_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        facts = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        facts.set_chunk((8, 8))
        facts.set_deflate(9)
        facts.set_deflate(9)
        h5py.h5d.create(file.id, b"B02", h5py.h5t.NATIVE_UINT16, h5py.h5s.create_simple((8, 8)), facts)
    with pytest.raises(SceneError, match="its B02 is packed twice"):
        open_scenes(tmp_path / "a.nc")


# ---- damage


def read_all(path):
    return np.stack([scene.read((0, 0, WIDTH, HEIGHT)) for scene in open_scenes(path)])


@pytest.mark.parametrize("form", ["NetCDF-4", "classic", "classic with records"])
@pytest.mark.parametrize("share", [0.999, 0.99, 0.9, 0.75, 0.5, 0.25, 0.1, 0.01])
def test_a_truncated_file_is_refused(tmp_path, series, form, share):
    path = tmp_path / "a.nc"
    if form == "NetCDF-4":
        written(path, geotrellis(series))
    else:
        classic(path, plain(series), records="t" if "records" in form else None)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SceneError, match=r"a\.nc can't be read"):
        read_all(path)


def test_flipped_bytes_under_a_checksum_are_never_wrong(tmp_path, small):
    packed = {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunksizes": (16, 16)}
    encoding = {name: packed | {"dtype": "i2", "_FillValue": 32767} for name in BAND_NAMES}
    path = written(tmp_path / "a.nc", geotrellis(small), encoding=encoding)
    content, right = path.read_bytes(), read_all(path)
    chunks = []
    with h5py.File(path) as file:
        for name in BAND_NAMES:
            of = file[name].id
            chunks += [of.get_chunk_info(i) for i in range(of.get_num_chunks())]
    rng = np.random.default_rng(0)
    for _ in range(40):
        chunk = chunks[rng.integers(len(chunks))]
        at = chunk.byte_offset + int(rng.integers(chunk.size))
        path.write_bytes(content[:at] + bytes([content[at] ^ int(rng.integers(1, 256))]) + content[at + 1 :])
        with pytest.raises(SceneError, match="can't be read"):
            read_all(path)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_all(path), right)


@pytest.mark.parametrize(
    "content", [b"CDF\x01", b"CDF\x02" + bytes(4), b"CDF\x05" + b"\xff" * 60, b"\x89HDF\r\n\x1a\n"]
)
def test_headers_of_nothing(tmp_path, content):
    (tmp_path / "a.nc").write_bytes(content)
    with pytest.raises(SceneError, match=r"can't be read|no bands on a grid"):
        open_scenes(tmp_path / "a.nc")


# ---- real files


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "dates", "bands", "phase"),
    [
        ("cdse_sentinel2_l2a", 12, ("B04", "B08", "B11"), (0, 0)),
        ("s2", 78, ("B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12"), (0, 1)),
        (
            "worldcereal_preprocessed_inputs",
            12,
            ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12"),
            (0, 0),
        ),
    ],
)
def test_files_of_the_real_back_end(superres_data, name, dates, bands, phase):
    path = superres_data / f"netcdf-openeo/{name}.nc"
    scenes = open_scenes(path, bands)
    assert (len(scenes), scenes[0].bands, scenes[0].crs.to_epsg()) == (dates, bands, 32631)
    assert {scene.phase for scene in scenes} == {phase}
    with xr.open_dataset(path, engine="h5netcdf") as data:
        variables = [next(v for v in data if v.endswith(band)) for band in bands]
        for i in range(0, dates, 11):
            numbers = np.stack([data[v][i].to_numpy().astype("f4") for v in variables])
            numbers[numbers == 65535] = np.nan
            np.testing.assert_array_equal(scenes[i].read((0, 0, *numbers.shape[:0:-1])), numbers)
        assert scenes[3].date == str(data["t"].to_numpy()[3])[:10]


@pytest.mark.real_data
def test_other_files_of_back_ends_say_what_they_lack(superres_data):
    folder = superres_data / "openeo-localprocessing"
    with pytest.raises(SceneError, match=r"no bands on a grid.* z \(time, level, y, x, number\)"):
        open_scenes(folder / "sample_5D.nc")
    with pytest.raises(SceneError, match="band descriptions are B02"):
        open_scenes(folder / "S2_L2A_sample.tif", ("B02",))
