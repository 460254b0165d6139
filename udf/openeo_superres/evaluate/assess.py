"""Everything that is measured of models on a scene: by the Wald protocols, and at 5 m without a truth.

Each network runs once per protocol and, at 5 m, once more for its answer to noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from .baseline import bicubic
from .judges import judge_native, judge_wald
from .protocols import MAIN, PROTOCOLS, Reference
from .report import View
from .trials import NATIVE, Native, Trial, input_edges, taken, truth_edges, truth_facts, wald_facts
from .wald import wald_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from .baseline import Image, Predict

    Facts = dict[str, Any]

MAIN_ALONE = ("rise", "local_shift")
"""Measures that take long, and are taken in the main protocol alone, or in the first if that is not there."""
VIEW = 96
"""Edge of the part to look at, in 10 m pixels."""
DEGRADED = (
    "20 m to 10 m",
    "The scene degraded by 2 and super-resolved, beside itself at 10 m; its 20 m bands are as they are.",
)
FINE = (
    "10 m to 5 m",
    "The scene super-resolved. There is no reference at 5 m: more detail is not truer detail.",
)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found: facts as JSON has them, and what a report shows beside."""

    wald: dict[str, dict[str, Facts]]
    """By protocol and label: "bicubic", the models, and "truth", which has the rise of edges alone."""
    native: dict[str, Facts]
    """By label, at 5 m."""
    judges: dict[str, dict[str, Facts]]
    """By judge and label; those that were asked."""
    views: list[View]
    spectra: dict[str, dict[str, NDArray[np.float64]]]
    """By protocol and label, "bicubic" first and "truth" last: profiles in dB."""


def assess(
    x10: Image,
    x20: Image,
    predictors: Mapping[str, Predict],
    protocols: Iterable[str] = tuple(PROTOCOLS),
    *,
    judges: Collection[str] = (),
    progress: Callable[[int, int], object] | None = None,
) -> Assessment:
    """Measure bicubic and models on a scene.

    Args:
        x10: ``(4, y, x)`` DN without nodata, y and x even, at least :data:`VIEW`.
        x20: ``(6, y / 2, x / 2)`` DN.
        predictors: Models by label.
        protocols: One or more of :data:`openeo_superres.evaluate.protocols.PROTOCOLS`; each is run once.
        judges: Some of :data:`openeo_superres.evaluate.judges.JUDGES`, to be asked, too.
        progress: Called with the steps done, and all of them.

    Raises:
        ValueError: If the scene is too small for a protocol, or a band has no texture at all.
        JudgeError: If a judge has no environment, or fails.
    """
    chosen = tuple(dict.fromkeys(protocols))
    steps, total = count(1), (len(predictors) + 1) * (len(chosen) + 1)

    def step() -> None:
        if progress:
            progress(next(steps), total)

    main = MAIN if MAIN in chosen else chosen[0]
    asked = _Asked({"bicubic": bicubic, **predictors}, main, judges, eye_catcher(x10), step)
    found = Assessment({}, {}, {}, [], {})
    for protocol in chosen:
        pair = wald_pair(x10, x20, **PROTOCOLS[protocol])
        _add_wald(found, protocol, Reference.of(pair), asked)
    image = _on_10m(x10, x20)
    if found.views:
        found.views[0].images["truth"] = _looked_at(image, asked.corner, 1)
    _add_native(found, image, asked)
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be measured."""

    predictors: Mapping[str, Predict]
    """Bicubic's, too."""
    main: str
    judges: Collection[str]
    corner: tuple[int, int]
    """Of the part to look at."""
    step: Callable[[], object]
    """Called after each prediction."""


def _add_wald(found: Assessment, protocol: str, reference: Reference, asked: _Asked) -> None:
    """Measure all models in a protocol."""
    main = protocol == asked.main
    edges = truth_edges(reference) if main else []
    table: dict[str, Facts] = {}
    profiles, images, outputs = {}, {}, {}
    for label, predict in asked.predictors.items():
        output = reference.bicubic if label == "bicubic" else predict(reference.pair.input)
        trial = Trial.of(reference, output, edges)
        table[label] = wald_facts(trial, without=() if main else MAIN_ALONE)
        profiles[label] = trial.profiles
        images[label] = _looked_at(output, asked.corner, 1)
        if main and "opensr" in asked.judges and label != "bicubic":
            outputs[label] = output
        asked.step()
    if main:
        table["truth"] = truth_facts(trial)
    found.wald[protocol] = table
    found.spectra[protocol] = {**profiles, "truth": reference.profiles["truth"]}
    if main and reference.pair.factor == 2:
        found.views.append(View(*DEGRADED, images))
    if outputs:
        found.judges["opensr"] = judge_wald(reference.pair, outputs)


def _add_native(found: Assessment, image: Image, asked: _Asked) -> None:
    """Measure all models at 5 m."""
    edges = input_edges(image)
    images, outputs = {}, {}
    for label, predict in asked.predictors.items():
        native = Native.of(predict, image, predict(image), edges)
        found.native[label] = taken(NATIVE, native)
        images[label] = _looked_at(native.output, asked.corner, 2)
        if "brisque" in asked.judges and label != "bicubic":
            outputs[label] = native.output
        asked.step()
    found.views.append(View(*FINE, images))
    if outputs:
        found.judges["brisque"] = judge_native(outputs, image)


def _on_10m(x10: Image, x20: Image) -> Image:
    """``(10, y, x)``: the 20 m bands replicated, as networks take them."""
    return np.concatenate([x10, x20.repeat(2, axis=1).repeat(2, axis=2)])


def eye_catcher(x10: Image) -> tuple[int, int]:
    """Row and column, even, of the :data:`VIEW` pixels with the most detail in all bands ``(4, y, x)``."""
    steps = sum(np.abs(np.diff(x10, axis=axis))[:, : x10.shape[1] - 1, : x10.shape[2] - 1] for axis in (1, 2))
    detail = (steps / x10.std(axis=(1, 2))[:, None, None].clip(1e-6)).sum(axis=0)
    # the last 16 pixels may not be there in a protocol
    last = [max(n - 16 - VIEW, 0) for n in x10.shape[1:]]
    places = [
        (row, col) for row in range(0, last[0] + 1, VIEW // 4) for col in range(0, last[1] + 1, VIEW // 4)
    ]
    return max(places, key=lambda place: detail[place[0] :, place[1] :][:VIEW, :VIEW].sum())


def _looked_at(image: Image, corner: tuple[int, int], scale: int) -> Image:
    """The part to look at, of an image with ``scale`` pixels per 10 m."""
    row, col = (scale * start for start in corner)
    return image[:, row : row + scale * VIEW, col : col + scale * VIEW].copy()
