"""Masks of products, chosen by a user to make nodata of clouds and the like."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import SceneError
from .grid import Mask

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .grid import Scene

CLASSES = {"SCL": 12, "FLG": 5}
"""How many classes a mask has, from 0 on: scene classification of L2A (Sen2Cor), status of Theia's L3A. Other
masks, such as Theia's CLM, have bits."""
BITS = tuple(1 << bit for bit in range(8))
"""Values of the bits of a mask."""


def hide(scene: Scene, masks: Mapping[str, Collection[int]]) -> Scene:
    """Take pixels for nodata that a product's masks mark.

    Args:
        scene: With these masks.
        masks: Numbers by the mask's name: classes (SCL, FLG), else values of bits (1, 2, 4 ... 128), of which
            any hides a pixel.

    Raises:
        SceneError: If the scene lacks a mask, or a number is no class or bit of it.
    """
    hidden = []
    for name, numbers in masks.items():
        if name not in scene.masks:
            there = ", ".join(scene.masks) or "none"
            raise SceneError(f"{scene.path} ({scene.kind}) has no mask {name}; its masks: {there}.")
        if name in CLASSES:
            allowed, words = tuple(range(CLASSES[name])), f"classes, 0 to {CLASSES[name] - 1}"
        else:
            allowed, words = BITS, f"the values of its bits: {', '.join(map(str, BITS))}"
        wrong = [number for number in numbers if number not in allowed]
        if wrong or not numbers:
            raise SceneError(f"Mask {name} has {words}; got {', '.join(map(str, wrong)) or 'nothing'}.")
        if name in CLASSES:
            hidden.append(Mask(scene.masks[name], values=frozenset(numbers)))
        else:
            hidden.append(Mask(scene.masks[name], bits=sum({*numbers})))
    return replace(scene, hidden=(*scene.hidden, *hidden))


def mask_text(masks: Mapping[str, Collection[int]]) -> str:
    """Masks as the command line takes them: "SCL=3,8,9,10"."""
    return " ".join(f"{name}={','.join(map(str, sorted(numbers)))}" for name, numbers in masks.items())
