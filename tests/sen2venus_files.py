"""SEN2VENµS in small, in the exact layout of its two versions, out of any images."""

from __future__ import annotations

import csv
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import torch
from rasterio import Affine
from rasterio.io import MemoryFile

from openeo_superres.sensor import BANDS_10M, BANDS_20M, degrade

if TYPE_CHECKING:
    from pathlib import Path

Images = tuple[np.ndarray, np.ndarray, np.ndarray]
TILE, DATE = "31TCJ", "2019-05-01"


def as_fine(x10: np.ndarray, x20: np.ndarray, edge: int, step: int) -> list[Images]:
    """Real Sentinel-2 as if its pixels of 20 m were 5 m: all ten bands on one grid, then degraded to patches.

    Args:
        x10: ``(4, y, x)`` float32 DN.
        x20: ``(6, y / 2, x / 2)`` float32 DN.
        edge: Of the patches, in "5 m" pixels.
        step: From a patch to the next, in the same.
    """
    x05 = np.concatenate([degrade(x10, BANDS_10M, 2), x20[:4]])
    low10 = degrade(x05[:4], BANDS_10M, 2)
    low20 = degrade(x20, BANDS_20M, 4)
    corners = [
        (row, column)
        for row in range(0, x05.shape[1] - edge + 1, step)
        for column in range(0, x05.shape[2] - edge + 1, step)
    ]
    return [
        tuple(
            image[:, row // f : (row + edge) // f, column // f : (column + edge) // f]
            .round()
            .astype(np.int16)
            for image, f in ((x05, 1), (low10, 2), (low20, 4))
        )
        for row, column in corners
    ]


def write_version_1(root: Path, sites: dict[str, list[Images]]) -> None:
    """A row and four tensors per pair of acquisitions; no B11 and B12."""
    for site, images in sites.items():
        folder = root / site
        folder.mkdir(parents=True)
        x05, x10, x20 = (np.stack(parts) for parts in zip(*images, strict=True))
        tensors = {
            "05m_b2b3b4b8": x05[:, :4],
            "10m_b2b3b4b8": x10,
            "05m_b4b5b6b8a": x05[:, 4:],
            "20m_b4b5b6b8a": x20[:, :4],
        }
        stem = f"{site}_{TILE}_{DATE}"
        for name, values in tensors.items():
            torch.save(torch.from_numpy(values.copy()), folder / f"{stem}_{name}.pt")
        row = {
            "venus_product_id": f"VENUS-XS_20190501-110000-000_L2A_{site}_D_V2-2",
            "sentinel2_product_id": f"SENTINEL2B_20190501-110000-000_L2A_T{TILE}_D_V2-2",
            "tensor_05m_b2b3b4b8": f"{stem}_05m_b2b3b4b8.pt",
            "tensor_10m_b2b3b4b8": f"{stem}_10m_b2b3b4b8.pt",
            "tensor_05m_b5b6b7b8a": f"{stem}_05m_b4b5b6b8a.pt",
            "tensor_20m_b5b6b7b8a": f"{stem}_20m_b4b5b6b8a.pt",
            "s2_tile": TILE,
            "vns_site": site,
            "date": DATE,
            "venus_zenith_angle": "17.8",
            "patches_gpkg": f"{stem}_patches.gpkg",
            "nb_patches": len(images),
        }
        write_index(folder / "index.csv", [row])


def write_version_2(root: Path, sites: dict[str, list[Images]]) -> None:
    """A row per patch; a zip file of GeoTIFFs per pair of acquisitions and category."""
    for site, images in sites.items():
        folder = root / site
        folder.mkdir(parents=True)
        rows = []
        for number, (x05, x10, x20) in enumerate(images):
            parts = {
                ("b2b3b4b8", 5): x05[:4],
                ("b5b6b7b8a", 5): x05[4:],
                ("b2b3b4b8", 10): x10,
                ("b5b6b7b8a", 20): x20[:4],
                ("b11b12", 20): x20[4:],
            }
            row = {"": number}
            for (bands, pixel), values in parts.items():
                category = f"{bands}_{pixel:02}m"
                archive = f"{site}_{DATE}_{TILE}_{category}.zip"
                member = f"{site}_{number}_{DATE}_{TILE}_{category}.tif"
                with zipfile.ZipFile(folder / archive, "a", zipfile.ZIP_DEFLATED) as file:
                    file.writestr(member, geotiff(values, pixel))
                row[category] = f"{archive}/{member}"
            rows.append(row)
        write_index(folder / "index.csv", rows)


def geotiff(values: np.ndarray, pixel: int) -> bytes:
    bands, height, width = values.shape
    profile = {
        "driver": "GTiff",
        "dtype": "int16",
        "count": bands,
        "height": height,
        "width": width,
        "crs": "EPSG:32631",
        "transform": Affine(pixel, 0, 435_000, 0, -pixel, 4_165_000),
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(values)
        return memory.read()


def write_index(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


WRITERS = {"1": write_version_1, "2.0.0": write_version_2}
