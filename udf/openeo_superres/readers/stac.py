"""Scenes in STAC items of Sentinel-2 L1C and L2A: which assets hold the bands, and what their numbers mean.

Since processing baseline 04.00, products hold reflectance * 10000 + 1000. Archives took the 1000 off, or not,
and their items say so in several ways, at times wrongly. The first row that fits decides:

============================================  =======================  ==================================
flag ``*:boa_offset_applied``                 baseline                 offset that is added to reflectance
============================================  =======================  ==================================
true                                          any                      0, whatever ``raster:offset`` says
false                                         04.00 and later          -0.1
any, with ``raster:offset`` or a file's tag   any                      what that says
any, with nothing else                        before 04.00             0
absent, with nothing else                     04.00 and later          -0.1, with a warning
any, with nothing else                        not known                refused
============================================  =======================  ==================================

The flag speaks of copies: of assets whose keys end in "-jp2" beside them, ESA's own files, it says nothing.
Items of Earth Search have ``raster:offset`` -0.1 beside a flag that is true and right (cirrus-earth-search,
issue 33; Element84/earth-search, issues 9, 24, 56, 66). Pixels that contradict the decision are warned of.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from openeo_superres.errors import SceneError, UnknownSceneError
from openeo_superres.grid import Scene, assemble
from openeo_superres.sensor import BANDS, REFLECTANCE_SCALE

from .asset import REMOTE, choose, image_assets
from .offset import check_offset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openeo_superres.bandfile import Raster

    from .asset import Asset

LARGEST = 16 << 20
"""Bytes of the largest item that is read; real ones have 100 KiB at most."""
TIMEOUT = 30
"""Seconds that a server may be silent."""
FLAGS = tuple(f"{prefix}:boa_offset_applied" for prefix in ("sentinel", "sentinel2", "earthsearch"))
RAISED_SINCE, OFFSET = "04.00", -0.1


def read_stac(source: Path | str, bands: Sequence[str]) -> list[Scene]:
    """A STAC item: see :data:`openeo_superres.scene.RECOGNISERS`.

    Of a band's assets, that at its own resolution is read, and a Cloud Optimised GeoTIFF rather than a
    JPEG 2000 file. Hrefs may be paths, relative to the item or not, or addresses: http(s) is read through
    GDAL's /vsicurl/, s3 through /vsis3/, which takes the account from the environment (AWS_ACCESS_KEY_ID and
    so on). SCL is a mask of the scene.

    Args:
        source: Path of its JSON, or of a folder that holds it under the folder's name; or its address.
        bands: Those that are needed.

    Raises:
        SceneError: If it is no item of Sentinel-2 L1C or L2A, lacks a band, can't be read, or does not tell
            what its numbers mean.
    """
    address = _address(source)
    if address is None:
        return []
    item = _load(address)
    properties = item["properties"]
    assets, baseline = [*image_assets(item["assets"], address)], _baseline(item)
    rasters, assumed = [], []
    for band in (band for band in BANDS if band.name in bands):
        if asset := choose([asset for asset in assets if asset.band == band.name], band.resolution):
            raster = asset.inspect()
            offset = _offset(asset, raster, _flag(properties, address), baseline)
            if offset is None:
                offset = OFFSET
                assumed.append(band.name)
            rasters.append(_meaning(asset, raster, band.name, offset))
    if assumed:
        _assume(address, assumed, baseline)
    scene = assemble(
        "STAC item",
        address,
        rasters,
        bands,
        name=re.sub(r"[^\w.-]+", "_", item["id"]),
        masks=_masks(assets),
        level=_level(item),
        baseline=baseline,
        date=_date(properties),
    )
    # over the network two bands must do: haze brightens the first, snow is dark in the last
    ends = {file.band: file for file in (scene.files[0], scene.files[-1])}
    is_remote = scene.files[0].path.startswith("/vsi")
    checked = replace(scene, files=tuple(ends.values())) if is_remote else scene
    check_offset(checked, raised=any(file.offset for file in checked.files))
    return [scene]


def _address(source: Path | str) -> str | None:
    """Path or address of an item; None if it is no such thing."""
    if str(source).startswith(REMOTE):
        return str(source)
    path = Path(source)
    if path.is_dir():
        # bands beside their item must not be read without what it says of their offset
        path /= f"{path.name}.json"
        return str(path) if path.is_file() and b'"stac_version"' in _read(str(path)) else None
    return str(path) if path.suffix.lower() in {".json", ".geojson"} else None


def _read(address: str) -> bytes:
    try:
        if address.startswith(REMOTE):
            request = Request(address, headers={"User-Agent": "openeo-superres"})  # noqa: S310  (http or https)
            with urlopen(request, timeout=TIMEOUT) as stream:  # noqa: S310
                content: bytes = stream.read(LARGEST + 1)
        else:
            with Path(address).open("rb") as stream:
                content = stream.read(LARGEST + 1)
    except (OSError, HTTPException, ValueError) as error:
        raise SceneError(f"{address} can't be read ({error}); expected a STAC item.") from error
    if len(content) > LARGEST:
        raise SceneError(f"{address} has more than {LARGEST >> 20} MiB; expected a STAC item.")
    return content


def _load(address: str) -> dict[str, Any]:
    """An item of Sentinel-2, with an id, properties and assets."""
    content = _read(address)
    try:
        item = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{address} is no JSON ({error}); expected a STAC item.") from error
    item = item if isinstance(item, dict) else {}
    typed = {"properties": dict, "assets": dict, "id": str, "stac_version": str}
    if item.get("type") != "Feature" or not all(
        isinstance(item.get(key), kind) for key, kind in typed.items()
    ):
        found = item.get("type") or "something else"
        raise UnknownSceneError(f"{address} holds no STAC item, but {found}; expected one item (a Feature).")
    properties = item["properties"]
    texts = [properties.get("platform"), properties.get("constellation"), item.get("collection"), item["id"]]
    if not any(re.match(r"(?i)sentinel[-_ ]?2|s2[a-d]?(_|-|$)", str(text)) for text in texts):
        raise UnknownSceneError(
            f"{address} is of {texts[0] or texts[2] or 'an unknown mission'}; expected an item of Sentinel-2."
        )
    return item


def _flag(properties: dict[str, Any], address: str) -> bool | None:
    """Whether the numbers are said to have had their 1000 taken off."""
    values = [properties[name] for name in FLAGS if properties.get(name) is not None]
    if not all(isinstance(value, bool) for value in values) or len({*values}) > 1:
        raise SceneError(f"{address} says {values} for *:boa_offset_applied; expected true or false.")
    return values[0] if values else None


def _baseline(item: dict[str, Any]) -> str | None:
    """Such as "05.09", as the properties say it, or ESA's name of the product (..._N0509_...)."""
    properties = item["properties"]
    for key in ("s2:processing_baseline", "sentinel2:processing_baseline", "sentinel:processing_baseline"):
        if re.fullmatch(r"\d{1,2}\.\d\d", text := str(properties.get(key))):
            return text.zfill(5)
    # of other processors than ESA's, the version is such as "4.0"
    if re.fullmatch(r"\d\d\.\d\d", text := str(properties.get("processing:version"))):
        return text
    for name in (properties.get("s2:product_uri"), properties.get("sentinel:product_id"), item["id"]):
        if match := re.match(r"S2[A-D]_MSIL(?:1C|2A)_\w+?_N(\d\d)(\d\d)_", str(name)):
            return f"{match[1]}.{match[2]}"
    return None


def _level(item: dict[str, Any]) -> str | None:
    keys = ("s2:product_type", "product:type", "processing:level")
    for text in (*(item["properties"].get(key) for key in keys), item.get("collection"), item["id"]):
        if match := re.search(r"(?i)(?:L|MSI)(1C|2A)(?![a-z0-9])", str(text)):
            return f"L{match[1].upper()}"
    return None


def _date(properties: dict[str, Any]) -> str | None:
    try:
        date = datetime.fromisoformat(str(properties.get("datetime") or properties.get("start_datetime")))
    except ValueError:
        return None
    return (date.astimezone(UTC) if date.tzinfo else date).replace(tzinfo=None).isoformat(timespec="seconds")


def _masks(assets: Sequence[Asset]) -> dict[str, Raster]:
    asset = choose([asset for asset in assets if re.fullmatch(r"(?i)scl(_\d0m)?(-jp2)?", asset.key)], 20)
    # of files that were copied, SCL may have been left out
    if asset is None or not (asset.is_remote or Path(asset.location).exists()):
        return {}
    return {"SCL": asset.inspect()}


def _offset(asset: Asset, raster: Raster, applied: bool | None, baseline: str | None) -> float | None:  # noqa: FBT001
    """What is added to reflectance; None where nothing but the baseline tells: see the module's table."""
    of_copy = None if asset.key.endswith("-jp2") else applied
    if of_copy:
        return 0.0
    if of_copy is False and baseline and baseline >= RAISED_SINCE:
        return OFFSET
    if (stated := asset.stated("offset")) is not None:
        return stated
    if (raster.scales[0], raster.offsets[0]) != (1.0, 0.0):
        return raster.offsets[0]
    return 0.0 if baseline and baseline < RAISED_SINCE else None


def _meaning(asset: Asset, raster: Raster, band: str, offset: float) -> Raster:
    scale, nodata, count = asset.stated("scale"), asset.stated("nodata"), len(raster.dtypes)
    return replace(
        raster,
        bands={band: 0},
        nodata=raster.nodata if nodata is None else (nodata,) * count,
        scales=(1 / REFLECTANCE_SCALE if scale is None else scale,) * count,
        offsets=(offset,) * count,
    )


def _assume(address: str, bands: Sequence[str], baseline: str | None) -> None:
    """Say what was decided where nothing but the baseline tells the offset.

    Raises:
        SceneError: If the baseline is not known.
    """
    if baseline is None:
        raise SceneError(
            f"{address} says neither raster:offset, nor {FLAGS[-1]}, nor s2:processing_baseline: it is not "
            f"known whether 1000 is to be taken off its numbers. Add raster:offset, 0 or {OFFSET}."
        )
    warnings.warn(
        f"{address} does not say whether 1000 was taken off its numbers. Baseline {baseline} has it in them, "
        f"so it is taken off here ({', '.join(bands)}); if it was before, add raster:offset 0 to the assets.",
        stacklevel=3,
    )
