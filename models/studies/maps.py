"""Two maps that people make of Sentinel-2, water and field boundaries, and how much of the truth one has.

Images are ``(4 or 10, y, x)`` DN, bands in the order of :data:`openeo_superres.sensor.BANDS`; maps are
``(y, x)`` bool. Both pipelines are the textbook's, with the libraries' own parameters: nothing was tuned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.feature import canny
from skimage.measure import label

from openeo_superres.evaluate.indices import index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from openeo_superres.evaluate import Image

    from .blocks import Counts, Scores

    Map = NDArray[np.bool_]

SIZES = ((1, 4), (5, 16), (17, 64), (65, None))
"""Classes of water bodies: smallest and largest number of 10 m pixels."""
CLASSES = tuple(f"{low}-{high}" if high else f"{low}+" for low, high in SIZES)
FOUND = 0.5
"""Share of a body's pixels that must be water in the other map, for the body to count as found."""
REACH = 2
"""Pixels around a body that are counted as its own in the other map; and around water, where no field is."""
AROUND = np.ones((3, 3), bool)
"""A pixel and its eight neighbours."""
TOLERANCES = (0, 1)
"""Of boundaries, in pixels."""


def ratio(name: str, image: Image) -> Image:
    """An index of :data:`openeo_superres.evaluate.indices.INDICES`, 0 where it has no value."""
    return np.nan_to_num(index(name, image))


def water(image: Image) -> Map:
    """Water: NDWI above 0 (McFeeters, 1996, with the threshold that he gives)."""
    return ratio("NDWI", image) > 0


def boundaries(image: Image) -> Map:
    """Edges of NDVI, one pixel wide: Canny (1986) with the parameters of scikit-image."""
    edges: Map = canny(ratio("NDVI", image))
    return edges


def water_counts(found: Map, truth: Map, block: NDArray[np.intp]) -> Counts:
    """Per block, what :func:`water_scores` are made of.

    A true body (eight neighbours) belongs to the block of its centre, and is found if :data:`FOUND` of its
    pixels are water. A body is invented if none of its pixels is water in truth. Water of the map belongs to
    the true body that is nearest, if it lies within :data:`REACH` pixels.

    Args:
        found: The map to judge.
        truth: The true map.
        block: Number of each pixel's block, see :func:`.blocks.block_index`.
    """
    blocks = block.max() + 1

    def pixels(mask: Map) -> NDArray[np.float64]:
        return np.bincount(block[mask], minlength=blocks).astype(float)

    counts = {"both": pixels(found & truth), "more": pixels(found & ~truth), "less": pixels(truth & ~found)}
    bodies, sizes, where = _bodies(truth, block)
    hit = np.bincount(bodies[found], minlength=len(sizes) + 1)[1:] >= FOUND * sizes
    distance, nearest = ndimage.distance_transform_edt(~truth, return_indices=True)
    owner = np.where(distance <= REACH, bodies[tuple(nearest)], 0)
    area = np.bincount(owner[found], minlength=len(sizes) + 1)[1:]
    others, other_sizes, other_where = _bodies(found, block)
    invented = np.bincount(others[truth], minlength=len(other_sizes) + 1)[1:] == 0
    for name, own, theirs in zip(CLASSES, _classes(sizes), _classes(other_sizes), strict=True):
        for kind, chosen, place, value in (
            ("bodies", own, where, np.ones(len(sizes))),
            ("found", own & hit, where, np.ones(len(sizes))),
            ("size", own, where, sizes),
            ("area", own, where, area),
            ("missed", own, where, np.abs(area - sizes)),
            ("seen", theirs, other_where, np.ones(len(other_sizes))),
            ("invented", theirs & invented, other_where, np.ones(len(other_sizes))),
        ):
            counts[f"{kind} {name}"] = np.bincount(place[chosen], value[chosen], blocks)
    return counts


def _bodies(
    mask: Map, block: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Water bodies: their numbers ``(y, x)``, 0 for land; of each its size and the block of its centre."""
    bodies = label(mask, connectivity=2)
    sizes = np.bincount(bodies.ravel())[1:]
    rows, columns = np.indices(mask.shape)
    centre = tuple(
        (np.bincount(bodies.ravel(), axis.ravel())[1:] / sizes).round().astype(int)
        for axis in (rows, columns)
    )
    return bodies, sizes, block[centre]


def _classes(sizes: NDArray[np.intp]) -> list[Map]:
    """For each class of size, which bodies are of it."""
    return [(sizes >= low) & (sizes <= (high or np.inf)) for low, high in SIZES]


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """``part / whole``, NaN where there is no whole."""
    share: NDArray[np.float64] = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)
    return share


def water_scores(sums: Counts) -> Scores:
    """Scores of a water map.

    ``iou`` and ``f1`` over pixels, ``area`` the error of the whole area. Per class of size: ``found``, share
    of true bodies; ``invented``, share of the map's bodies; ``area`` and ``error``, the error of the area of
    true bodies, summed with and without its sign, as a share of their area.
    """
    both, more, less = (sums[name] for name in ("both", "more", "less"))
    scores = {
        "iou": _share(both, both + more + less),
        "f1": _share(2 * both, 2 * both + more + less),
        "area": _share(more - less, both + less),
    }
    for name in CLASSES:
        scores[f"found {name}"] = _share(sums[f"found {name}"], sums[f"bodies {name}"])
        scores[f"invented {name}"] = _share(sums[f"invented {name}"], sums[f"seen {name}"])
        scores[f"area {name}"] = _share(sums[f"area {name}"], sums[f"size {name}"]) - 1
        scores[f"error {name}"] = _share(sums[f"missed {name}"], sums[f"size {name}"])
    return scores


def boundary_counts(found: Map, truth: Map, land: Map, block: NDArray[np.intp]) -> Counts:
    """Per block, what :func:`boundary_scores` are made of.

    A boundary is right if a true one is within the tolerance, and a true one is found if one of the map is,
    without matching them one to one.

    Args:
        found: The map to judge.
        truth: The true map.
        land: Where boundaries are counted.
        block: See :func:`water_counts`.
    """

    def pixels(mask: Map) -> NDArray[np.float64]:
        return np.bincount(block[mask & land], minlength=block.max() + 1).astype(float)

    counts = {"drawn": pixels(found), "true": pixels(truth)}
    for reach in TOLERANCES:
        near_truth, near_found = (_within(mask, reach) for mask in (truth, found))
        counts |= {f"right {reach}": pixels(found & near_truth), f"found {reach}": pixels(truth & near_found)}
    return counts


def boundary_scores(sums: Counts) -> Scores:
    """Precision, recall and F1 of boundaries, for each of :data:`TOLERANCES`."""
    scores = {}
    for reach in TOLERANCES:
        precision = _share(sums[f"right {reach}"], sums["drawn"])
        recall = _share(sums[f"found {reach}"], sums["true"])
        # 0 where nothing is right
        total = np.where(precision + recall == 0, 1, precision + recall)
        scores[f"precision {reach}"], scores[f"recall {reach}"] = precision, recall
        scores[f"f1 {reach}"] = 2 * precision * recall / total
    return scores


def fields(truth_water: Map) -> Map:
    """Where boundaries of fields are looked for: land, :data:`REACH` pixels off water."""
    land: Map = ~_within(truth_water, REACH)
    return land


def outline(mask: Map) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges of a map's pixels as one broken line: rows and columns, NaN between the pieces.

    Pixel centres are whole numbers.
    """
    padded = np.pad(mask, 1)
    down, across = (padded[1:] != padded[:-1], padded[:, 1:] != padded[:, :-1])
    rows, columns = np.nonzero(down)
    level = np.stack([(rows - 0.5, rows - 0.5), (columns - 1.5, columns - 0.5)])
    rows, columns = np.nonzero(across)
    upright = np.stack([(rows - 1.5, rows - 0.5), (columns - 0.5, columns - 0.5)])
    ends = np.concatenate([level, upright], axis=2)
    broken = np.concatenate([ends, np.full_like(ends[:, :1], np.nan)], axis=1)
    line = broken.transpose(0, 2, 1).reshape(2, -1)
    return line[0], line[1]


def _within(mask: Map, reach: int) -> Map:
    """Pixels at most ``reach`` pixels, along rows, columns or both, from those of a map."""
    near: Map = ndimage.binary_dilation(mask, AROUND, iterations=reach) if reach else mask
    return near
