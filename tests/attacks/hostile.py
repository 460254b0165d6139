"""Hostile inputs: each is made in a folder, and gives the arguments of the command line that meets it."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import onnx
import rasterio
import rasterio.shutil
from affine import Affine
from onnx import TensorProto, helper
from products import write_safe, zip_folder

from openeo_superres.sensor import BAND_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = str(Path(__file__).parents[2] / "examples" / "data")
Attack = list[str]


def _run(source: object) -> Attack:
    return ["run", str(source), str(Path(str(source)).parent / "out.tif"), "--model", "cubic_mtf"]


# ---- rasters


def _stack(path: Path) -> Path:
    profile = {"driver": "GTiff", "width": 32, "height": 32, "count": 10, "dtype": "uint16"}
    profile |= {"crs": "EPSG:32618", "transform": Affine(10, 0, 435740, 0, -10, 4165120)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.full((10, 32, 32), 1000, np.uint16))
        file.descriptions = BAND_NAMES
    return path


def vrt_named_tif(folder: Path) -> Attack:
    """Reads another file."""
    rasterio.shutil.copy(_stack(folder / "secret.tif"), folder / "a.vrt", driver="VRT")
    return _run((folder / "a.vrt").rename(folder / "a.tif"))


def vrt_named_jp2(folder: Path) -> Attack:
    """In a folder of bands."""
    secret = _stack(folder / "secret.dat")
    (folder / "bands").mkdir()
    for name in BAND_NAMES:
        rasterio.shutil.copy(secret, folder / "bands" / f"s2_{name}.jp2", driver="VRT")
    return _run(folder / "bands")


def vrt_of_an_address(folder: Path) -> Attack:
    """Asks a server."""
    band = "<SourceFilename>/vsicurl/http://127.0.0.1:9/a.tif</SourceFilename>"
    (folder / "a.tif").write_text(
        f'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"{band}</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return _run(folder / "a.tif")


def _tiff(path: Path, *, width: int, height: int, bands: int, tile: int) -> Path:
    """A TIFF that is a header alone, with the names of bands."""
    names = "".join(
        f'<Item name="DESCRIPTION" sample="{i}" role="description">{name}</Item>'
        for i, name in enumerate(BAND_NAMES)
    )
    text = f"<GDALMetadata>{names}</GDALMetadata>".encode() + b"\0"
    scale, tie = struct.pack("<3d", 10, 10, 0), struct.pack("<6d", 0, 0, 0, 435740, 4165120, 0)
    keys = struct.pack("<16H", 1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32618)
    tiles = max(-(-width // tile) * -(-height // tile) * bands % 2**32, 1)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 16),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (277, 3, 1, bands),
        (284, 3, 1, 2),
        (322, 4, 1, tile),
        (323, 4, 1, tile),
        (324, 4, tiles, 8),
        (325, 4, tiles, 8),
        (339, 3, 1, 1),
    ]
    at = 8 + 2 + 12 * (len(entries) + 4) + 4
    body = b""
    for tag, kind, count, content in (
        (33550, 12, 3, scale),
        (33922, 12, 6, tie),
        (34735, 3, 16, keys),
        (42112, 2, len(text), text),
    ):
        entries.append((tag, kind, count, at + len(body)))
        body += content
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + body)
    return path


def tiff_of_10_9_pixels_a_side(folder: Path) -> Attack:
    return _run(_tiff(folder / "a.tif", width=10**9, height=10**9, bands=10, tile=256))


def tiff_in_one_tile(folder: Path) -> Attack:
    return _run(_tiff(folder / "a.tif", width=2 * 10**9, height=2 * 10**9, bands=10, tile=2 * 10**9))


def tiff_of_65535_bands(folder: Path) -> Attack:
    return _run(_tiff(folder / "a.tif", width=64, height=64, bands=65535, tile=64))


def jp2_of_2_31_pixels_a_side(folder: Path) -> Attack:
    """One tile of ten components, as its header says."""
    size = 2**31 - 1
    siz = (
        struct.pack(">HIIIIIIII", 0, size, size, 0, 0, size, size, 0, 0) + struct.pack(">H", 1) + b"\x0f\1\1"
    )
    stream = b"\xff\x4f\xff\x51" + struct.pack(">H", len(siz) + 2) + siz
    stream += b"\xff\x52\x00\x0c\0\0\0\1\0\0\4\4\0\1" + b"\xff\x5c\x00\x04\x40\x40"
    stream += b"\xff\x90\x00\x0a\0\0\0\0\0\0\0\1\xff\x93\xff\xd9"
    for name in BAND_NAMES:
        (folder / f"s2_{name}.jp2").write_bytes(stream)
    return _run(folder)


# ---- archives and metadata


def _rewritten(safe: Path, before: str, after: str) -> Path:
    metadata = next(safe.glob("MTD_MSI*.xml"))
    text = metadata.read_text()
    assert before in text
    metadata.write_text(text.replace(before, after))
    return safe


def _safe(folder: Path) -> Path:
    return write_safe(folder, size=12)


def zip_bomb(folder: Path) -> Attack:
    """Metadata of 4 GB in 4 MB."""
    name = _safe(folder).name
    path = folder / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{name}/MTD_MSIL1C.xml", "w", force_zip64=True) as member,
    ):
        for _ in range(1 << 8):
            member.write(bytes(1 << 20))
    return _run(path)


def zip_with_members_above(folder: Path) -> Attack:
    path = folder / "above.zip"
    safe = _safe(folder)
    with zipfile.ZipFile(path, "w") as archive:
        for file in safe.rglob("*"):
            if file.is_file():
                archive.write(file, f"../../{safe.name}/{file.relative_to(safe)}")
    return _run(path)


def zip_of_20_000_names(folder: Path) -> Attack:
    path = folder / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(20_000):
            archive.writestr(f"a/{i}", b"")
    return _run(path)


def entity_bomb(folder: Path) -> Attack:
    lines = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "lol" * 99}">' for i in range(12))
    safe = _rewritten(_safe(folder), "?>\n", f"?>\n<!DOCTYPE a [{lines}]>\n")
    return _run(_rewritten(safe, "SAFE_COMPACT", "&a11;"))


def external_entity(folder: Path) -> Attack:
    doctype = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    safe = _rewritten(_safe(folder), "?>\n", f"?>\n{doctype}\n")
    return _run(_rewritten(safe, "SAFE_COMPACT", "&x;"))


def entity_bomb_in_utf_16(folder: Path) -> Attack:
    entity_bomb(folder)
    metadata = next(folder.glob("*.SAFE/MTD_MSI*.xml"))
    text = metadata.read_text().replace("UTF-8", "UTF-16")
    metadata.write_bytes(text.encode("utf-16"))
    return _run(metadata.parent)


def _safe_pointing(folder: Path, path: str) -> Attack:
    (folder / "secret.jp2").write_bytes(b"secret")
    safe = _safe(folder)
    text = next(safe.glob("MTD_MSI*.xml")).read_text()
    image = next(line for line in text.split("<IMAGE_FILE>") if "_B02<" in line).split("<")[0]
    return _run(_rewritten(safe, f">{image}<", f">{path}<"))


def safe_pointing_above(folder: Path) -> Attack:
    return _safe_pointing(folder, "GRANULE/x/../../../../../../../../etc/B02/passwd_B02")


def safe_pointing_to_an_absolute_path(folder: Path) -> Attack:
    return _safe_pointing(folder, "/etc/x/passwd_B02")


def safe_pointing_to_an_address(folder: Path) -> Attack:
    return _safe_pointing(folder, "/vsicurl/http://127.0.0.1:9/x_B02")


def safe_zip_pointing_above(folder: Path) -> Attack:
    _safe_pointing(folder, "GRANULE/x/../../../../etc/passwd_B02")
    return _run(zip_folder(next(folder.glob("*.SAFE"))))


def _item(folder: Path, href: str) -> Attack:
    assets = {name: {"href": href, "type": "image/tiff", "eo:bands": [{"name": name}]} for name in BAND_NAMES}
    properties = {
        "datetime": "2026-06-01T10:00:29Z",
        "constellation": "sentinel-2",
        "platform": "sentinel-2a",
    }
    properties |= {"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "S2A_MSIL2A_x", "collection": "sentinel-2-l2a"}
    item |= {"properties": properties, "assets": assets, "links": [], "geometry": None}
    (folder / "item.json").write_text(json.dumps(item))
    return _run(folder / "item.json")


def stac_href_of_a_file(folder: Path) -> Attack:
    return _item(folder, "file:///etc/passwd")


def stac_href_of_gdal(folder: Path) -> Attack:
    return _item(folder, "/vsicurl?url=http%3A%2F%2F127.0.0.1%3A9%2Fa.tif")


def stac_href_of_stdin(folder: Path) -> Attack:
    return _item(folder, "/vsistdin/a.tif")


def stac_href_of_a_vrt(folder: Path) -> Attack:
    return _item(folder, "vrt:///etc/passwd?bands=1")


def stac_href_of_a_script(folder: Path) -> Attack:
    return _item(folder, "javascript:alert(1).tif")


def stac_of_nested_lists(folder: Path) -> Attack:
    (folder / "item.json").write_text("[" * 500_000)
    return _run(folder / "item.json")


# ---- models


def _model(folder: Path, model: onnx.ModelProto) -> Attack:
    facts = {"name": "evil", "scale": "2", "margin": "8", "bands": ",".join(BAND_NAMES)}
    helper.set_model_props(model, facts | {"fill": ",".join(["1000"] * 10)})
    content = model.SerializeToString()
    (folder / "evil.onnx").write_bytes(content)
    card = {
        "id": "evil",
        "properties": {
            "superres:scale": 2,
            "superres:margin": 8,
            "mlm:total_parameters": 0,
            "mlm:input": [{"bands": [{"name": band} for band in BAND_NAMES]}],
        },
        "assets": {
            "model": {
                "href": "./evil.onnx",
                "file:checksum": "1220" + hashlib.sha256(content).hexdigest(),
            }
        },
    }
    (folder / "evil.json").write_text(json.dumps(card))
    window = ["--window", "0", "0", "16", "16"]
    return ["run", SAMPLE, str(folder / "out.tif"), "--model", str(folder / "evil.json"), *window]


def _graph(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 10, None, None])
        for name in ("input", "output")
    ]
    graph = helper.make_graph(nodes, "evil", ends[:1], ends[1:], constants)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _external(location: str) -> onnx.ModelProto:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[10])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    return _graph([helper.make_node("Add", ["input", "w"], ["output"])], [weights])


def onnx_with_external_data(folder: Path) -> Attack:
    return _model(folder, _external("/etc/passwd"))


def onnx_with_linked_external_data(folder: Path) -> Attack:
    (folder / "secret").write_bytes(bytes(40))
    os.link(folder / "secret", folder / "weights.bin")
    return _model(folder, _external("weights.bin"))


def _blocks() -> onnx.ModelProto:
    return _graph([helper.make_node("DepthToSpace", ["input"], ["output"], blocksize=2**31)], [])


def onnx_with_a_huge_block(folder: Path) -> Attack:
    return _model(folder, _blocks())


def _adopted(folder: Path, model: onnx.ModelProto) -> Attack:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    lines = ["model: m.onnx", f"bands: [{', '.join(BAND_NAMES)}]", "factor: 2", "margin: 8"]
    (folder / "m.yaml").write_text("\n".join(lines))
    return ["adopt", str(folder / "m.yaml"), "-o", str(folder / "out")]


def adopting_a_huge_block(folder: Path) -> Attack:
    return _adopted(folder, _blocks())


def adopting_external_data(folder: Path) -> Attack:
    return _adopted(folder, _external("/etc/passwd"))


def adopting_a_negative_size(folder: Path) -> Attack:
    model = _graph([helper.make_node("Slice", ["input", "a", "a", "a"], ["output"])], [])
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -1
    return _adopted(folder, model)


def adopting_a_yaml_bomb(folder: Path) -> Attack:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (folder / "m.yaml").write_text("\n".join(lines))
    return ["adopt", str(folder / "m.yaml"), "-o", str(folder / "out")]


# ---- NetCDF


def _netcdf(path: Path, size: int, **options: object) -> Path:
    with h5py.File(path, "w") as file:
        for name in BAND_NAMES:
            file.create_dataset(name, (size, size), "u2", **options)
        for axis in "yx":
            file.create_dataset(axis, (size,), "f8", chunks=(1024,) if size > 1024 else None).make_scale(axis)
            for name in BAND_NAMES:
                file[name].dims["yx".index(axis)].attach_scale(file[axis])
    return path


def netcdf_of_10_9_pixels_a_side(folder: Path) -> Attack:
    return _run(_netcdf(folder / "a.nc", 10**9, chunks=(64, 64)))


def netcdf_in_one_chunk(folder: Path) -> Attack:
    return _run(_netcdf(folder / "a.nc", 40_000, chunks=(40_000, 40_000)))


def netcdf_of_another_file(folder: Path) -> Attack:
    return _run(_netcdf(folder / "a.nc", 32, external=[("/etc/passwd", 0, 2048)]))


def netcdf_bomb_in_a_chunk(folder: Path) -> Attack:
    """A gigabyte that is packed as 512 bytes."""
    path = _netcdf(folder / "a.nc", 16, chunks=(16, 16), compression="gzip")
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 10)) + packer.flush()
    with h5py.File(path, "a") as file:
        file["x"][:], file["y"][:] = 435745 + 10.0 * np.arange(16), 4165115 - 10.0 * np.arange(16)
        file["B02"].id.write_direct_chunk((0, 0), packed)
    return _run(path)


def classic_netcdf_of_2_32_dimensions(folder: Path) -> Attack:
    (folder / "a.nc").write_bytes(b"CDF\1" + bytes(4) + struct.pack(">II", 10, 2**32 - 1) + bytes(100))
    return _run(folder / "a.nc")


# ---- names and kinds of files


def symlink_to_itself(folder: Path) -> Attack:
    (folder / "a.tif").symlink_to(folder / "a.tif")
    return _run(folder / "a.tif")


def folder_in_itself(folder: Path) -> Attack:
    (folder / "a").mkdir()
    (folder / "a" / "a.SAFE").symlink_to(folder / "a")
    return _run(folder / "a")


def pipe(folder: Path) -> Attack:
    os.mkfifo(folder / "a.tif")
    return _run(folder / "a.tif")


def pipes_in_a_folder(folder: Path) -> Attack:
    (folder / "a").mkdir()
    for name in (*(f"s2_{band}.tif" for band in BAND_NAMES), "MTD_MSIL2A.xml", "a.json", "manifest.safe"):
        os.mkfifo(folder / "a" / name)
    return _run(folder / "a")


def pipe_named_zip_in_a_folder(folder: Path) -> Attack:
    (folder / "a").mkdir()
    os.mkfifo(folder / "a" / "S2A_MSIL2A.zip")
    return ["run", str(folder / "a"), str(folder), "--model", "cubic_mtf"]


def pipe_named_nc_in_a_folder(folder: Path) -> Attack:
    (folder / "a").mkdir()
    os.mkfifo(folder / "a" / "cube.nc")
    return ["run", str(folder / "a"), str(folder), "--model", "cubic_mtf"]


def pipe_for_a_model(folder: Path) -> Attack:
    os.mkfifo(folder / "m.json")
    return ["run", SAMPLE, str(folder / "out.tif"), "--model", str(folder / "m.json")]


def pipe_for_weights(folder: Path) -> Attack:
    arguments = _model(folder, _blocks())
    (folder / "evil.onnx").unlink()
    os.mkfifo(folder / "evil.onnx")
    return arguments


def pipe_for_a_description(folder: Path) -> Attack:
    os.mkfifo(folder / "m.yaml")
    return ["adopt", str(folder / "m.yaml"), "-o", str(folder / "out")]


def _area(folder: Path, area: Path) -> Attack:
    return ["run", SAMPLE, str(folder / "out.tif"), "--model", "cubic_mtf", "--area", str(area)]


def pipe_for_an_area(folder: Path) -> Attack:
    os.mkfifo(folder / "a.geojson")
    return _area(folder, folder / "a.geojson")


def area_of_nested_lists(folder: Path) -> Attack:
    text = '{"type": "Polygon", "coordinates": ' + "[" * 500_000
    (folder / "a.geojson").write_text(text)
    return _area(folder, folder / "a.geojson")


def terabyte_of_an_area(folder: Path) -> Attack:
    _holes(folder / "a.geojson", b"{")
    return _area(folder, folder / "a.geojson")


def endless_device(folder: Path) -> Attack:
    (folder / "a.tif").symlink_to("/dev/zero")
    return ["run", str(folder / "a.tif"), str(folder / "out.tif")]


def endless_device_for_weights(folder: Path) -> Attack:
    arguments = _model(folder, _blocks())
    (folder / "evil.onnx").unlink()
    (folder / "evil.onnx").symlink_to("/dev/zero")
    return arguments


def _holes(path: Path, start: bytes) -> Attack:
    """A terabyte of zeros, none of them on the disk."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(1 << 40)
    return _run(path)


def terabyte_of_json(folder: Path) -> Attack:
    return _holes(folder / "a.json", b'{"stac_version": "1.0.0", "a": "')


def terabyte_of_a_card(folder: Path) -> Attack:
    _holes(folder / "m.json", b"{")
    return ["run", SAMPLE, str(folder / "out.tif"), "--model", str(folder / "m.json")]


def terabyte_of_weights(folder: Path) -> Attack:
    arguments = _model(folder, _blocks())
    _holes(folder / "evil.onnx", b"")
    return arguments


def terabyte_of_netcdf(folder: Path) -> Attack:
    return _holes(folder / "a.nc", b"CDF\2")


def terabyte_of_zip(folder: Path) -> Attack:
    return _holes(folder / "a.zip", b"PK\3\4")


def terabyte_of_xml(folder: Path) -> Attack:
    safe = _safe(folder)
    _holes(next(safe.glob("MTD_MSI*.xml")), b"<a>")
    return _run(safe)


def control_characters_in_a_name(folder: Path) -> Attack:
    """They would clear a terminal, and write a line of their own."""
    path = folder / "a\x1b[2J\x1b]0;title\x07\nError: all is well\r.tif"
    path.write_bytes(b"no raster")
    return _run(path)


def control_characters_in_bands(folder: Path) -> Attack:
    path = _stack(folder / "a.tif")
    with rasterio.open(path, "r+", driver="GTiff") as file:
        file.descriptions = [f"B02\x1b[2J\n{i}" for i in range(10)]
    return _run(path)


def control_characters_in_a_crs(folder: Path) -> Attack:
    return ["run", SAMPLE, str(folder / "o.tif"), "--bbox", "0", "0", "1", "1", "--crs", "EPSG:\x1b[2J\n1"]


ATTACKS: dict[str, Callable[[Path], Attack]] = {
    function.__name__: function
    for function in list(vars().values())
    if callable(function)
    and getattr(function, "__module__", "") == __name__
    and not function.__name__.startswith("_")
}
