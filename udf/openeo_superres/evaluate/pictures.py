"""A view as pictures in a page: each result in each composite, as data."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow

from openeo_superres.picture import COMPOSITES, Composite, colours, stretch_limits
from openeo_superres.sensor import BAND_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .baseline import Image

BUDGET = 1_000_000
"""Bytes of all pictures of a view in the page, if they can be made to fit."""
ENCODINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("WEBP", {"lossless": True, "quality": 80, "method": 4}),
    *(("JPEG", {"quality": quality, "subsampling": 0}) for quality in (95, 92, 88, 80)),
)
"""Of the pictures, the truest first. Three colours are three bands: none of them is drawn coarser."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One result in one composite."""

    label: str
    composite: str
    data: str
    """A ``data:`` address."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """The pictures of a view."""

    width: int
    height: int
    composites: tuple[Composite, ...]
    pictures: list[Picture]
    error: float
    """Of the pictures' compression: root mean square, in levels of 256; 0 if they are exact."""


def gallery(images: Mapping[str, Image]) -> Gallery:
    """Draw each result in each composite, with the stretch of the first one.

    Args:
        images: By label: ``(10, y, x)`` DN, NaN nodata (black), all of one shape.

    Raises:
        ValueError: If there is no image, shapes differ, or the first has no valid pixel in a band.
    """
    shapes = {image.shape for image in images.values()}
    if len(shapes) != 1 or next(iter(shapes))[0] != len(BAND_NAMES):
        raise ValueError(f"Expected images of {len(BAND_NAMES)} bands and one shape, got {sorted(shapes)}.")
    first = next(iter(images.values()))
    if not np.isfinite(first).any(axis=(1, 2)).all():
        raise ValueError("Expected valid pixels in each band of a view's first image, got a band without.")
    keys, drawn = [], []
    for composite in COMPOSITES:
        indices = [BAND_NAMES.index(band) for band in composite.bands]
        limits = stretch_limits(first[indices])
        for label, image in images.items():
            keys.append((label, composite.title))
            drawn.append(colours(image[indices], limits))
    addresses, error = _encoded(drawn)
    pictures = [Picture(*key, address) for key, address in zip(keys, addresses, strict=True)]
    return Gallery(first.shape[2], first.shape[1], COMPOSITES, pictures, error)


def _encoded(drawn: Sequence[NDArray[np.uint8]]) -> tuple[list[str], float]:
    """As ``data:`` addresses: exact, or as true as the budget lets them be."""
    addresses: list[str] = []
    squares: list[float] = []
    for encoding in ENCODINGS:
        addresses, squares = [], []
        for pixels in drawn:
            address, square = _address(pixels, *encoding)
            addresses.append(address)
            squares.append(square)
            if sum(map(len, addresses)) > BUDGET and encoding != ENCODINGS[-1]:
                break
        else:
            break
    return addresses, float(np.sqrt(np.mean(squares)))


def _address(pixels: NDArray[np.uint8], kind: str, options: Mapping[str, Any]) -> tuple[str, float]:
    """A picture as data, and the mean square of its error."""
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, kind, **options)
    with Pillow.open(file) as again:
        square = ((np.asarray(again.convert("RGB"), float) - pixels) ** 2).mean()
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}", float(square)
