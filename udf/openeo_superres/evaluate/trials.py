"""What is measured of a prediction: a measure is a line in :data:`WALD` or in :data:`NATIVE`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from openeo_superres.sensor import BAND_NAMES, BANDS, BANDS_10M, degrade

from .edges import Edges, find_edges, rise
from .geometry import local_shifts, shift
from .indices import index_errors
from .metrics import ergas, inside, psnr, sam, ssim
from .noise import noise_gain
from .protocols import SPECTRAL, Reference, error_figures, spectral_figures
from .radiometry import BORDER, Radiometry, compare_seen, radiometry, seen_again
from .wald import WaldScores, bicubic_compared, errors, wald_compared, wald_profiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .baseline import Image, Predict
    from .wald import Compared

    Facts = dict[str, Any]
    Plane = NDArray[np.float32]
    Pair = tuple[Plane, Plane]

Case = TypeVar("Case")

SPLIT = len(BANDS_10M)
DIGITS = {"psnr": 2, "ssim": 5, "gain": 5, "indices": 6}
"""Decimals of measures that do not have 3."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A prediction in a Wald protocol, and what it is compared with."""

    reference: Reference
    output: Image
    """Of the model, for the pair's input."""
    profiles: NDArray[np.float64]
    """Of the output, see :func:`openeo_superres.evaluate.wald_profiles`."""
    compared: Compared
    """Prediction and truth, see :func:`openeo_superres.evaluate.wald.wald_compared`."""
    radiometry: Radiometry
    edges: Sequence[Edges]
    """Of the truth, by band."""

    @classmethod
    def of(cls, reference: Reference, output: Image, edges: Sequence[Edges]) -> Trial:
        """Compare a prediction; bicubic's, which is told by being the reference's, as the protocol says.

        Args:
            reference: Of the pair.
            output: ``(10, 2y, 2x)`` DN.
            edges: See :func:`truth_edges`.
        """
        pair = reference.pair
        compared = (bicubic_compared if output is reference.bicubic else wald_compared)(pair, output)
        profiles = wald_profiles(pair, output)
        return cls(reference, output, profiles, compared, radiometry(output, pair.input), edges)

    def bands(self) -> Iterator[Pair]:
        """Prediction and truth ``(y, x)`` of each band."""
        for predicted, truth in self.compared:
            yield from zip(predicted, truth, strict=True)


def truth_edges(reference: Reference) -> list[Edges]:
    """Edges of the truth by band, on the grids of :attr:`Trial.compared`."""
    pair = reference.pair
    return [find_edges(band) for truth in (pair.target10, pair.target20) for band in inside(truth, BORDER)]


@dataclass(frozen=True, slots=True)
class Native:
    """A prediction at 5 m, where there is nothing but the input to compare with."""

    predict: Predict
    image: Image
    """The input, ``(10, y, x)``."""
    output: Image
    """``(10, 2y, 2x)``."""
    seen: list[Pair]
    """By band ``(y, x)`` on its own grid: the output as the sensor would see it, and the input."""
    radiometry: Radiometry
    edges: Sequence[Edges]
    """Of the input, see :func:`input_edges`."""

    @classmethod
    def of(cls, predict: Predict, image: Image, output: Image, edges: Sequence[Edges]) -> Native:
        """See a prediction as the sensor would; arguments as the fields."""
        parts = list(seen_again(output, image))
        seen = [pair for _, ours, theirs in parts for pair in zip(ours, theirs, strict=True)]
        return cls(predict, image, output, seen, compare_seen(parts, len(BANDS)), edges)

    def answer(self, image: Image) -> Image:
        """Predict, without running the model again for its input."""
        return self.output if image is self.image else self.predict(image)

    def rises(self) -> Iterator[float]:
        """Of each band of the output, where its input has edges."""
        scale = self.output.shape[1] // self.image.shape[1]
        for band, pixels, edges in zip(BANDS, self.output, self.edges, strict=True):
            yield rise(pixels, edges, scale * band.resolution // 10)


def input_edges(image: Image) -> list[Edges]:
    """Edges of an input ``(10, y, x)`` by band, each at its own resolution."""
    steps = [band.resolution // 10 for band in BANDS]
    return [find_edges(band[::step, ::step]) for band, step in zip(image, steps, strict=True)]


# ---- by band


def _by_band(values: Iterable[Any]) -> dict[str, Any]:
    """The first bands with their values."""
    return dict(zip(BAND_NAMES, values, strict=False))


def _each(measure: Callable[[Plane, Plane], Any], pairs: Iterable[Pair]) -> dict[str, Any]:
    """A measure of each band; NaN for a band that it can't be taken of, such as a flat one."""
    values = []
    for predicted, truth in pairs:
        try:
            values.append(measure(predicted, truth))
        except ValueError:
            values.append(np.nan)
    return _by_band(values)


def _alone(measure: Callable[[Image, Image], NDArray[np.float64]]) -> Callable[[Plane, Plane], float]:
    """A measure of images as one of a band."""
    return lambda predicted, truth: float(measure(predicted[None], truth[None])[0])


def _spread(image: Plane, truth: Plane) -> float:
    """RMS length of the shifts of patches, in pixels; NaN where no patch has texture."""
    found = local_shifts(image, truth)
    return float(np.sqrt((found**2).sum(axis=1).mean())) if len(found) else np.nan


def _angle(trial: Trial) -> float:
    """Spectral angle of the ten bands where each has a truth: at 20 m, to which D brings the 10 m bands."""
    fine, coarse = trial.compared
    pair = trial.reference.pair
    if pair.factor == 2:
        seen, known = (degrade(image, BANDS_10M, 2) for image in (trial.output[:SPLIT], pair.target10))
        fine = inside(seen, BORDER), inside(known, BORDER)
    return sam(*(np.concatenate(parts) for parts in zip(fine, coarse, strict=True)))


def _relative(trial: Trial, group: int) -> float:
    """ERGAS of the 10 m bands (0) or the 20 m bands (1), with the pixel sizes of the protocol."""
    return ergas(*trial.compared[group], 0.25 if group and trial.reference.pair.factor == 4 else 0.5)


def _restored(trial: Trial, measure: str) -> dict[str, float]:
    """A frequency-domain measure of the bands that have a truth on the output's grid."""
    return _by_band(getattr(band, measure) for band in trial.reference.restorations(trial.profiles))


WALD: dict[str, Callable[[Trial], Any]] = {
    "psnr": lambda trial: _each(_alone(psnr), trial.bands()),
    "ssim": lambda trial: _each(_alone(ssim), trial.bands()),
    "sam": _angle,
    "ergas10": partial(_relative, group=0),
    "ergas20": partial(_relative, group=1),
    **{measure: partial(_restored, measure=measure) for measure in SPECTRAL},
    "shift": lambda trial: _each(shift, trial.bands()),
    "local_shift": lambda trial: _each(_spread, trial.bands()),
    "rise": lambda trial: _by_band(map(rise, (band for band, _ in trial.bands()), trial.edges)),
    "bias": lambda trial: _by_band(trial.radiometry.bias),
    "gain": lambda trial: _by_band(trial.radiometry.gain),
}
"""Measures of a protocol beside those of :mod:`openeo_superres.evaluate.protocols`, by key: a number, or one
per band. Lengths are pixels of the grid that is compared on; bias and gain are those of the
output, seen by the sensor again, against the input."""

NATIVE: dict[str, Callable[[Native], Any]] = {
    "consistency": lambda native: _by_band(native.radiometry.consistency),
    "bias": lambda native: _by_band(native.radiometry.bias),
    "gain": lambda native: _by_band(native.radiometry.gain),
    "shift": lambda native: _each(shift, native.seen),
    "local_shift": lambda native: _each(_spread, native.seen),
    "rise": lambda native: _by_band(native.rises()),
    "noise_gain": lambda native: _by_band(noise_gain(native.answer, native.image)),
    "indices": lambda native: index_errors(native.output, native.image),
}
"""Measures at 5 m, likewise: shifts in pixels of the band's own grid, the rise of edges in pixels of 5 m."""


def taken(measures: Mapping[str, Callable[[Case], Any]], case: Case, without: Iterable[str] = ()) -> Facts:
    """Take measures: plain numbers by key, null for what can't be measured, such as the detail of flat bands.

    Args:
        measures: By key.
        case: What they are taken of.
        without: Keys to leave out.
    """
    facts: Facts = {}
    for key, measure in measures.items():
        if key in without:
            continue
        try:
            facts[key] = plain(measure(case), DIGITS.get(key, 3))
        except ValueError:
            facts[key] = None
    return facts


def wald_facts(trial: Trial, without: Iterable[str] = ()) -> Facts:
    """All figures of a prediction in a protocol."""
    scores = WaldScores(errors(trial.compared), trial.radiometry.consistency)
    spectral = spectral_figures(trial.reference.restorations(trial.profiles))
    figures: Facts = plain(error_figures(scores, trial.reference.scores) | spectral)
    return figures | taken(WALD, trial, without)


def truth_facts(trial: Trial) -> Facts:
    """What the truth itself gives: the rise of its edges."""
    truth = (band for _, band in trial.bands())
    return {"rise": plain(_by_band(map(rise, truth, trial.edges)))}


def plain(value: Any, digits: int = 3) -> Any:
    """Numbers as JSON has them: rounded; NaN and infinity, which it has not, become null."""
    if isinstance(value, dict):
        return {key: plain(part, digits) for key, part in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(part, digits) for part in value]
    # 0.0: there is no negative zero in tables
    return round(float(value), digits) + 0.0 if np.isfinite(value) else None
